//! A worker's commands as the command-line tools give them: ask the worker itself, and say in a
//! sentence what came of it. `damocles-worker worker …` and `damocles-manager util worker …` are
//! the same client.
//!
//! ```text
//!  answered          -> the reply, or what the worker refused and why
//!  nobody there      -> not delivered: the worker's key tells "no such worker" from "does not answer since …"
//!  no answer in time -> asked again with the same request id, see [`attempts`]; in the end nothing is known: the command
//!                       may have been carried out, or may still be
//! ```
//! [`verbs`]: the commands for one worker, whole, as both tools have them; [`goals`], [`wait`], [`follow`], [`progress`]: waiting for
//! what a command leads to; [`said`]: all of that in words.

pub mod attempts;
pub mod follow;
pub mod goals;
pub mod progress;
pub mod said;
pub mod verbs;
pub mod wait;

use std::time::Duration;

use async_nats::Client;
use damocles_client::{
    call::{CallError, LastReport, asked_again, call, last_report, over_a_living_server, read},
    state_bucket,
};
use serde::de::DeserializeOwned;
use shared_msgs::{
    codec::Encoding,
    command::{BulkReply, CommandReply, CommandRequest, Verb, verb},
    duration::human,
    error::{ErrorBody, ErrorKind},
    id::Id,
    name::WorkerName,
    snapshot::{WorkerSnapshot, WorkerStatus},
    subject::Prefix,
};
use tokio::time::Instant;

use self::attempts::{Attempts, Next};
use crate::{CliError, Exit};

/// Somebody who commands one worker.
pub struct WorkerClient {
    /// The connection.
    pub client: Client,
    /// First part of every subject.
    pub prefix: Prefix,
    /// The worker.
    pub worker: WorkerName,
    /// How long a command may take, from its first attempt to its answer.
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

impl WorkerClient {
    /// The worker's state, taken now.
    pub async fn list(&self) -> Result<WorkerSnapshot, Unanswered> {
        let subject = self.prefix.command(&self.worker, verb::LIST);
        match read(&self.client, &subject, Encoding::Json, &serde_json::Map::new(), self.timeout)
            .await
        {
            Ok(snapshot) => Ok(snapshot),
            Err(CallError::NoResponders(_)) => Err(self.not_delivered().await),
            Err(CallError::Refused(body)) => Err(self.refused(body).into()),
            Err(error) => {
                let timed_out = matches!(error, CallError::TimedOut { .. });
                let error = CliError {
                    message: format!("worker {}: {error}", self.worker),
                    ..error.into()
                };
                let hint = "the worker hangs or is not reachable: see its log, or wait longer with --timeout";
                Err(if timed_out { error.hint(hint) } else { error }.into())
            }
        }
    }

    /// Gives a command to one thread. A resume without `if_revision` reads the thread first and
    /// sends its revision: a paused thread does not move, so only somebody else's command in
    /// between makes the worker refuse.
    pub async fn order(
        &self,
        verb: Verb,
        mut request: CommandRequest,
    ) -> Result<CommandReply, CliError> {
        let began = Instant::now();
        if let (Verb::Resume, Some(index), None) = (verb, request.index, request.if_revision) {
            request.if_revision = Some(self.revision_of(index).await?);
        }
        self.deliver(verb, request, began).await
    }

    /// Gives a command to those threads of this worker that the request's selector selects.
    pub async fn order_many(
        &self,
        verb: Verb,
        request: CommandRequest,
    ) -> Result<BulkReply, CliError> {
        self.deliver(verb, request, Instant::now()).await
    }

    async fn revision_of(&self, index: u32) -> Result<u64, CliError> {
        let unread = |Unanswered { error, .. }| CliError {
            message: format!("{}; the command was not sent", error.message),
            ..error
        };
        let snapshot = self.list().await.map_err(unread)?;
        let thread = snapshot.threads.iter().find(|thread| thread.index == index);
        let absent = ErrorKind::ThreadNotFound { index, threads: snapshot.threads.len() as u32 };
        thread.map(|thread| thread.revision).ok_or_else(|| self.refused(absent.into()))
    }

    // JSON, so that `nats sub` shows what operators do. The id is drawn once: whatever is sent
    // again is the same command.
    async fn deliver<R: DeserializeOwned>(
        &self,
        verb: Verb,
        request: CommandRequest,
        began: Instant,
    ) -> Result<R, CliError> {
        over_a_living_server(&self.client, self.attempt(verb, request, began)).await
    }

    async fn attempt<R: DeserializeOwned>(
        &self,
        verb: Verb,
        request: CommandRequest,
        began: Instant,
    ) -> Result<R, CliError> {
        let request = signed(request);
        let subject = self.prefix.command(&self.worker, verb.name());
        let mut attempts = Attempts::new(self.timeout);
        loop {
            let patience = attempts.patience(began.elapsed());
            let error = match call(&self.client, &subject, Encoding::Json, &request, patience).await
            {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            match (attempts.failed(&error, began.elapsed()), error) {
                (Next::Again(pause), _) => tokio::time::sleep(pause).await,
                (Next::Unknown, error) => return Err(self.unknown(error)),
                (Next::End, CallError::NoResponders(_)) => {
                    return Err(self.not_delivered().await.into());
                }
                (Next::End, CallError::Refused(body)) => return Err(self.refused(body)),
                (Next::End, error) => {
                    return Err(CliError {
                        message: format!("worker {}: {error}", self.worker),
                        ..error.into()
                    });
                }
            }
        }
    }

    async fn not_delivered(&self) -> Unanswered {
        // It only explains, and whoever asks has waited before.
        let patience = self.timeout / 3;
        let last = asked_again(&self.client, patience, || {
            last_report(&self.client, &self.prefix, &self.worker, patience)
        });
        let trouble = asked_again(&self.client, patience, || {
            state_bucket::trouble_now(&self.client, &self.prefix, patience)
        });
        let (last, trouble) = tokio::join!(last, trouble);
        let mut unanswered = not_delivered(
            &self.worker,
            last.unwrap_or_else(|| Err("JetStream does not answer".into())),
        );
        if let Some(trouble) = trouble.flatten() {
            // Then what is known of it may be old, or nothing.
            let hint =
                unanswered.error.hint.take().map(|hint| format!("; {hint}")).unwrap_or_default();
            unanswered.error = unanswered.error.hint(format!("{trouble}{hint}"));
        }
        unanswered
    }

    fn refused(&self, body: ErrorBody) -> CliError {
        let hint = match &body.kind {
            ErrorKind::NotPaused { .. } => {
                Some("only a paused thread can be resumed: pause it first")
            }
            ErrorKind::RevisionMismatch { .. } => {
                Some("somebody else acted on it meanwhile: look at it again before you go on")
            }
            ErrorKind::LeaseUnconfirmed => Some(
                "it may have lost NATS for a while, or a second worker has its name: see `util worker list`",
            ),
            _ => None,
        };
        let worker = &self.worker;
        let error = CliError {
            message: format!("worker {worker}: {}", body.message),
            ..CallError::Refused(body).into()
        };
        hint.into_iter().fold(error, |error, hint| error.hint(hint))
    }

    fn unknown(&self, error: CallError) -> CliError {
        let worker = &self.worker;
        let what = match &error {
            CallError::BadReply(..) => error.to_string(),
            _ => format!("no answer within {}", human(self.timeout)),
        };
        let exit =
            if matches!(error, CallError::BadReply(..)) { Exit::Failed } else { Exit::NoAnswer };
        let unknown =
            "the outcome is unknown: the command may have been carried out, or may still be";
        CliError::new(exit, format!("worker {worker}: {what}; {unknown}"))
            .hint("look at the thread again before you repeat the command")
    }
}

/// The request with what every command carries: an id of its own, and who gives it.
pub fn signed(request: CommandRequest) -> CommandRequest {
    CommandRequest { request_id: Some(Id::generate()), by: Some(caller()), ..request }
}

// Nobody serves the worker's subject. What it last said tells whether there is such a worker.
fn not_delivered(worker: &WorkerName, last: Result<Option<LastReport>, String>) -> Unanswered {
    let error = match &last {
        Ok(None) => CliError::new(
            Exit::NotFound,
            format!("no such worker: nobody answers for {worker}, and it never reported"),
        )
        .hint("`damocles-manager util worker list` shows the workers there are"),
        Ok(Some(LastReport { snapshot, age, .. })) => {
            let host = &snapshot.host;
            let (what, hint) = match snapshot.status {
                WorkerStatus::Stopped => {
                    ("was stopped", format!("start damocles-worker on host {host:?} again"))
                }
                _ => (
                    "does not answer",
                    format!("is damocles-worker running on host {host:?}, and does it reach NATS?"),
                ),
            };
            CliError::new(
                Exit::NoAnswer,
                format!("worker {worker} {what}: its last report is {} old", human(*age)),
            )
            .hint(hint)
        }
        Err(reason) => CliError::new(
            Exit::NoAnswer,
            format!(
                "worker {worker} does not answer, and its last report cannot be read: {reason}"
            ),
        )
        .hint("is the name right, is the worker running, and does it reach NATS?"),
    };
    Unanswered { error, last: last.ok().flatten().map(Box::new) }
}

/// Who runs this process, `user@host`, for the log of whoever gets the command.
pub fn caller() -> String {
    let named = |variable: &str| std::env::var(variable).ok().filter(|user| !user.is_empty());
    let user = named("USER")
        .or_else(|| named("LOGNAME"))
        .unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()));
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use shared_msgs::id::Id;

    use super::*;

    fn last(status: &str) -> LastReport {
        let json =
            format!(r#"{{"instance_id":"{}","seq":1,"host":"h7","status":"{status}"}}"#, Id::NIL);
        LastReport {
            snapshot: serde_json::from_str(&json).unwrap(),
            age: Duration::from_secs(822),
            revision: 3,
        }
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
    fn every_command_has_an_id_of_its_own_and_says_who_gives_it() {
        let (one, other) = (signed(CommandRequest::to(0)), signed(CommandRequest::to(0)));
        assert!(one.request_id.is_some() && one.request_id != other.request_id);
        assert_eq!(one.by, Some(caller()));
    }

    #[test]
    fn the_caller_is_a_user_at_a_host() {
        assert!(
            caller()
                .split_once('@')
                .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
        );
    }
}
