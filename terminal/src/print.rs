//! What goes to stdout and stderr.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::{
    exit::{CliError, Exit},
    words::printable,
};

/// Says on stderr what a reader of the data should know.
pub fn note(text: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr().lock(), "note: {}", printable(text));
}

/// Writes data to stdout. When its reader has gone away, the rest is dropped and the command still
/// succeeds.
pub fn print(text: &str) -> Result<(), CliError> {
    print_more(text).map(|_| ())
}

/// Like [`print()`], for a command that has no end of its own: says whether there is a reader still.
pub fn print_more(text: &str) -> Result<bool, CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::new(Exit::Failed, format!("cannot write to stdout: {error}"))),
        Ok(()) => Ok(true),
    }
}

/// How a command prints what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// The plain form
    #[default]
    Plain,
    /// A table
    Table,
    /// A table with more columns
    Wide,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
}

/// How a command's outcome is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReplyOutput {
    /// A sentence; a table where there are many
    #[default]
    Plain,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
}

/// Prints what was done: a sentence for people, or the reply.
pub fn print_done<T: Serialize>(
    reply: &T,
    sentence: &str,
    output: ReplyOutput,
) -> Result<(), CliError> {
    print(&match output {
        ReplyOutput::Plain => printable(sentence) + "\n",
        ReplyOutput::Json => json(reply)?,
        ReplyOutput::Jsonl => jsonl(std::slice::from_ref(reply))?,
    })
}

/// One JSON document, indented.
pub fn json<T: Serialize>(value: &T) -> Result<String, CliError> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| CliError::new(Exit::Failed, error))
}

/// One JSON object a line.
pub fn jsonl<T: Serialize>(values: &[T]) -> Result<String, CliError> {
    let mut text = String::new();
    for value in values {
        text +=
            &serde_json::to_string(value).map_err(|error| CliError::new(Exit::Failed, error))?;
        text.push('\n');
    }
    Ok(text)
}
