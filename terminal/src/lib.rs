//! What both command-line tools share: exit codes, errors with a way out, and how output looks.
//!
//! Data goes to stdout, everything else to stderr. Whatever comes from the bus is printed with its
//! control characters escaped, so that no worker can write to an operator's terminal.
//!
//! - [`Exit`], [`CliError`], [`run`]: how a program ends; [`Stop`]: being told to end
//! - [`print()`], [`note`], [`table()`]: what is printed; [`progress`]: a line that changes
//! - [`nats`], [`verbs`], [`sector_size()`]: the options of both tools, and the commands for one
//!   worker
//! - [`said`], [`threads`], [`unanswered`], [`waiting`]: what the client says, in words

pub mod nats;
pub mod progress;
pub mod said;
pub mod threads;
pub mod unanswered;
pub mod verbs;
pub mod waiting;

mod exit;
mod print;
mod sector_size;
mod stop;
mod words;

pub use exit::{CliError, Exit, exit_of, exit_of_refusal, finish, run};
pub use print::{Output, ReplyOutput, json, jsonl, note, print, print_done, print_more};
pub use sector_size::sector_size;
pub use stop::Stop;
pub use words::{counted, human_bytes, is_yes, printable, table};
