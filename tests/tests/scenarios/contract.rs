//! What others rely on, as files in `tests/contract/`: a change of it is a diff there.
//!
//! `EXPECTORATE=overwrite` writes them anew.

mod help;
mod messages;
mod tables;
