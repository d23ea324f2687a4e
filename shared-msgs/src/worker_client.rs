//! A worker's commands as the command-line tools give them: ask the worker itself, and say in a sentence what came of
//! it. `damocles-worker worker …` and `damocles-manager util worker …` are the same client.
//!
//! ```text
//!  answered          -> the reply, or what the worker refused and why
//!  nobody there      -> not delivered: the worker's key tells "no such worker" from "does not answer since …"
//!  no answer in time -> nothing is known: the command may have been carried out, or may still be
//! ```

use std::time::Duration;

use async_nats::Client;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    cli::{CliError, Exit, human},
    client::{CallError, LastReport, call, last_report},
    codec::Encoding,
    command::{CommandReply, CommandRequest, Outcome, verb},
    error::{ErrorBody, ErrorKind},
    name::WorkerName,
    snapshot::{WorkerSnapshot, WorkerStatus},
    subject::Prefix,
};

/// Somebody who commands one worker.
pub struct WorkerClient {
    /// The connection.
    pub client: Client,
    /// First part of every subject.
    pub prefix: Prefix,
    /// The worker.
    pub worker: WorkerName,
    /// How long to wait for each answer.
    pub timeout: Duration,
}

/// A request that the worker did not carry out, or nobody knows whether it did.
#[derive(Debug)]
pub struct Unanswered {
    /// What happened and what to do next.
    pub error: CliError,
    /// What the worker last said, when it was asked for because nobody answers.
    pub last: Option<Box<LastReport>>,
}

impl From<Unanswered> for CliError {
    fn from(unanswered: Unanswered) -> CliError {
        unanswered.error
    }
}

impl From<CliError> for Unanswered {
    fn from(error: CliError) -> Self {
        Unanswered { error, last: None }
    }
}

// Whether a request changes something, and so what silence means.
#[derive(Clone, Copy)]
enum Request {
    Reads,
    Changes,
}

impl WorkerClient {
    /// The worker's state, taken now.
    pub async fn list(&self) -> Result<WorkerSnapshot, Unanswered> {
        self.ask(verb::LIST, &serde_json::Map::new(), Request::Reads).await
    }

    /// Pauses a thread.
    pub async fn pause(&self, request: &CommandRequest) -> Result<CommandReply, CliError> {
        Ok(self.ask(verb::PAUSE, request, Request::Changes).await?)
    }

    /// Resumes a thread, in `state` if one is given. It reads the thread first and sends its revision: a paused thread
    /// does not move, so only somebody else's command in between makes the worker refuse.
    pub async fn resume(&self, index: u32, state: Option<String>, reason: Option<String>) -> Result<CommandReply, CliError> {
        let unread = |Unanswered { error, .. }| CliError { message: format!("{}; the command was not sent", error.message), ..error };
        let snapshot = self.list().await.map_err(unread)?;
        let Some(thread) = snapshot.threads.iter().find(|thread| thread.index == index) else {
            let kind = ErrorKind::ThreadNotFound { index, threads: snapshot.threads.len() as u32 };
            return Err(self.refused(ErrorBody { message: kind.to_string(), kind }));
        };
        let if_revision = Some(thread.revision);
        let request = CommandRequest { state, if_revision, by: Some(caller()), reason, ..CommandRequest::to(index) };
        Ok(self.ask(verb::RESUME, &request, Request::Changes).await?)
    }

    // JSON, so that `nats sub` shows what operators do.
    async fn ask<Q: Serialize, R: DeserializeOwned>(&self, verb: &str, request: &Q, kind: Request) -> Result<R, Unanswered> {
        let subject = self.prefix.command(&self.worker, verb);
        match call(&self.client, &subject, Encoding::Json, request, self.timeout).await {
            Ok(reply) => Ok(reply),
            Err(CallError::NoResponders(_)) => {
                let last = last_report(&self.client, &self.prefix, &self.worker, self.timeout).await;
                Err(not_delivered(&self.worker, last))
            }
            Err(CallError::Refused(body)) => Err(self.refused(body).into()),
            Err(error) => Err(self.failed(error, kind).into()),
        }
    }

    fn refused(&self, body: ErrorBody) -> CliError {
        let hint = match &body.kind {
            ErrorKind::NotPaused { .. } => Some("only a paused thread can be resumed: pause it first"),
            ErrorKind::RevisionMismatch { .. } => Some("somebody else acted on it meanwhile: look at it again before you go on"),
            _ => None,
        };
        let worker = &self.worker;
        let error = CliError { message: format!("worker {worker}: {}", body.message), ..CallError::Refused(body).into() };
        hint.into_iter().fold(error, |error, hint| error.hint(hint))
    }

    fn failed(&self, error: CallError, kind: Request) -> CliError {
        let worker = &self.worker;
        let message = format!("worker {worker}: {error}");
        match (&error, kind) {
            (CallError::TimedOut { .. }, Request::Reads) => CliError { message, ..error.into() }
                .hint("the worker hangs or is not reachable: see its log, or wait longer with --timeout"),
            (CallError::TimedOut { .. } | CallError::BadReply(..), Request::Changes) => {
                let unknown = "; the outcome is unknown: the command may have been carried out, or may still be";
                CliError { message: message + unknown, ..error.into() }.hint("look at the thread again before you repeat the command")
            }
            _ => CliError { message, ..error.into() },
        }
    }
}

// Nobody serves the worker's subject. What it last said tells whether there is such a worker.
fn not_delivered(worker: &WorkerName, last: Result<Option<LastReport>, String>) -> Unanswered {
    let error = match &last {
        Ok(None) => CliError::new(Exit::NotFound, format!("no such worker: nobody answers for {worker}, and it never reported"))
            .hint("`damocles-manager util worker list` shows the workers there are"),
        Ok(Some(LastReport { snapshot, age, .. })) => {
            let host = &snapshot.host;
            let (what, hint) = match snapshot.status {
                WorkerStatus::Stopped => ("was stopped", format!("start damocles-worker on host {host:?} again")),
                _ => ("does not answer", format!("is damocles-worker running on host {host:?}, and does it reach NATS?")),
            };
            CliError::new(Exit::NoAnswer, format!("worker {worker} {what}: its last report is {} old", human(*age))).hint(hint)
        }
        Err(reason) => {
            CliError::new(Exit::NoAnswer, format!("worker {worker} does not answer, and its last report cannot be read: {reason}"))
                .hint("is the name right, is the worker running, and does it reach NATS?")
        }
    };
    Unanswered { error, last: last.ok().flatten().map(Box::new) }
}

/// What a command did, in a sentence: `#0 s-t010000-2: paused`.
pub fn sentence(reply: &CommandReply) -> String {
    let outcome = match &reply.outcome {
        Outcome::Paused => "paused".to_owned(),
        Outcome::PausePending { stage, why } => {
            let stage = if stage.is_empty() { "its stage" } else { stage };
            let why = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            format!("pause pending, it takes effect when {stage} ends{why}")
        }
        Outcome::AlreadyPaused => "already paused".into(),
        Outcome::Resumed { from, to } if from == to => format!("resumed in {to}"),
        Outcome::Resumed { from, to } => format!("resumed {from} -> {to}"),
        Outcome::PauseWithdrawn => "pause withdrawn before it took effect".into(),
        Outcome::Cordoned => "cordoned, it takes no new sector".into(),
        Outcome::AlreadyCordoned => "already cordoned".into(),
        Outcome::Uncordoned => "uncordoned, it takes sectors again".into(),
        Outcome::NotCordoned => "was not cordoned".into(),
        Outcome::Other => "done, in a way that only a newer version of this tool can name".into(),
    };
    match &reply.sector_id {
        Some(sector) => format!("#{} {sector}: {outcome}", reply.index),
        None => format!("#{}: {outcome}", reply.index),
    }
}

/// Who runs this process, `user@host`, for the log of whoever gets the command.
pub fn caller() -> String {
    let named = |variable: &str| std::env::var(variable).ok().filter(|user| !user.is_empty());
    let user = named("USER").or_else(|| named("LOGNAME")).unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()));
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    fn reply(sector: Option<&str>, outcome: Outcome) -> String {
        sentence(&CommandReply { index: 0, sector_id: sector.map(Into::into), revision: 1, outcome })
    }

    fn last(status: &str) -> LastReport {
        let json = format!(r#"{{"instance_id":"{}","seq":1,"host":"h7","status":"{status}"}}"#, Id::NIL);
        LastReport { snapshot: serde_json::from_str(&json).unwrap(), age: Duration::from_secs(822), revision: 3 }
    }

    #[test]
    fn every_outcome_is_one_plain_sentence() {
        let sector = Some("s-t010000-2");
        let moved = |from: &str, to: &str| Outcome::Resumed { from: from.into(), to: to.into() };
        assert_eq!(reply(sector, Outcome::Paused), "#0 s-t010000-2: paused");
        assert_eq!(reply(None, Outcome::AlreadyPaused), "#0: already paused");
        let pending = Outcome::PausePending { stage: "C2".into(), why: None };
        assert_eq!(reply(sector, pending), "#0 s-t010000-2: pause pending, it takes effect when C2 ends");
        assert_eq!(reply(sector, moved("C1Done", "TreeDBuilt")), "#0 s-t010000-2: resumed C1Done -> TreeDBuilt");
        assert_eq!(reply(sector, moved("C1Done", "C1Done")), "#0 s-t010000-2: resumed in C1Done");
        assert_eq!(reply(sector, Outcome::PauseWithdrawn), "#0 s-t010000-2: pause withdrawn before it took effect");
    }

    #[test]
    fn a_worker_that_nobody_serves_is_told_from_one_that_never_was() {
        let worker = "w1".parse().unwrap();
        let absent = not_delivered(&worker, Ok(None));
        assert!(absent.error.exit == Exit::NotFound && absent.last.is_none());
        let gone = not_delivered(&worker, Ok(Some(last("running"))));
        assert_eq!(gone.error.exit, Exit::NoAnswer);
        assert_eq!(gone.error.message, "worker w1 does not answer: its last report is 13m42s old");
        assert_eq!(gone.last.unwrap().revision, 3);
        let stopped = not_delivered(&worker, Ok(Some(last("stopped"))));
        assert_eq!(stopped.error.message, "worker w1 was stopped: its last report is 13m42s old");
        assert_eq!(not_delivered(&worker, Err("no JetStream".into())).error.exit, Exit::NoAnswer);
    }

    #[test]
    fn the_caller_is_a_user_at_a_host() {
        assert!(caller().split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty()));
    }
}
