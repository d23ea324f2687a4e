//! How a program logs: an option of every command.

use clap::{Args, ValueEnum};
use damocles_daemon::log::Format;

/// How a program logs: an option of every command.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// How log lines look on stderr, as text or as one JSON object a line. RUST_LOG says which are
    /// written: `error`, `warn`, `info`, `debug` or `trace`, for parts too:
    /// `warn,damocles_worker=debug`
    #[arg(
        long,
        env = "DAMOCLES_LOG_FORMAT",
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "text|json"
    )]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Format {
        match format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }
    }
}
