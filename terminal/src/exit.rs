//! How a command ends: exit codes, and errors with a way out.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use damocles_client::{
    bus::Denial,
    call::CallError,
    connect::{ConnectError, NatsFile},
};
use damocles_daemon::{
    config::ConfigError,
    log::{Format, Log, json_line},
};
use shared_msgs::{error::ErrorKind, text::printable};
use tokio::runtime::Builder;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It failed in a way that no other code stands for.
    Failed = 1,
    /// It was called wrongly.
    Usage = 2,
    /// There is no such worker, thread or sector, or a selector hits none.
    NotFound = 3,
    /// The bus is unreachable, nobody answers, or the time is up: the outcome may be unknown, the
    /// text says so.
    NoAnswer = 4,
    /// The worker or manager refused, or NATS does not permit it.
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
    /// What happened, in words for an operator.
    pub message: String,
    /// What else is wrong, a line each.
    pub also: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl CliError {
    /// A failure without advice.
    pub fn new(exit: Exit, message: impl ToString) -> Self {
        CliError { exit, message: message.to_string(), also: vec![], hint: None }
    }

    /// Adds what to do next.
    pub fn hint(self, hint: impl ToString) -> Self {
        CliError { hint: Some(hint.to_string()), ..self }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let mut lines = error.lines().into_iter();
        let first = lines.next().unwrap_or_default();
        CliError { also: lines.collect(), ..CliError::new(Exit::Failed, first) }
    }
}

impl From<ConnectError> for CliError {
    fn from(error: ConnectError) -> Self {
        let (exit, hint) = match &error {
            ConnectError::Settings(_) => (Exit::Usage, None),
            ConnectError::File { file, .. } => (Exit::Failed, Some(way_to(*file))),
            ConnectError::Unreachable { .. } => (
                Exit::NoAnswer,
                Some("is NATS running there? name another server with --server or NATS_URL"),
            ),
            ConnectError::NoSuchHost { .. } => (
                Exit::NoAnswer,
                Some("is its name right? name another server with --server or NATS_URL"),
            ),
            ConnectError::Refused { login: None, .. } => (
                Exit::NoAnswer,
                Some(
                    "log in with --creds, --nkey, --user and --password-file, --token, or --context",
                ),
            ),
            ConnectError::Refused { login: Some(_), .. } => (
                Exit::NoAnswer,
                Some("does the server know it, and is it still valid? the server's log says more"),
            ),
            ConnectError::Tls { .. } => (
                Exit::NoAnswer,
                Some(
                    "--tlsca names who signed the server's certificate, which has to be for that very host; --tlscert and --tlskey are for a server that asks for a certificate",
                ),
            ),
            ConnectError::Other { .. } => (Exit::NoAnswer, None),
        };
        CliError { hint: hint.map(Into::into), ..CliError::new(exit, error) }
    }
}

// How a file is named, and what it has to be.
fn way_to(file: NatsFile) -> &'static str {
    match file {
        NatsFile::Context => {
            "--context or NATS_CONTEXT names a context of the nats client, or its file *.json"
        }
        NatsFile::Creds => {
            "--creds or NATS_CREDS names a file with a user's JWT and nkey seed, as `nsc generate creds` writes it"
        }
        NatsFile::Nkey => {
            "--nkey or NATS_NKEY names a file with a user's nkey seed, a line that begins with SU"
        }
        NatsFile::Password => {
            "--password-file or NATS_PASSWORD_FILE names a file with the password and nothing else"
        }
        NatsFile::Ca => {
            "--tlsca or NATS_CA names a PEM file with the certificates of those who sign servers'"
        }
        NatsFile::Certificate => {
            "--tlscert or NATS_CERT names a PEM file with this client's certificate"
        }
        NatsFile::Key => {
            "--tlskey or NATS_KEY names a PEM file with the key of this client's certificate"
        }
    }
}

impl From<Denial> for CliError {
    fn from(denial: Denial) -> Self {
        CliError::new(Exit::Refused, format!("no permission: {denial}"))
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
        CallError::Denied(_) => Exit::Refused,
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
        ErrorKind::NotDelivered { .. } | ErrorKind::OutcomeUnknown { .. } => Exit::NoAnswer,
        _ => Exit::Refused,
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        CliError::new(Exit::Failed, error)
    }
}

/// What a program logs, and how.
#[derive(Clone, Debug)]
pub struct Logging<'a> {
    /// What is logged unless `RUST_LOG` says otherwise.
    pub by_default: &'a str,
    /// How it looks.
    pub format: Format,
}

/// Runs a program to its end: sets its log up, gives `work` a runtime, and turns its result into
/// the process's exit code. What went wrong is said on stderr. A reader that has gone away (`… |
/// head -1`) is no error.
pub fn run<W: Future<Output = Result<(), CliError>>>(
    logging: Logging<'_>,
    runtime: &mut Builder,
    work: impl FnOnce() -> W,
) -> ExitCode {
    let mut log = match Log::start(logging.by_default, logging.format) {
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
    let exit = finish(result, logging.format, &mut log);
    log.flush().unwrap_or_default();
    exit
}

/// Turns a command's result into the process's exit code, and says what went wrong.
pub fn finish(result: Result<(), CliError>, format: Format, stderr: &mut impl Write) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let said = match format {
        Format::Text => {
            let errors = std::iter::once(&error.message).chain(&error.also);
            let errors = errors.map(|line| format!("error: {}\n", printable(line)));
            let hint = error.hint.iter().map(|hint| format!("hint: {}\n", printable(hint)));
            errors.chain(hint).collect::<String>()
        }
        Format::Json => {
            let also = error.also.iter().map(|line| json_line(line, None, module_path!()));
            let first = json_line(&error.message, error.hint.as_deref(), module_path!());
            std::iter::once(first).chain(also).collect()
        }
    };
    // Nobody is left to tell when stderr is gone too.
    stderr.write_all(said.as_bytes()).unwrap_or_default();
    ExitCode::from(error.exit as u8)
}
