//! Commands that are given to any manager, which gives them on: `api.info`, and `api.<verb>` for each
//! verb of a worker. Whoever cannot make a subject of a worker's name, or may not command workers
//! itself, commands them so.
//!
//! ```text
//!  {"worker": …, "index" or "selector": …}  -> the worker's own request-reply, its answer as it is
//!  {"selector": …}                          -> every worker that fits, and one answer for all
//! ```
//! The request goes on as it came, under its `request_id`: a repeat through another manager acts
//! once. What became of a command that was not answered is unknown, and that is said.
//!
//! Tests: the scenarios `managers::orders`.

use std::{sync::Arc, time::Duration};

use async_nats::Client;
use damocles_client::{
    bulk::{ScatterError, fleet::Fleet, gather::Gathered},
    bus::Denial,
    call::CallError,
    caller,
    nats::Connection,
    system::System,
    worker_client::{OrderError, Via, WorkerClient, signed},
};
use damocles_daemon::answering::room;
use serde::Serialize;
use shared_msgs::{
    api::{Conflict, FleetReply, InfoRequest, WorkerRefusal, verb},
    codec::Texts,
    command::{BulkReply, CommandReply, CommandRequest, Verb},
    error::ErrorKind,
    name::WorkerName,
    selector::Selector,
    snapshot::WorkerSnapshot,
    subject::Prefix,
};

use super::{fleet, responder::answer_within};

/// Gives commands on.
pub(crate) struct Orders {
    client: Client,
    system: System,
    // Of this manager, for whoever does not say who he is.
    by: Option<String>,
}

/// What came of a command, as whoever carried it out says.
#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Told {
    One(CommandReply),
    Some(BulkReply),
    All(FleetReply),
}

impl Texts for Told {
    fn texts(&mut self) -> Vec<&mut String> {
        match self {
            Told::One(reply) => reply.texts(),
            Told::Some(reply) => reply.texts(),
            Told::All(reply) => reply.texts(),
        }
    }
}

/// The verbs that are given on, with what a worker is asked.
fn given_on(verb: &str) -> Option<Verb> {
    match verb {
        // The waiting is whoever's that drains.
        verb::DRAIN => Some(Verb::Cordon),
        verb => Verb::named(verb),
    }
}

/// The names of all verbs that are given on.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    [verb::INFO, verb::DRAIN].into_iter().chain(Verb::ALL.iter().map(|verb| verb.name()))
}

impl Orders {
    /// Over this connection; a command may take so long.
    pub(crate) fn new(connection: Connection, prefix: Prefix, timeout: Duration) -> Self {
        let client = connection.client.clone();
        let system = System { bus: Arc::new(connection), prefix, via: Via::Worker, timeout };
        Orders { client, system, by: caller::named("manager").ok() }
    }

    /// The answer to a request; `None` if its verb is none that is given on.
    pub(crate) async fn handle(
        &self,
        verb: &str,
        payload: &[u8],
    ) -> Option<Result<Vec<u8>, ErrorKind>> {
        let room = room(&self.client);
        if verb == verb::INFO {
            let info = async |request, _| self.info(request).await;
            return Some(answer_within(room, payload, info).await);
        }
        let verb = given_on(verb)?;
        let order = async |request, encoding| match self.order(verb, request).await? {
            Told::All(reply) => Ok(Told::All(fleet::within(room, reply, encoding)?)),
            told => Ok(told),
        };
        Some(answer_within(room, payload, order).await)
    }

    async fn info(&self, request: InfoRequest) -> Result<WorkerSnapshot, ErrorKind> {
        let worker = self.worker(&request.worker)?;
        worker.list().await.map_err(|error| refusal(&worker.worker, error))
    }

    async fn order(&self, verb: Verb, request: CommandRequest) -> Result<Told, ErrorKind> {
        request.check(verb)?;
        let named = request.worker.clone();
        let by = request.by.clone().or_else(|| self.by.clone());
        let request = signed(CommandRequest { by, worker: None, ..request });
        let Some(named) = named else {
            let selector = request.selector.clone().ok_or_else(|| {
                ErrorKind::bad_request("it names neither a worker nor a selector")
            })?;
            return Ok(Told::All(self.order_all(verb, request, selector).await?));
        };
        let worker = self.worker(&named)?;
        let told = match request.index {
            Some(_) => worker.order(verb, request).await.map(Told::One),
            None => worker.order_many(verb, request).await.map(Told::Some),
        };
        told.map_err(|error| refusal(&worker.worker, error))
    }

    async fn order_all(
        &self,
        verb: Verb,
        request: CommandRequest,
        selector: Selector,
    ) -> Result<FleetReply, ErrorKind> {
        let selection = selector.compile().map_err(ErrorKind::bad_request)?;
        let reports = self.system.reports().await.ok();
        let expected = reports.map(|reports| Fleet::of(reports.workers, &selection).expected);
        let gathered = self.system.order_all(verb, &request, expected).await;
        let gathered = gathered.map_err(|error| match error {
            ScatterError::Denied(denial) => denied(denial, "the workers"),
            ScatterError::Failed { .. } => ErrorKind::internal(error),
            ScatterError::NotSentInTime => ErrorKind::OutcomeUnknown { detail: error.to_string() },
        })?;
        Ok(reply(&request, gathered))
    }

    fn worker(&self, name_or_dest: &str) -> Result<WorkerClient, ErrorKind> {
        let worker = self.system.prefix.worker_named(name_or_dest);
        Ok(self.system.worker(worker.map_err(ErrorKind::bad_request)?))
    }
}

fn reply(request: &CommandRequest, gathered: Gathered) -> FleetReply {
    let Gathered { replies, refused, unnamed, missing, conflicts, unlisted, complete, .. } =
        gathered;
    let named = refused.into_iter().map(|(worker, error)| (Some(worker.to_string()), error));
    let refused = named.chain(unnamed.into_iter().map(|error| (None, error)));
    FleetReply {
        request_id: request.request_id,
        dry_run: request.dry_run,
        workers: replies,
        refused: refused.map(|(worker, error)| WorkerRefusal { worker, error }).collect(),
        missing: missing.iter().map(WorkerName::to_string).collect(),
        conflicts: conflicts
            .into_iter()
            .map(|(worker, instance_id)| Conflict { worker: worker.to_string(), instance_id })
            .collect(),
        unlisted,
        complete,
    }
}

/// The refusal where NATS does not let this manager ask somebody.
pub(super) fn denied(denial: Denial, whom: &str) -> ErrorKind {
    match denial {
        Denial::Publish(subject) => ErrorKind::NotPermitted { subject },
        // It was asked, and its answer is not heard.
        Denial::Subscribe(subject) => {
            let detail = format!("{whom}: NATS lets the manager's login not subscribe {subject}");
            ErrorKind::OutcomeUnknown { detail }
        }
    }
}

// A refusal is the worker's own; for the rest the manager has words.
fn refusal(worker: &WorkerName, error: OrderError) -> ErrorKind {
    let name = || worker.to_string();
    match error {
        OrderError::Refused(body) => body.kind,
        OrderError::NotDelivered(absence) => match absence.last {
            Ok(None) => ErrorKind::WorkerNotFound { worker: name() },
            Ok(Some(last)) => ErrorKind::NotDelivered {
                worker: name(),
                last_ping_ms: Some(last.age.as_millis() as u64),
            },
            Err(_) => ErrorKind::NotDelivered { worker: name(), last_ping_ms: None },
        },
        OrderError::NotSent(error) => refusal(worker, *error),
        OrderError::Unknown { .. } | OrderError::Failed(CallError::TimedOut { .. }) => {
            ErrorKind::OutcomeUnknown { detail: format!("worker {worker}: {error}") }
        }
        OrderError::Failed(CallError::Denied(denial)) => {
            denied(denial, &format!("worker {worker}"))
        }
        OrderError::Failed(error) => ErrorKind::internal(format!("worker {worker}: {error}")),
    }
}
