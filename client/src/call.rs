//! Asking over the bus: one request, one deadline, and an answer that is told apart from a refusal,
//! from silence and from nobody being there.
//!
//! ```text
//!  call   one request: for what changes something
//!  read   asked again while nobody answers, and over another server if this one says nothing at all
//! ```

use std::{convert::Infallible, sync::atomic::Ordering, time::Duration};

use async_nats::{Client, Message, client::RequestErrorKind, connection::State};
use bytes::Bytes;
use futures::FutureExt;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shared_msgs::{
    codec::{Encoding, decode},
    error::{ErrorBody, HEADERS_ROOM},
    name::WorkerName,
    snapshot::WorkerSnapshot,
    subject::Prefix,
};
use tokio::time::{sleep, timeout};

use crate::hedged::{ASK_AGAIN, hedged};

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody serves the subject: the request was not delivered.
    #[error("nobody answers on {0}")]
    NoResponders(String),
    /// No answer in time: whether the request was carried out is unknown.
    #[error("no answer on {subject} within {}", shared_msgs::duration::human(*deadline))]
    TimedOut {
        /// What was asked.
        subject: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// It was answered with a refusal; nothing was changed.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
    /// The answer makes no sense.
    #[error("the answer on {0} cannot be read: {1}")]
    BadReply(String, String),
    /// The request could not be sent.
    #[error("the request on {0} could not be sent: {1}")]
    NotSent(String, String),
}

/// Sends one request and reads its answer. `deadline` covers everything, the wait for a lost
/// connection included.
pub async fn call<Q: Serialize, R: DeserializeOwned>(
    client: &Client,
    subject: &str,
    encoding: Encoding,
    request: &Q,
    deadline: Duration,
) -> Result<R, CallError> {
    let body = encoding
        .encode(request)
        .map_err(|error| CallError::NotSent(subject.into(), error.to_string()))?;
    let sending = client.request(subject.to_owned(), body.into());
    let message = match timeout(deadline, sending).await {
        Ok(Ok(message)) => message,
        Ok(Err(error)) => {
            return Err(match error.kind() {
                RequestErrorKind::NoResponders => CallError::NoResponders(subject.into()),
                RequestErrorKind::TimedOut => {
                    CallError::TimedOut { subject: subject.into(), deadline }
                }
                _ => CallError::NotSent(subject.into(), error.to_string()),
            });
        }
        Err(_) => return Err(CallError::TimedOut { subject: subject.into(), deadline }),
    };
    answer_in(subject, &message)
}

/// Asks for something that changes nothing. `deadline` covers everything.
pub async fn read<Q: Serialize, R: DeserializeOwned>(
    client: &Client,
    subject: &str,
    encoding: Encoding,
    request: &Q,
    deadline: Duration,
) -> Result<R, CallError> {
    let asking = || call(client, subject, encoding, request, deadline);
    let silent = || Err(CallError::TimedOut { subject: subject.into(), deadline });
    asked_again(client, deadline, asking).await.unwrap_or_else(silent)
}

/// Asks again while nobody answers, over another server if this one says nothing at all. For what
/// may be asked twice; `None` if there is no answer in time.
pub async fn asked_again<T, F: Future<Output = T>>(
    client: &Client,
    deadline: Duration,
    ask: impl Fn() -> F,
) -> Option<T> {
    let asking = timeout(deadline, hedged(ASK_AGAIN, || ask().map(Some)));
    over_a_living_server(client, asking).await.ok()
}

/// Does something over this connection. Until it is done, a server that says nothing at all is left
/// for another one: by its pings alone the client would notice that only after 15 seconds.
pub async fn over_a_living_server<T>(client: &Client, work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = leave_silent_servers(client) => match never {},
    }
}

async fn leave_silent_servers(client: &Client) -> Infallible {
    loop {
        sleep(ASK_AGAIN).await;
        if client.connection_state() == State::Connected && !says_anything(client).await {
            // One that cannot be asked for is no connection any more.
            client.force_reconnect().await.ok();
        }
    }
}

// Nobody serves a new inbox. A server that lives says so at once, or that it may not be asked.
async fn says_anything(client: &Client) -> bool {
    let statistics = client.statistics();
    let heard = statistics.in_bytes.load(Ordering::Relaxed);
    let answered = timeout(ASK_AGAIN, client.request(client.new_inbox(), Bytes::new())).await;
    answered.is_ok() || statistics.in_bytes.load(Ordering::Relaxed) != heard
}

/// What an answer says; a refusal is an error.
pub fn answer_in<R: DeserializeOwned>(subject: &str, message: &Message) -> Result<R, CallError> {
    #[derive(Deserialize)]
    struct Refusal {
        error: Option<ErrorBody>,
    }
    let unreadable = |error: shared_msgs::codec::CodecError| {
        CallError::BadReply(subject.into(), error.to_string())
    };
    let refusal: Refusal = decode(&message.payload).map_err(unreadable)?;
    match refusal.error {
        Some(error) => Err(CallError::Refused(error)),
        None => decode(&message.payload).map_err(unreadable),
    }
}

/// How large the body of an answer may be on this connection.
pub fn answer_room(client: &Client) -> usize {
    client.max_payload().saturating_sub(HEADERS_ROOM)
}

/// A worker's last report, from the state bucket.
#[derive(Debug)]
pub struct LastReport {
    /// The snapshot.
    pub snapshot: WorkerSnapshot,
    /// Its age, by the server's clock alone.
    pub age: Duration,
    /// The bucket's revision of it.
    pub revision: u64,
}

/// Reads a worker's last report. `None` if there is none; an error if JetStream cannot be asked.
pub async fn last_report(
    client: &Client,
    prefix: &Prefix,
    worker: &WorkerName,
    deadline: Duration,
) -> Result<Option<LastReport>, String> {
    let read = async {
        let jetstream = async_nats::jetstream::new(client.clone());
        let bucket = jetstream
            .get_key_value(prefix.state_bucket())
            .await
            .map_err(|error| error.to_string())?;
        let entry = bucket.entry(worker.token()).await.map_err(|error| error.to_string())?;
        let Some(entry) =
            entry.filter(|entry| entry.operation == async_nats::jetstream::kv::Operation::Put)
        else {
            return Ok(None);
        };
        let snapshot = decode(&entry.value)
            .map_err(|error| format!("worker {worker}'s last report: {error}"))?;
        let now = server_time_ms(client, &prefix.state_stream()).await?;
        let stored = (entry.created.unix_timestamp_nanos() / 1_000_000) as i64;
        let age = Duration::from_millis(now.saturating_sub(stored).max(0) as u64);
        Ok(Some(LastReport { snapshot, age, revision: entry.revision }))
    };
    timeout(deadline, read).await.map_err(|_| "JetStream does not answer".to_owned())?
}

/// The server's clock, Unix milliseconds: the `ts` of a stream-info reply (NATS ADR-1), which the
/// client does not show.
pub async fn server_time_ms(client: &Client, stream: &str) -> Result<i64, String> {
    #[derive(Deserialize)]
    struct StreamInfo {
        ts: Option<String>,
    }
    let reply = client
        .request(format!("$JS.API.STREAM.INFO.{stream}"), "".into())
        .await
        .map_err(|error| error.to_string())?;
    let info: StreamInfo =
        serde_json::from_slice(&reply.payload).map_err(|error| error.to_string())?;
    let ts = info.ts.ok_or("the stream's info has no time")?;
    let time =
        humantime::parse_rfc3339_weak(&ts).map_err(|error| format!("time {ts:?}: {error}"))?;
    let since_epoch =
        time.duration_since(std::time::UNIX_EPOCH).map_err(|error| error.to_string())?;
    Ok(since_epoch.as_millis() as i64)
}
