//! What the repository promises of itself.

mod decisions;
mod floors;
mod harness;
mod table;
