//! Somebody who commands one worker: asks the worker itself, and tells apart what can come of it.
//! `damocles-worker worker …` and `damocles-manager util worker …` are this client.
//!
//! ```text
//!  answered          -> the reply, or what the worker refused and why
//!  nobody there      -> not delivered: the worker's key tells "no such worker" from "silent since …"
//!  no answer in time -> asked again with the same request id, see [`attempts`]; in the end nothing
//!                       is known: the command may have been carried out, or may still be
//! ```
//! A client lives as long as somebody wants to talk to that worker, over any [`Bus`]. A command has
//! one request id from its first attempt to its last, drawn by the client unless the caller brings
//! one. [`goals`], [`follow`] and [`wait`] wait for what a command leads to: a state, a pause in
//! force, an empty thread.
//!
//! What always holds:
//! - A command acts once, however often it is sent: the worker keeps its answer under the id.
//! - "Not delivered" is said only when no attempt can have reached the worker; everything that is
//!   not known is [`OrderError::Unknown`], never a guess.
//! - A resume carries the revision that was read first, so it acts on what its giver has seen.
//! - Nothing is printed here: who waits is told by an observer.
//!
//! Tests: `attempts.rs` and `goals.rs` (pure), a played bus in this module's tests, the scenarios
//! `once::*`, `commands::no_answer`, `commands::wait`, and the simulation.

pub mod attempts;
pub mod follow;
pub mod goals;
pub mod wait;

use std::{sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::json;
use shared_msgs::{
    api,
    codec::Encoding,
    command::{BulkReply, CommandReply, CommandRequest, Verb, verb},
    error::{ErrorBody, ErrorKind},
    id::Id,
    name::WorkerName,
    snapshot::WorkerSnapshot,
    subject::Prefix,
};
use tokio::time::{Instant, timeout};

use self::attempts::{Attempts, Next};
use crate::{
    bus::Bus,
    call::{CallError, asked_again, call, over_a_living_server, read},
    caller::caller,
    server_clock::ServerClock,
    state_bucket::{LastReport, last_report},
};

/// Whom a command is sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Via {
    /// To the worker itself
    #[default]
    Worker,
    /// To any manager, which gives it on
    Manager,
}

/// Somebody who commands one worker.
#[derive(Clone)]
pub struct WorkerClient {
    /// The way to NATS, shared by all that is asked over it.
    pub bus: Arc<dyn Bus>,
    /// First part of every subject.
    pub prefix: Prefix,
    /// The worker that is commanded, by its identity on the bus.
    pub worker: WorkerName,
    /// Who is asked for it.
    pub via: Via,
    /// How long a command may take, from its first attempt to its answer.
    pub timeout: Duration,
}

/// Why an order, or a question, has no result.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Nobody serves the worker's subjects: it has not heard of it.
    #[error("not delivered: nobody answers for the worker")]
    NotDelivered(Box<Absence>),
    /// The worker refused; nothing was changed.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
    /// It could not be sent; or there is no answer, or none that can be read, to a question that
    /// changes nothing.
    #[error(transparent)]
    Failed(CallError),
    /// The command may have been carried out, or may still be; or its answer cannot be read.
    #[error("the outcome is unknown after {}: {why}", shared_msgs::duration::human(*waited))]
    Unknown {
        /// How the last attempt ended.
        why: CallError,
        /// For so long it was tried.
        waited: Duration,
    },
    /// The thread was to be read before, which failed: the command was not sent.
    #[error("{0}; the command was not sent")]
    NotSent(Box<OrderError>),
}

/// What is known of a worker for which nobody answers.
#[derive(Debug)]
pub struct Absence {
    /// What it last said; `None` if it never did; an error, a sentence, if that cannot be read.
    pub last: Result<Option<LastReport>, String>,
    /// Why that may be old, or nothing, and how to mend it.
    pub bucket_trouble: Option<String>,
}

impl OrderError {
    /// Why the worker refused, if it did.
    pub fn refusal(&self) -> Option<&ErrorKind> {
        match self {
            OrderError::Refused(body) => Some(&body.kind),
            OrderError::NotSent(error) => error.refusal(),
            _ => None,
        }
    }

    /// What the worker last said, if it was asked for because nobody answers.
    pub fn last_report(&self) -> Option<&LastReport> {
        match self {
            OrderError::NotDelivered(absence) => absence.last.as_ref().ok()?.as_ref(),
            _ => None,
        }
    }
}

impl WorkerClient {
    /// The worker's state, taken now.
    pub async fn list(&self) -> Result<WorkerSnapshot, OrderError> {
        let (subject, request) = match self.via {
            Via::Worker => (self.prefix.command(&self.worker, verb::LIST), json!({})),
            Via::Manager => {
                (self.prefix.api(api::verb::INFO), json!({"worker": self.worker.as_str()}))
            }
        };
        match read(&*self.bus, &subject, Encoding::Json, &request, self.timeout).await {
            Ok(snapshot) => Ok(snapshot),
            Err(CallError::NoResponders(_)) if self.via == Via::Worker => {
                Err(self.not_delivered().await)
            }
            Err(CallError::Refused(body)) => Err(OrderError::Refused(body)),
            Err(error) => Err(OrderError::Failed(error)),
        }
    }

    /// Gives a command to one thread. A resume without `if_revision` reads the thread first and
    /// sends its revision: a paused thread does not move, so only somebody else's command in
    /// between makes the worker refuse.
    pub async fn order(
        &self,
        verb: Verb,
        mut request: CommandRequest,
    ) -> Result<CommandReply, OrderError> {
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
    ) -> Result<BulkReply, OrderError> {
        self.deliver(verb, request, Instant::now()).await
    }

    async fn revision_of(&self, index: u32) -> Result<u64, OrderError> {
        let snapshot = self.list().await.map_err(|error| OrderError::NotSent(Box::new(error)))?;
        let thread = snapshot.threads.iter().find(|thread| thread.index == index);
        let absent = ErrorKind::ThreadNotFound { index, threads: snapshot.threads.len() as u32 };
        thread.map(|thread| thread.revision).ok_or_else(|| OrderError::Refused(absent.into()))
    }

    // JSON, so that `nats sub` shows what operators do. The id is drawn once: whatever is sent
    // again is the same command.
    async fn deliver<R: DeserializeOwned>(
        &self,
        verb: Verb,
        request: CommandRequest,
        began: Instant,
    ) -> Result<R, OrderError> {
        over_a_living_server(&*self.bus, self.attempt(verb, request, began)).await
    }

    async fn attempt<R: DeserializeOwned>(
        &self,
        verb: Verb,
        request: CommandRequest,
        began: Instant,
    ) -> Result<R, OrderError> {
        let mut request = self.limited(signed(request), began).await;
        let subject = match self.via {
            Via::Worker => self.prefix.command(&self.worker, verb.name()),
            Via::Manager => {
                request.worker = Some(self.worker.to_string());
                self.prefix.api(verb.name())
            }
        };
        let mut attempts = Attempts::new(self.timeout);
        loop {
            let patience = attempts.patience(began.elapsed());
            let called = call(&*self.bus, &subject, Encoding::Json, &request, patience).await;
            let why = match called {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            match (attempts.failed(&why, began.elapsed()), why) {
                (Next::Again(pause), _) => tokio::time::sleep(pause).await,
                (Next::Unknown, why) => {
                    return Err(OrderError::Unknown { why, waited: self.timeout });
                }
                (Next::End, CallError::NoResponders(_)) if self.via == Via::Worker => {
                    return Err(self.not_delivered().await);
                }
                (Next::End, CallError::Refused(body)) => return Err(OrderError::Refused(body)),
                (Next::End, why) => return Err(OrderError::Failed(why)),
            }
        }
    }

    // Nobody carries it out after this client has given it up.
    async fn limited(&self, request: CommandRequest, began: Instant) -> CommandRequest {
        let clock = ServerClock::read(&*self.bus, &self.prefix).await;
        until(request, clock, began + self.timeout)
    }

    async fn not_delivered(&self) -> OrderError {
        // It only explains, and whoever asks has waited before.
        let patience = self.timeout / 3;
        let last = asked_again(&*self.bus, patience, || {
            last_report(&*self.bus, &self.prefix, &self.worker, patience)
        });
        let trouble = asked_again(&*self.bus, patience, || {
            timeout(patience, self.bus.state_bucket_trouble(&self.prefix))
        });
        let (last, trouble) = tokio::join!(last, trouble);
        OrderError::NotDelivered(Box::new(Absence {
            last: last.unwrap_or_else(|| Err("JetStream does not answer".into())),
            bucket_trouble: trouble.and_then(Result::ok).flatten(),
        }))
    }
}

/// The request with the moment until which it may be carried out, unless it has one; `None` of a
/// clock says that nobody knows the server's.
pub fn until(
    request: CommandRequest,
    clock: Option<ServerClock>,
    deadline: Instant,
) -> CommandRequest {
    let until_ms = request.until_ms.or_else(|| clock.map(|clock| clock.at_least(deadline)));
    CommandRequest { until_ms, ..request }
}

/// The request with what every command carries: an id of its own, unless it has one, and who gives
/// it.
pub fn signed(request: CommandRequest) -> CommandRequest {
    CommandRequest {
        request_id: request.request_id.or_else(|| Some(Id::generate())),
        by: request.by.or_else(|| Some(caller())),
        ..request
    }
}

#[cfg(test)]
mod tests;
