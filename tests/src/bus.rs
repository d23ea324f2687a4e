//! A test's own connection to its NATS server.

use std::{future::Future, time::Duration};

use async_nats::{
    Client, Message,
    client::RequestErrorKind,
    jetstream::{consumer, stream::Info},
};
use bytes::Bytes;
use damocles_client::call::{self, CallError};
use futures::TryStreamExt;
use serde::{Serialize, de::DeserializeOwned};
use shared_msgs::{
    api::{ListWorkersReply, ListWorkersRequest, WorkerView},
    codec::Encoding,
    command::{CommandReply, CommandRequest, Verb, verb},
    error::ErrorKind,
    event::Event,
    name::WorkerName,
    sector_manager::{SectorManagerReply, WorkerRequest},
    sectors::OperatorRequest,
    snapshot::WorkerSnapshot,
    subject::Prefix,
};
use tokio::time::timeout;

use crate::DEADLINE;

/// How soon a lost connection is tried again.
const RECONNECT_DELAY: Duration = Duration::from_millis(50);
/// How long [`Bus::served`] waits for one answer, and how soon it asks again.
const ANSWER_TIME: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// A connection that survives restarts of the server.
#[derive(Clone, Debug)]
pub struct Bus {
    /// Reconnects for ever, and lets a request wait as long as its caller does.
    pub client: Client,
    /// The first part of every subject.
    pub prefix: Prefix,
}

impl Bus {
    /// Connects now, or fails the test.
    pub async fn connect(url: &str) -> Bus {
        let options = async_nats::ConnectOptions::new()
            .reconnect_delay_callback(|_| RECONNECT_DELAY)
            .request_timeout(None);
        let client = options
            .connect(url)
            .await
            .unwrap_or_else(|error| panic!("cannot connect to {url}: {error}"));
        Bus { client, prefix: Prefix::default() }
    }

    /// The subject of a worker's verb, `<p>.v1.cmd.<w>.<verb>`.
    pub fn command(&self, worker: &str, verb: &str) -> String {
        self.prefix.command(&name(worker), verb)
    }

    /// Asks a worker, with a typed request and answer.
    pub async fn ask<R: DeserializeOwned>(
        &self,
        worker: &str,
        verb: &str,
        request: &impl Serialize,
    ) -> Result<R, CallError> {
        call::call(&self.client, &self.command(worker, verb), Encoding::Json, request, DEADLINE)
            .await
    }

    /// The worker's state, taken now.
    pub async fn list(&self, worker: &str) -> WorkerSnapshot {
        self.ask(worker, verb::LIST, &serde_json::json!({})).await.unwrap()
    }

    /// Orders a pause of one thread, and waits for the answer.
    pub async fn pause(&self, worker: &str, index: u32) -> Result<CommandReply, CallError> {
        self.order(worker, Verb::Pause, &CommandRequest::to(index)).await
    }

    /// Resumes a thread, from `state` if one is given.
    pub async fn resume(
        &self,
        worker: &str,
        index: u32,
        state: Option<&str>,
    ) -> Result<CommandReply, CallError> {
        self.order(
            worker,
            Verb::Resume,
            &CommandRequest { state: state.map(str::to_owned), ..CommandRequest::to(index) },
        )
        .await
    }

    /// Gives a command to one thread.
    pub async fn order(
        &self,
        worker: &str,
        verb: Verb,
        request: &CommandRequest,
    ) -> Result<CommandReply, CallError> {
        self.ask(worker, verb.name(), request).await
    }

    /// Asks the sector manager as a worker.
    pub async fn ask_sector_manager<R: WorkerRequest>(
        &self,
        worker: &str,
        request: &R,
    ) -> Result<R::Reply, CallError> {
        let subject = self.prefix.sector_manager(&name(worker), R::METHOD);
        let reply: SectorManagerReply<R::Reply> =
            call::call(&self.client, &subject, Encoding::Msgpack, request, DEADLINE).await?;
        Ok(reply.result)
    }

    /// Asks the sector manager as a worker, which asks again after silence.
    pub async fn ask_sector_manager_again<R: WorkerRequest>(
        &self,
        worker: &str,
        request: &R,
    ) -> Result<R::Reply, CallError> {
        let subject = self.prefix.sector_manager(&name(worker), R::METHOD);
        let asking = async {
            loop {
                let (client, within) = (&self.client, ANSWER_TIME);
                let asked = call::call(client, &subject, Encoding::Msgpack, request, within).await;
                match asked.map(|reply: SectorManagerReply<R::Reply>| reply.result) {
                    Err(CallError::TimedOut { .. }) => {}
                    answered => return answered,
                }
            }
        };
        within_deadline(&subject, asking).await
    }

    /// Asks the sector manager as an operator.
    pub async fn ask_sectors<R: OperatorRequest>(
        &self,
        request: &R,
    ) -> Result<R::Reply, CallError> {
        let subject = self.prefix.sectors(R::METHOD);
        let reply: SectorManagerReply<R::Reply> =
            call::call(&self.client, &subject, Encoding::Json, request, DEADLINE).await?;
        Ok(reply.result)
    }

    /// Publishes a state, as a worker does.
    pub async fn report(&self, worker: &str, snapshot: &WorkerSnapshot) {
        let body = Encoding::Msgpack.encode(snapshot).unwrap();
        self.client.publish(self.prefix.state(&name(worker)), body.into()).await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// Publishes an event, as a worker does, once there is a stream that keeps it; returns its
    /// number there.
    pub async fn record(&self, worker: &str, event: &Event) -> u64 {
        self.record_raw(
            &self.prefix.event(&name(worker), event.kind),
            serde_json::to_vec(event).unwrap(),
        )
        .await
    }

    /// Like [`Bus::record`], for bytes.
    pub async fn record_raw(&self, subject: &str, body: Vec<u8>) -> u64 {
        let jetstream = async_nats::jetstream::new(self.client.clone());
        let publishing = async {
            loop {
                // An error means that it was not kept: nobody serves the subject yet.
                if let Ok(ack) =
                    jetstream.publish(subject.to_owned(), body.clone().into()).await.unwrap().await
                {
                    return ack.sequence;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        within_deadline(subject, publishing).await
    }

    /// Waits until there is a stream, and returns what it is like.
    pub async fn stream(&self, stream: &str) -> Info {
        let jetstream = async_nats::jetstream::new(self.client.clone());
        let asking = async {
            loop {
                if let Ok(found) = jetstream.get_stream(stream).await {
                    return found.cached_info().clone();
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        within_deadline(stream, asking).await
    }

    /// Waits until somebody reads these subjects of a stream.
    pub async fn read_by(&self, stream: &str, filter: &str) {
        let jetstream = async_nats::jetstream::new(self.client.clone());
        let stream_read = jetstream.get_stream(stream).await.unwrap();
        let asking = async {
            loop {
                let consumers: Vec<consumer::Info> =
                    stream_read.consumers().try_collect().await.unwrap();
                if consumers.iter().any(|consumer| consumer.config.filter_subject == filter) {
                    return;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        within_deadline(stream, asking).await;
    }

    /// Sends bytes and returns the answer as it comes.
    pub async fn raw(&self, subject: &str, body: impl Into<Bytes>) -> Message {
        within_deadline(subject, self.client.request(subject.to_owned(), body.into()))
            .await
            .unwrap()
    }

    /// Waits until somebody serves a subject.
    pub async fn served(&self, subject: &str) {
        self.ask_until(subject, true).await;
    }

    /// Waits until nobody serves a subject: the server has noticed that whoever did is gone.
    pub async fn unserved(&self, subject: &str) {
        self.ask_until(subject, false).await;
    }

    /// Waits until a manager's list is one of which `holds` is true. It hears of a worker when this
    /// test does, a moment earlier or later.
    pub async fn listed(&self, what: &str, mut holds: impl FnMut(&[WorkerView]) -> bool) {
        let subject = self.prefix.api(verb::LIST);
        let asking = async {
            loop {
                let request = ListWorkersRequest::default();
                let answer: Result<ListWorkersReply, _> =
                    call::call(&self.client, &subject, Encoding::Json, &request, ANSWER_TIME).await;
                if answer.is_ok_and(|list| holds(&list.workers)) {
                    return;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        within_deadline(what, asking).await;
    }

    // Asks with an empty body until somebody answers, or nobody is there to. NATS tells nobody when
    // a subscription is made or gone, so there is nothing to wait for but the answer to a question.
    async fn ask_until(&self, subject: &str, served: bool) {
        let asking = async {
            loop {
                // An answer that takes longer will not come from somebody who was killed meanwhile.
                match timeout(ANSWER_TIME, self.client.request(subject.to_owned(), Bytes::new()))
                    .await
                {
                    Ok(Ok(_)) if served => return,
                    Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders && !served => {
                        return;
                    }
                    _ => tokio::time::sleep(ASK_AGAIN).await,
                }
            }
        };
        within_deadline(subject, asking).await;
    }
}

/// Why a request was refused. Fails the test if it was not.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(answer: Result<T, CallError>) -> ErrorKind {
    match answer {
        Err(CallError::Refused(body)) => body.kind,
        answer => panic!("not refused: {answer:?}"),
    }
}

/// A name that a test has written, as the bus has it.
pub fn name(worker: &str) -> WorkerName {
    worker.parse().unwrap()
}

pub(crate) async fn within_deadline<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("no answer on {what} within {DEADLINE:?}"))
}
