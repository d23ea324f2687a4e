//! What both command-line tools share: exit codes, errors with a way out, and how output looks.
//!
//! Data goes to stdout, everything else to stderr. What comes from the bus or from files is escaped
//! where it is put into a line ([`printable`], of JSON in [`json`] and [`jsonl`]), and once more on
//! its way out ([`print()`], [`say`], [`progress`], [`run`]), so that nobody's text acts on an
//! operator's terminal or hides in it.
//!
//! - [`Exit`], [`CliError`], [`run`]: how a program ends; [`Stop`]: being told to end
//! - [`print()`], [`say`], [`note`], [`table()`]: what is printed; [`progress`]: a line that changes
//! - [`Tool`], [`Given`], [`logging`], [`indexes`], [`selectors`], [`sector_size()`]: the command line
//!   of both tools
//! - [`verbs`], [`drain`]: the commands for one worker; [`confirm`]: asking first
//! - [`history`], [`watch`]: what happened, and what happens now, over [`nats`]; [`screen`]: where
//!   that is shown
//! - [`checks`], [`settings`]: whether a daemon could work, and what it works with
//! - [`said`], [`threads`], [`unanswered`], [`waiting`]: what the client says, in words

pub mod checks;
pub mod confirm;
pub mod drain;
pub mod history;
pub mod indexes;
pub mod logging;
pub mod nats;
pub mod progress;
pub mod said;
pub mod screen;
pub mod selectors;
pub mod settings;
pub mod table;
pub mod threads;
pub mod unanswered;
pub mod verbs;
pub mod waiting;
pub mod watch;

mod command_line;
mod exit;
mod given;
mod print;
mod sector_size;
mod stop;
mod value_apart;
mod words;

pub use command_line::Tool;
pub use exit::{CliError, Exit, Logging, exit_of, exit_of_refusal, finish, run};
pub use given::Given;
pub use print::{Output, ReplyOutput, draw, json, jsonl, note, print, print_done, print_more, say};
pub use sector_size::sector_size;
pub use shared_msgs::text::printable;
pub use stop::Stop;
pub use table::table;
pub use words::{counted, human_bytes, is_yes, listed};
