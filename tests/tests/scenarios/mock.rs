//! The mock sector manager, asked by a worker that only talks.

mod sector_jobs;
mod sectors;
