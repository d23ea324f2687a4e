//! What both command-line tools share: exit codes, errors with a way out, and how output looks.
//!
//! Data goes to stdout, everything else to stderr. Whatever comes from the bus is printed with its
//! control characters escaped, so that no worker can write to an operator's terminal.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use damocles_client::{call::CallError, connect::ConnectError};
use damocles_daemon::log::Log;
use serde::Serialize;
use shared_msgs::error::ErrorKind;
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};

pub mod nats;
pub mod progress;
pub mod said;
pub mod unanswered;
pub mod verbs;
pub mod waiting;

/// Ctrl-C, somebody who asks the process to end, or a terminal that has gone. SIGQUIT stays what it
/// is: it ends the process at once, with a core.
pub struct Stop {
    interrupted: Signal,
    terminated: Signal,
    /// `None` where the process was started to survive its terminal (`nohup`).
    hung_up: Option<Signal>,
}

impl Stop {
    /// Takes the signals from now on: they no longer end the process.
    pub fn listen() -> io::Result<Stop> {
        let hung_up = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Stop {
            interrupted: signal(SignalKind::interrupt())?,
            terminated: signal(SignalKind::terminate())?,
            hung_up,
        })
    }

    /// Waits for any of them, and says which one came.
    pub async fn asked(&mut self) -> &'static str {
        let hung_up = async {
            match &mut self.hung_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupted.recv() => "SIGINT",
            _ = self.terminated.recv() => "SIGTERM",
            _ = hung_up => "SIGHUP",
        }
    }
}

// Whether whoever started this process has it ignore SIGHUP. Where that cannot be read nobody has.
fn ignores_hangup() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| ignored(&status, SignalKind::hangup()))
}

fn ignored(status: &str, signal: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal.as_raw_value() - 1) & 1 == 1
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It failed.
    Failed = 1,
    /// It was called wrongly.
    Usage = 2,
    /// There is no such worker or thread.
    NotFound = 3,
    /// The bus is unreachable, nobody answers, or the time is up: the outcome may be unknown, the
    /// text says so.
    NoAnswer = 4,
    /// The worker or manager refused.
    Refused = 5,
    /// What a command was to wait for did not come about in time; the command stays in effect.
    NotYet = 6,
}

/// A command's failure: what happened, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// The process's exit code.
    pub exit: Exit,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl CliError {
    /// A failure without advice.
    pub fn new(exit: Exit, message: impl ToString) -> Self {
        CliError { exit, message: message.to_string(), hint: None }
    }

    /// Adds what to do next.
    pub fn hint(self, hint: impl ToString) -> Self {
        CliError { hint: Some(hint.to_string()), ..self }
    }
}

impl From<ConnectError> for CliError {
    fn from(error: ConnectError) -> Self {
        match &error {
            ConnectError::Settings(_) => CliError::new(Exit::Usage, error),
            ConnectError::File { .. } => CliError::new(Exit::Failed, error),
            ConnectError::Unreachable { .. } => CliError::new(Exit::NoAnswer, error)
                .hint("is NATS running there? name another server with --server or NATS_URL"),
        }
    }
}

impl From<CallError> for CliError {
    fn from(error: CallError) -> Self {
        CliError::new(exit_of(&error), error)
    }
}

/// How a command ends whose request failed like this.
pub fn exit_of(error: &CallError) -> Exit {
    match error {
        CallError::Refused(body) => exit_of_refusal(&body.kind),
        CallError::NoResponders(_) | CallError::TimedOut { .. } => Exit::NoAnswer,
        CallError::BadReply(..) | CallError::NotSent(..) | CallError::NotHeard(..) => Exit::Failed,
    }
}

/// How a command ends that was refused like this.
pub fn exit_of_refusal(kind: &ErrorKind) -> Exit {
    match kind {
        ErrorKind::ThreadNotFound { .. }
        | ErrorKind::WorkerNotFound { .. }
        | ErrorKind::SectorNotFound { .. } => Exit::NotFound,
        ErrorKind::PieceNotFound { .. } | ErrorKind::JobNotFound { .. } => Exit::NotFound,
        ErrorKind::Internal { .. } | ErrorKind::AnswerTooLarge { .. } => Exit::Failed,
        _ => Exit::Refused,
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        CliError::new(Exit::Failed, error)
    }
}

/// Runs a program to its end: sets its log up, gives `work` a runtime, and turns its result into
/// the process's exit code. What went wrong is said on stderr. A reader that has gone away (`… |
/// head -1`) is no error.
pub fn run<W: Future<Output = Result<(), CliError>>>(
    log_by_default: &str,
    runtime: &mut Builder,
    work: impl FnOnce() -> W,
) -> ExitCode {
    let mut log = match Log::start(log_by_default) {
        Ok(log) => log,
        Err(_) => return ExitCode::from(Exit::Failed as u8),
    };
    let result = match runtime.enable_all().build() {
        Ok(runtime) => {
            let result = runtime.block_on(async { work().await });
            // What still runs on a blocking thread, a stage that outlived the grace period, is not
            // waited for.
            runtime.shutdown_timeout(Duration::ZERO);
            result
        }
        Err(error) => Err(CliError::new(Exit::Failed, format!("cannot start: {error}"))),
    };
    let exit = finish(result, &mut log);
    log.flush().unwrap_or_default();
    exit
}

/// Turns a command's result into the process's exit code, and says what went wrong.
pub fn finish(result: Result<(), CliError>, stderr: &mut impl Write) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let hint = error.hint.iter().map(|hint| format!("hint: {}\n", printable(hint)));
    let text: String =
        std::iter::once(format!("error: {}\n", printable(&error.message))).chain(hint).collect();
    // Nobody is left to tell when stderr is gone too.
    stderr.write_all(text.as_bytes()).unwrap_or_default();
    ExitCode::from(error.exit as u8)
}

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

/// An aligned table, two blanks between columns, wide characters counted as wide.
pub fn table(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

/// A text with its control characters escaped.
pub fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, character| {
        if character.is_control() {
            out.extend(character.escape_default())
        } else {
            out.push(character)
        }
        out
    })
}

/// So many of something, whose plural takes an s: `1 thread`, `2 threads`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Bytes for people: `512B`, `3.5GiB`.
pub fn human_bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let exponent = bytes.max(1).ilog2() / 10;
    match exponent.checked_sub(1).and_then(|unit| units.get(unit as usize)) {
        None => format!("{bytes}B"),
        Some(unit) => format!("{:.1}{unit}", bytes as f64 / (1_u64 << (10 * exponent)) as f64),
    }
}

/// Whether the answer to a question is a clear yes.
pub fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_print_in_the_largest_unit_of_which_there_is_one() {
        let all = [0, 1023, 1024, 3_758_096_384, u64::MAX].map(human_bytes);
        assert_eq!(all, ["0B", "1023B", "1.0KiB", "3.5GiB", "16.0EiB"]);
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(is_yes("y\n") && is_yes(" Yes "));
        assert!(!is_yes("") && !is_yes("n") && !is_yes("yup"));
    }

    #[test]
    fn tables_are_aligned_by_width_and_have_no_blanks_at_the_end() {
        let rows = vec![vec!["矿机 1".into(), "0".into()], vec!["w1".into(), "10".into()]];
        assert_eq!(table(&["Name", "N"], rows), "Name    N\n矿机 1  0\nw1      10\n");
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(table(&["Name", "N"], vec![]), "Name  N\n");
    }

    #[test]
    fn a_process_that_was_started_to_survive_its_terminal_is_known() {
        let status = |mask| {
            format!(
                "Name:\tdamocles-worker\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n"
            )
        };
        assert!(ignored(&status("0000000000001001"), SignalKind::hangup()));
        assert!(!ignored(&status("0000000000001000"), SignalKind::hangup()));
        assert!(!ignored("", SignalKind::hangup()));
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\\nc");
    }
}
