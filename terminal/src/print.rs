//! What goes to stdout and stderr.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;
use shared_msgs::text::{printable, printable_json, printable_lines};

use crate::exit::{CliError, Exit};

/// Says on stderr what a reader of the data should know.
pub fn note(text: &str) {
    say(&format!("note: {}\n", printable(text)));
}

/// Writes lines to stderr, with all that is hidden in them escaped.
pub fn say(lines: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = io::stderr().lock().write_all(printable_lines(lines).as_bytes());
}

/// Writes lines of data to stdout, with all that is hidden in them escaped. When its reader has
/// gone away, the rest is dropped and the command still succeeds.
pub fn print(text: &str) -> Result<(), CliError> {
    print_more(text).map(|_| ())
}

/// Like [`print()`], for a command that has no end of its own: says whether there is a reader still.
pub fn print_more(text: &str) -> Result<bool, CliError> {
    draw(&printable_lines(text))
}

/// Writes to the terminal that stdout is, with what acts on it: colours, and where the cursor goes.
/// The texts of others in it have to be [`printable`]. Says whether it is there still.
pub fn draw(text: &str) -> Result<bool, CliError> {
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

/// One JSON document, indented; what is hidden in its texts is escaped.
pub fn json<T: Serialize>(value: &T) -> Result<String, CliError> {
    serde_json::to_string_pretty(value)
        .map(|text| printable_json(&text) + "\n")
        .map_err(|error| CliError::new(Exit::Failed, error))
}

/// One JSON object a line; what is hidden in its texts is escaped.
pub fn jsonl<T: Serialize>(values: &[T]) -> Result<String, CliError> {
    let mut text = String::new();
    for value in values {
        let line =
            serde_json::to_string(value).map_err(|error| CliError::new(Exit::Failed, error))?;
        text += &printable_json(&line);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_hides_nothing_and_says_the_same() {
        let names = ["w\u{9b}31m", "\u{202e}1w", "矿机\n"];
        let lines = jsonl(&names).unwrap();
        assert_eq!(lines, "\"w\\u009b31m\"\n\"\\u202e1w\"\n\"矿机\\n\"\n");
        let document = json(&names).unwrap();
        assert!(document.contains("\\u009b") && document.lines().count() == 5, "{document}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&document).unwrap(), names);
    }
}
