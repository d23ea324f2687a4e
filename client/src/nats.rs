//! [`Bus`] over NATS. With [`crate::connect`], [`crate::entries`], [`crate::lease`] and
//! [`crate::history`] it is all of this crate that knows NATS.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::{Duration, UNIX_EPOCH},
};

use async_nats::{
    Client, Message as NatsMessage, StatusCode,
    client::RequestErrorKind,
    connection::State,
    jetstream::{self, kv::Operation},
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryFutureExt, future::BoxFuture, stream::BoxStream};
use serde::Deserialize;
use shared_msgs::{
    codec::decode,
    id::Id,
    lease::{self, Lease},
    name::WorkerName,
    subject::Prefix,
};
use tokio::time::{sleep, timeout};

use crate::{
    bus::{Bus, Message, Stored, Unasked},
    denials::{Denial, Denials},
    entries::Entries,
    hedged::ASK_AGAIN,
    jetstream::{JetStreamError, present},
    state_bucket,
};

// Where the client listens for answers.
const INBOXES: &str = "_INBOX.";
// Where JetStream is asked.
const JETSTREAM: &str = "$JS.API.";
const JETSTREAM_INFO: &str = "$JS.API.INFO";

/// A connection that ends at once what the server does not let it do.
#[derive(Clone)]
pub struct Connection {
    /// The client, for what is not asked through [`Bus`].
    pub client: Client,
    pub(crate) denials: Arc<Denials>,
}

impl Connection {
    /// Waits until the server does not let this connection subscribe that subject, which it does.
    pub fn unsubscribed(
        &self,
        subject: impl Into<String>,
    ) -> impl Future<Output = Denial> + Send + 'static {
        let subject = subject.into();
        self.denials.denied(
            move |denial| matches!(denial, Denial::Subscribe(refused) if *refused == subject),
        )
    }

    /// Asks JetStream for something of this stream, unless the server does not let this connection.
    pub async fn permitted<T>(
        &self,
        stream: &str,
        asking: impl Future<Output = T>,
    ) -> Result<T, Denial> {
        let stream = stream.to_owned();
        let denied = self.denials.denied(move |denial| match denial {
            Denial::Publish(refused) => {
                refused == JETSTREAM_INFO
                    || refused.starts_with(JETSTREAM)
                        && refused.split('.').any(|token| token == stream)
            }
            Denial::Subscribe(refused) => refused.starts_with(INBOXES),
        });
        tokio::select! {
            biased;
            done = asking => Ok(done),
            denial = denied => Err(denial),
        }
    }
}

impl Bus for Connection {
    fn ask(&self, subject: String, request: Bytes) -> BoxFuture<'_, Result<Bytes, Unasked>> {
        self.client.ask(subject, request)
    }

    fn inbox(&self) -> String {
        self.client.inbox()
    }

    fn listen(
        &self,
        subject: String,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Message>, String>> {
        self.client.listen(subject)
    }

    fn send(
        &self,
        subject: String,
        reply: String,
        request: Bytes,
    ) -> BoxFuture<'_, Result<(), String>> {
        self.client.send(subject, reply, request)
    }

    fn stored<'a>(
        &'a self,
        prefix: &'a Prefix,
        worker: Option<&'a WorkerName>,
    ) -> BoxFuture<'a, Result<Vec<(WorkerName, Stored)>, String>> {
        self.told(prefix.state_stream(), self.client.stored(prefix, worker)).boxed()
    }

    fn holder<'a>(
        &'a self,
        prefix: &'a Prefix,
        worker: &'a WorkerName,
    ) -> BoxFuture<'a, Result<Option<Id>, String>> {
        self.told(prefix.lease_stream(), self.client.holder(prefix, worker)).boxed()
    }

    fn state_bucket_trouble<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Option<String>> {
        async move {
            let asking = self.client.state_bucket_trouble(prefix);
            self.permitted(&prefix.state_stream(), asking).await.ok().flatten()
        }
        .boxed()
    }

    fn server_time_ms<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Result<i64, String>> {
        self.told(prefix.lease_stream(), self.client.server_time_ms(prefix)).boxed()
    }

    fn denied<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Denial> {
        let subject = subject.to_owned();
        let denied = self.denials.denied(move |denial| match denial {
            Denial::Publish(refused) => *refused == subject,
            Denial::Subscribe(refused) => refused.starts_with(INBOXES),
        });
        denied.boxed()
    }

    fn leave_silent_servers(&self) -> BoxFuture<'_, Infallible> {
        self.client.leave_silent_servers()
    }
}

impl Bus for Client {
    fn ask(&self, subject: String, request: Bytes) -> BoxFuture<'_, Result<Bytes, Unasked>> {
        async move {
            match self.request(subject, request).await {
                Ok(message) => Ok(message.payload),
                Err(error) => Err(match error.kind() {
                    RequestErrorKind::NoResponders => Unasked::NoResponders,
                    RequestErrorKind::TimedOut => Unasked::Lost,
                    _ => Unasked::NotSent(error.to_string()),
                }),
            }
        }
        .boxed()
    }

    fn inbox(&self) -> String {
        self.new_inbox()
    }

    fn listen(
        &self,
        subject: String,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Message>, String>> {
        async move {
            let heard = self.subscribe(subject).await.map_err(|error| error.to_string())?;
            Ok(heard.map(published).boxed())
        }
        .boxed()
    }

    fn send(
        &self,
        subject: String,
        reply: String,
        request: Bytes,
    ) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let sent = self.publish_with_reply(subject, reply, request).await;
            sent.map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn stored<'a>(
        &'a self,
        prefix: &'a Prefix,
        worker: Option<&'a WorkerName>,
    ) -> BoxFuture<'a, Result<Vec<(WorkerName, Stored)>, String>> {
        match worker {
            Some(worker) => stored_of(self, prefix, worker).map_err(said).boxed(),
            None => stored_of_all(self, prefix).map_err(said).boxed(),
        }
    }

    fn holder<'a>(
        &'a self,
        prefix: &'a Prefix,
        worker: &'a WorkerName,
    ) -> BoxFuture<'a, Result<Option<Id>, String>> {
        holder(self, prefix, worker).map_err(said).boxed()
    }

    fn state_bucket_trouble<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Option<String>> {
        async move {
            let jetstream = jetstream::new(self.clone());
            let stream = jetstream.get_stream(prefix.state_stream()).await.ok()?;
            state_bucket::trouble(prefix, &stream.cached_info().config)
        }
        .boxed()
    }

    // The bucket of leases is there as soon as there is a worker.
    fn server_time_ms<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Result<i64, String>> {
        async move { server_time_ms(self, &prefix.lease_stream()).await.map_err(said) }.boxed()
    }

    fn leave_silent_servers(&self) -> BoxFuture<'_, Infallible> {
        async {
            loop {
                sleep(ASK_AGAIN).await;
                if self.connection_state() == State::Connected && !says_anything(self).await {
                    // One that cannot be asked for is no connection any more.
                    self.force_reconnect().await.ok();
                }
            }
        }
        .boxed()
    }
}

impl Connection {
    // What JetStream says of a stream, or the server instead.
    async fn told<T>(
        &self,
        stream: String,
        asking: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let told = self.permitted(&stream, asking).await;
        told.unwrap_or_else(|denial| Err(format!("no permission: {denial}")))
    }
}

fn published(message: NatsMessage) -> Message {
    let nobody = message.status == Some(StatusCode::NO_RESPONDERS);
    Message { subject: message.subject.to_string(), body: (!nobody).then_some(message.payload) }
}

// Nobody serves a new inbox. A server that lives says so at once, or that it may not be asked.
async fn says_anything(client: &Client) -> bool {
    let statistics = client.statistics();
    let heard = statistics.in_bytes.load(Ordering::Relaxed);
    let answered = timeout(ASK_AGAIN, client.request(client.new_inbox(), Bytes::new())).await;
    answered.is_ok() || statistics.in_bytes.load(Ordering::Relaxed) != heard
}

async fn stored_of(
    client: &Client,
    prefix: &Prefix,
    worker: &WorkerName,
) -> Result<Vec<(WorkerName, Stored)>, JetStreamError> {
    let jetstream = jetstream::new(client.clone());
    let bucket = jetstream.get_key_value(prefix.state_bucket()).await.map_err(failed)?;
    let entry = bucket.entry(worker.token()).await.map_err(failed)?;
    let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
        return Ok(Vec::new());
    };
    let now_ms = server_time_ms(client, &prefix.state_stream()).await?;
    let stored_ms = (entry.created.unix_timestamp_nanos() / 1_000_000) as i64;
    let stored =
        Stored { body: entry.value, age: age(now_ms, stored_ms), revision: entry.revision };
    Ok(vec![(worker.clone(), stored)])
}

async fn holder(
    client: &Client,
    prefix: &Prefix,
    worker: &WorkerName,
) -> Result<Option<Id>, JetStreamError> {
    let jetstream = jetstream::new(client.clone());
    let bucket = jetstream.get_key_value(prefix.lease_bucket()).await.map_err(failed)?;
    let entry = bucket.entry(lease::key(worker)).await.map_err(failed)?;
    let held = entry.filter(|entry| entry.operation == Operation::Put);
    // What cannot be read is nobody's lease.
    Ok(held.and_then(|entry| decode::<Lease>(&entry.value).ok()).map(|lease| lease.instance_id))
}

async fn stored_of_all(
    client: &Client,
    prefix: &Prefix,
) -> Result<Vec<(WorkerName, Stored)>, JetStreamError> {
    let jetstream = jetstream::new(client.clone());
    present(&jetstream).await?;
    let name = prefix.state_stream();
    let unread = |what: &str, error: &dyn std::fmt::Display| {
        failed(format!("the workers' last states cannot be read: {what}: {error}"))
    };
    let stream = jetstream
        .get_stream(&name)
        .await
        .map_err(|error| unread(&format!("stream {name}"), &error))?;
    let now_ms =
        server_time_ms(client, &name).await.map_err(|error| unread("the server's time", &error))?;
    let keys = state_bucket::all_keys(prefix);
    let opened = Entries::open(client, &stream, keys, "somebody reads the workers' last states");
    let mut entries = opened.await.map_err(|error| unread("bucket", &error))?;
    let mut stored = Vec::new();
    while let Some(entry) = entries.next_stored().await.map_err(|error| unread("bucket", &error))? {
        let worker = state_bucket::worker_of_key(prefix, &entry.subject);
        let Some(worker) = worker.filter(|_| !entry.gone) else { continue };
        let age = age(now_ms, entry.stored_ms);
        stored.push((worker, Stored { body: entry.payload, age, revision: entry.revision }));
    }
    Ok(stored)
}

fn age(now_ms: i64, stored_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now_ms.saturating_sub(stored_ms)).unwrap_or(0))
}

/// The server's clock, Unix milliseconds: the `ts` of a stream-info reply (NATS ADR-1), which the
/// client does not show.
pub async fn server_time_ms(client: &Client, stream: &str) -> Result<i64, JetStreamError> {
    #[derive(Deserialize)]
    struct StreamInfo {
        ts: Option<String>,
    }
    let reply =
        client.request(format!("$JS.API.STREAM.INFO.{stream}"), "".into()).await.map_err(failed)?;
    let info: StreamInfo = serde_json::from_slice(&reply.payload).map_err(failed)?;
    let ts = info.ts.ok_or_else(|| failed("the stream's info has no time"))?;
    let time = humantime::parse_rfc3339_weak(&ts)
        .map_err(|error| failed(format!("time {ts:?}: {error}")))?;
    let since_epoch = time.duration_since(UNIX_EPOCH).map_err(failed)?;
    Ok(since_epoch.as_millis() as i64)
}

fn failed(error: impl ToString) -> JetStreamError {
    JetStreamError::Failed(error.to_string())
}

fn said(error: JetStreamError) -> String {
    error.to_string()
}
