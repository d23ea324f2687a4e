//! What happened, from the stream of events, which alone has each of them exactly once.
//!
//! ```text
//!  since ─ the server's clock ─▶ from ──▶ ordered consumer ──▶ index? sector? ──▶ an event each
//!                                             └── to the end as it was when asked, or following
//! ```

use std::time::Duration;

use async_nats::{
    Client,
    datetime::from_nanos,
    jetstream::{
        self, Message,
        consumer::{
            DeliverPolicy,
            push::{Ordered, OrderedConfig, OrderedErrorKind},
        },
        stream::Stream,
    },
};
use futures::StreamExt;
use serde::Serialize;
use shared_msgs::{
    codec::decode, duration::human, event::Event, name::WorkerName, subject::Prefix,
};
use tokio::time::{sleep, timeout};

use crate::{
    bus::Denial,
    call::asked_again,
    jetstream::{JetStreamError, PATIENCE, gone, is_missing, present},
    nats::{Connection, server_time_ms},
};

// Events come from the bus; the longest text in one of ours, an error, has 4 KiB.
const MAX_EVENT_BYTES: usize = 64 * 1024;
// For a stream that was deleted.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Which events are wanted: all by default.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Those of this worker.
    pub worker: Option<WorkerName>,
    /// Those of threads of this index.
    pub index: Option<u32>,
    /// Those of this sector, e.g. `s-t010000-2`.
    pub sector: Option<String>,
    /// Those that were stored since then.
    pub since: Option<Since>,
}

/// A time in the past, by the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    /// At this time, Unix milliseconds.
    At(i64),
    /// When the day began in UTC that was so many days ago: 0 is today.
    Midnight {
        /// How many days ago.
        days_ago: u32,
    },
}

impl Since {
    // Unix milliseconds.
    fn before(self, now_ms: i64) -> i64 {
        const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
        let ms = match self {
            Since::Ago(ago) => {
                now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
            }
            Since::At(ms) => ms,
            Since::Midnight { days_ago } => {
                now_ms - now_ms.rem_euclid(DAY_MS) - i64::from(days_ago) * DAY_MS
            }
        };
        ms.max(0)
    }
}

/// An event as the stream has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recorded {
    /// The worker's name, from the subject.
    pub worker: String,
    /// When it was stored, Unix milliseconds by the server's clock.
    pub stored_at: i64,
    /// Its number in the stream.
    pub seq: u64,
    /// Its kind as the subject has it: newer versions may have more of them.
    #[serde(skip)]
    pub kind: String,
    /// What the worker has written, as it could be read.
    #[serde(flatten)]
    pub event: Event,
}

/// What a reader of the history finds next.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// An event that is wanted.
    Event(Box<Recorded>),
    /// Something that is no event.
    Unreadable {
        /// Its number in the stream.
        seq: u64,
        /// The subject that it was stored on.
        subject: String,
        /// Why it cannot be read, a sentence.
        why: String,
    },
    /// The stream is another one now, for this reason: reading goes on with what that holds.
    StreamGone(&'static str),
}

/// Why the history cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Nothing is kept at all.
    #[error("NATS has no JetStream, so nothing keeps events")]
    NoJetStream,
    /// Nobody has made the stream of this name: a manager does.
    #[error("there is no stream {0}: no events are kept yet")]
    NoStream(String),
    /// No answer in this time.
    #[error("JetStream does not answer within {}", human(*.0))]
    Silent(Duration),
    /// The server does not let this login do it.
    #[error("no permission: {0}")]
    Denied(Denial),
    /// Something else, a sentence.
    #[error("{0}")]
    Failed(String),
}

/// The events of the stream, oldest first.
pub struct History {
    connection: Connection,
    prefix: Prefix,
    query: Query,
    // Unix milliseconds by the server's clock.
    from_ms: Option<i64>,
    stream: Stream,
    messages: Ordered,
    // The last event that was there when it was opened; whoever follows goes on behind it.
    end: Option<u64>,
    patience: Duration,
    sequence: u64,
    is_over: bool,
    is_gone: bool,
}

impl History {
    /// The events up to the last one that is there now. `patience` is for the answers of JetStream.
    pub async fn open(
        connection: &Connection,
        prefix: &Prefix,
        query: Query,
        patience: Duration,
    ) -> Result<History, HistoryError> {
        History::begin(connection, prefix, query, patience, false).await
    }

    /// Those that are there, and from then on each that is stored: it has no end.
    pub async fn follow(
        connection: &Connection,
        prefix: &Prefix,
        query: Query,
        patience: Duration,
    ) -> Result<History, HistoryError> {
        History::begin(connection, prefix, query, patience, true).await
    }

    async fn begin(
        connection: &Connection,
        prefix: &Prefix,
        query: Query,
        patience: Duration,
        follow: bool,
    ) -> Result<History, HistoryError> {
        let client = &connection.client;
        let opened = || async {
            let stream = open(client, prefix).await?;
            let from_ms = match query.since {
                None => None,
                Some(since) => Some(since_ms(client, prefix, since).await?),
            };
            let end = stream.cached_info().state.last_sequence;
            let (messages, pending) = query.consume(client, prefix, &stream, from_ms).await?;
            Ok((stream, from_ms, messages, if pending { end } else { 0 }))
        };
        let opening = asked_again(connection, patience, opened);
        let opened = connection.permitted(&prefix.events_stream(), opening).await;
        let opened = opened.map_err(HistoryError::Denied)?;
        let (stream, from_ms, messages, end) = opened.ok_or(HistoryError::Silent(patience))??;
        Ok(History {
            connection: connection.clone(),
            prefix: prefix.clone(),
            // Whoever follows waits as long as it takes; what is there already comes at once.
            patience: if follow { Duration::MAX } else { patience / 3 },
            is_over: !follow && end == 0,
            end: (!follow).then_some(end),
            query,
            from_ms,
            stream,
            messages,
            sequence: 0,
            is_gone: false,
        })
    }

    /// What comes next; `None` behind the last event. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Option<Read>, HistoryError> {
        let (connection, stream) = (self.connection.clone(), self.prefix.events_stream());
        let read = connection.permitted(&stream, self.read_on()).await;
        read.unwrap_or_else(|denial| Err(HistoryError::Denied(denial)))
    }

    async fn read_on(&mut self) -> Result<Option<Read>, HistoryError> {
        if self.is_gone {
            (self.stream, self.messages) = self.opened_anew().await;
            (self.sequence, self.is_gone) = (0, false);
        }
        let jetstream = jetstream::new(self.connection.client.clone());
        while !self.is_over {
            let message = tokio::select! {
                message = timeout(self.patience, next(&mut self.messages)) => {
                    message.map_err(|_| HistoryError::Silent(self.patience))??
                }
                why = gone(&jetstream, &self.stream), if self.end.is_none() => {
                    self.is_gone = true;
                    return Ok(Some(Read::StreamGone(why)));
                }
            };
            if let Some(read) = self.take(&message)? {
                return Ok(Some(read));
            }
        }
        Ok(None)
    }

    fn take(&mut self, message: &Message) -> Result<Option<Read>, HistoryError> {
        let info = message.info().map_err(|error| HistoryError::Failed(error.to_string()))?;
        let (seq, stored_at) =
            (info.stream_sequence, (info.published.unix_timestamp_nanos() / 1_000_000) as i64);
        self.is_over = self.end.is_some_and(|end| info.pending == 0 || seq >= end);
        // A consumer that was made anew before its first message begins with the first of the
        // stream.
        let is_next = seq > self.sequence && self.from_ms.is_none_or(|from| stored_at >= from);
        if !is_next || self.end.is_some_and(|end| seq > end) {
            return Ok(None);
        }
        self.sequence = seq;
        let subject = message.subject.to_string();
        Ok(match read(&self.prefix, &subject, &message.payload) {
            Ok((worker, event)) if self.query.wants(&event) => {
                let kind = subject.rsplit('.').next().unwrap_or_default().to_owned();
                let worker = worker.to_string();
                Some(Read::Event(Box::new(Recorded { worker, stored_at, seq, kind, event })))
            }
            Ok(_) => None,
            Err(why) => Some(Read::Unreadable { seq, subject, why }),
        })
    }

    // A stream that was made in place of the one that was read, as soon as there is one.
    async fn opened_anew(&self) -> (Stream, Ordered) {
        let History { connection: Connection { client, .. }, prefix, query, from_ms, .. } = self;
        loop {
            let opened = async {
                let stream = open(client, prefix).await?;
                let (messages, _) = query.consume(client, prefix, &stream, *from_ms).await?;
                Ok::<_, HistoryError>((stream, messages))
            };
            if let Ok(Ok(new)) = timeout(PATIENCE, opened).await {
                return new;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

async fn next(messages: &mut Ordered) -> Result<Message, HistoryError> {
    let failed = |error: &dyn std::fmt::Display| {
        HistoryError::Failed(format!("the stream of events cannot be read on: {error}"))
    };
    loop {
        match messages.next().await {
            Some(Ok(message)) => return Ok(message),
            // The consumer goes on by itself, from where it was.
            Some(Err(error)) if matches!(error.kind(), OrderedErrorKind::MissingHeartbeat) => {}
            Some(Err(error)) => return Err(failed(&error)),
            None => return Err(failed(&"the connection was closed")),
        }
    }
}

async fn open(client: &Client, prefix: &Prefix) -> Result<Stream, HistoryError> {
    let jetstream = jetstream::new(client.clone());
    present(&jetstream).await.map_err(|error| match error {
        JetStreamError::Absent => HistoryError::NoJetStream,
        JetStreamError::Failed(text) => HistoryError::Failed(text),
    })?;
    let name = prefix.events_stream();
    jetstream.get_stream(&name).await.map_err(|error| match error.kind() {
        kind if is_missing(&kind) => HistoryError::NoStream(name),
        _ => HistoryError::Failed(format!("stream {name} cannot be read: {error}")),
    })
}

async fn since_ms(client: &Client, prefix: &Prefix, since: Since) -> Result<i64, HistoryError> {
    let now = server_time_ms(client, &prefix.events_stream()).await;
    let now = now.map_err(|error| {
        HistoryError::Failed(format!("the server's time cannot be read: {error}"))
    })?;
    Ok(since.before(now))
}

// The subject says whose it is.
fn read(prefix: &Prefix, subject: &str, payload: &[u8]) -> Result<(WorkerName, Event), String> {
    let worker = prefix.worker_of_event(subject).ok_or("the subject names no worker")?;
    if payload.len() > MAX_EVENT_BYTES {
        return Err(format!("it has {} bytes", payload.len()));
    }
    Ok((worker, decode(payload).map_err(|error| error.to_string())?))
}

impl Query {
    // The messages, and whether there is one already.
    async fn consume(
        &self,
        client: &Client,
        prefix: &Prefix,
        stream: &Stream,
        from_ms: Option<i64>,
    ) -> Result<(Ordered, bool), HistoryError> {
        let failed = |error: &dyn std::fmt::Display| {
            HistoryError::Failed(format!("the stream of events cannot be read: {error}"))
        };
        let deliver_policy = match from_ms {
            None => DeliverPolicy::All,
            Some(from) => {
                let start_time =
                    from_nanos(i128::from(from) * 1_000_000).map_err(|error| failed(&error))?;
                DeliverPolicy::ByStartTime { start_time }
            }
        };
        let config = OrderedConfig {
            deliver_subject: client.new_inbox(),
            description: Some("an operator reads the history".into()),
            filter_subject: self
                .worker
                .as_ref()
                .map_or_else(|| prefix.events_of_all(), |worker| prefix.events_of(worker)),
            deliver_policy,
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| failed(&error))?;
        let pending = consumer.cached_info().num_pending > 0;
        Ok((consumer.messages().await.map_err(|error| failed(&error))?, pending))
    }

    fn wants(&self, event: &Event) -> bool {
        self.index.is_none_or(|index| event.index == Some(index))
            && self
                .sector
                .as_deref()
                .is_none_or(|sector| event.sector_id.as_deref() == Some(sector))
    }
}

#[cfg(test)]
mod tests {
    use shared_msgs::{event::EventKind, id::Id};

    use super::*;

    fn query(index: Option<u32>, sector: Option<&str>) -> Query {
        Query { index, sector: sector.map(Into::into), ..Query::default() }
    }

    #[test]
    fn a_time_in_the_past_is_counted_by_one_clock() {
        let now = 1_700_000_000_500;
        assert_eq!(Since::Ago(Duration::from_secs(1)).before(now), now - 1_000);
        assert_eq!(Since::Ago(Duration::MAX).before(now), 0);
        assert_eq!(Since::At(7).before(now), 7);
        assert_eq!(Since::At(-7).before(now), 0);
        // 2023-11-14T22:13:20Z
        assert_eq!(Since::Midnight { days_ago: 0 }.before(now), 1_699_920_000_000);
        assert_eq!(Since::Midnight { days_ago: 1 }.before(now), 1_699_833_600_000);
    }

    #[test]
    fn events_are_chosen_by_thread_and_by_sector() {
        let of_thread = Event {
            index: Some(1),
            sector_id: Some("s-t010000-2".into()),
            ..Event::new(EventKind::Transition, 0)
        };
        let of_worker = Event::new(EventKind::WorkerStarted, 0);
        assert!(query(None, None).wants(&of_worker));
        assert!(query(Some(1), Some("s-t010000-2")).wants(&of_thread));
        assert!(!query(Some(0), None).wants(&of_thread) && !query(Some(1), None).wants(&of_worker));
        assert!(!query(None, Some("s-t010000-3")).wants(&of_thread));
    }

    #[test]
    fn what_cannot_be_an_event_is_refused_with_its_reason() {
        let read = |subject: &str, payload: &[u8]| read(&Prefix::default(), subject, payload);
        let body = format!(r#"{{"id":{{"store":"{}","n":1}},"kind":"paused"}}"#, Id::NIL);
        assert_eq!(
            read("damocles.v1.event.127=2E0=2E0=2E1.paused", body.as_bytes()).unwrap().0.as_str(),
            "127.0.0.1"
        );
        assert!(read("damocles.v1.event.=41.paused", body.as_bytes()).is_err());
        assert!(read("damocles.v1.event.w1.paused", b"garbage").is_err());
        let long = format!("{body}{}", " ".repeat(MAX_EVENT_BYTES));
        assert!(
            read("damocles.v1.event.w1.paused", long.as_bytes()).unwrap_err().contains("bytes")
        );
    }
}
