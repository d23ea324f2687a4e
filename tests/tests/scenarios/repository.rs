//! What the repository promises of itself.

mod decisions;
mod harness;
mod table;
