//! `util worker history`: the stream of events, which alone has each of them exactly once.
//!
//! ```text
//!  --since D ─ the server's clock ─▶ from ──▶ ordered consumer ──▶ index? sector? ──▶ a line each
//!                                                  └── to the end as it was when asked, or --follow
//! ```

use std::time::Duration;

use async_nats::{
    Client,
    datetime::from_nanos,
    jetstream::{
        self, ErrorCode, Message,
        consumer::{
            DeliverPolicy,
            push::{Ordered, OrderedConfig, OrderedErrorKind},
        },
        context::GetStreamErrorKind,
        stream::Stream,
    },
};
use clap::Args;
use damocles_client::{
    call::asked_again,
    connect::NatsSettings,
    entries::PATIENCE,
    jetstream::{JetStreamError, present},
    nats::server_time_ms,
};
use damocles_terminal::{CliError, Exit, Stop, note};
use futures::StreamExt;
use shared_msgs::{codec::decode, event::Event, name::WorkerName, subject::Prefix};
use tokio::time::{sleep, timeout};

use super::session::Session;
use crate::bus::streams;

mod lines;
mod words;

use lines::{HistoryOutput, Lines, Recorded};

// Events come from the bus; the longest text in one of ours, an error, has 4 KiB.
const MAX_EVENT_BYTES: usize = 64 * 1024;
// For a stream that was deleted.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Which events to show, and how.
#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// The worker's name or Dest, as `list` shows them [default: all workers]
    #[arg(value_name = "WORKER")]
    pub worker: Option<String>,
    /// Only what happened to this sealing thread
    #[arg(value_name = "INDEX")]
    pub index: Option<u32>,
    /// Only what was stored in this time, e.g. 1h or 7d
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub since: Option<Duration>,
    /// Only what happened to this sector, e.g. s-t010000-2
    #[arg(long, value_name = "ID")]
    pub sector: Option<String>,
    /// Go on with what happens from now on, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: HistoryOutput,
}

// What is asked for.
struct Query {
    prefix: Prefix,
    worker: Option<WorkerName>,
    index: Option<u32>,
    sector: Option<String>,
    // Unix milliseconds by the server's clock.
    from_ms: Option<i64>,
}

// How far the stream was read, and what became of it.
#[derive(Default)]
struct Progress {
    sequence: u64,
    shown: u64,
    unreadable: u64,
}

pub(super) async fn run(settings: NatsSettings, args: &HistoryArgs) -> Result<(), CliError> {
    if args.follow && args.output == HistoryOutput::Json {
        return Err(CliError::new(Exit::Usage, "one JSON array has an end, and --follow has none")
            .hint("use -o jsonl"));
    }
    let mut stop = Stop::listen()?;
    let mut progress = Progress::default();
    let ended = tokio::select! {
        ended = show(settings, args, &mut progress) => ended,
        _ = stop.asked() => Ok(()),
    };
    if progress.unreadable > 0 {
        note(&format!("{} events could not be read", progress.unreadable));
    }
    ended
}

async fn show(
    settings: NatsSettings,
    args: &HistoryArgs,
    progress: &mut Progress,
) -> Result<(), CliError> {
    let session = match args.follow {
        true => Session::connect_to_stay(settings).await?.0,
        false => Session::connect(settings).await?,
    };
    let Session { client, settings } = &session;
    let prefix = settings.prefix.clone();
    let worker = args.worker.as_deref().map(|worker| prefix.worker_named(worker)).transpose();
    let worker = worker.map_err(|error| CliError::new(Exit::Usage, error))?;
    let opened = || async {
        let stream = open(client, &prefix).await?;
        let from_ms = match args.since {
            None => None,
            Some(since) => Some(since_ms(client, &prefix, since).await?),
        };
        let query = Query {
            prefix: prefix.clone(),
            worker: worker.clone(),
            index: args.index,
            sector: args.sector.clone(),
            from_ms,
        };
        let end = stream.cached_info().state.last_sequence;
        let (messages, pending) = query.consume(client, &stream).await?;
        Ok::<_, CliError>((query, stream, messages, if pending { end } else { 0 }))
    };
    let opened = asked_again(client, settings.timeout, opened).await;
    let (query, mut stream, mut messages, end) =
        opened.ok_or_else(|| silent(settings.timeout))??;
    // Whoever follows waits as long as it takes; what is there already comes at once.
    let (end, patience) =
        if args.follow { (u64::MAX, Duration::MAX) } else { (end, settings.timeout / 3) };
    let mut lines = Lines::new(args.output);
    lines.begin()?;
    let mut goes_on = end > 0;
    let jetstream = jetstream::new(client.clone());
    while goes_on {
        let message = tokio::select! {
            message = in_time(patience, next(&mut messages)) => message??,
            why = streams::gone(&jetstream, &stream), if args.follow => {
                note(&format!("the stream of events {why}; this goes on with what the new one holds"));
                (stream, messages) = query.follow_new(client).await;
                progress.sequence = 0;
                continue;
            }
        };
        let info = message.info().map_err(|error| CliError::new(Exit::Failed, error))?;
        let stored_at = (info.published.unix_timestamp_nanos() / 1_000_000) as i64;
        // A consumer that was made anew before its first message begins with the first of the
        // stream.
        let is_next = info.stream_sequence > progress.sequence
            && query.from_ms.is_none_or(|from| stored_at >= from);
        if is_next && info.stream_sequence <= end {
            progress.sequence = info.stream_sequence;
            if let Some((worker, event)) = progress.read(&query, &message) {
                let recorded = Recorded {
                    worker: worker.to_string(),
                    stored_at,
                    seq: info.stream_sequence,
                    event,
                };
                let kind = message.subject.rsplit('.').next().unwrap_or_default();
                if !lines.print(&recorded, kind)? {
                    return Ok(());
                }
            }
        }
        goes_on = args.follow || (info.pending > 0 && info.stream_sequence < end);
    }
    lines.end()?;
    if progress.shown == 0 {
        note("no such event is kept");
    }
    Ok(())
}

async fn next(messages: &mut Ordered) -> Result<Message, CliError> {
    let failed = |error: &dyn std::fmt::Display| {
        CliError::new(Exit::Failed, format!("the stream of events cannot be read on: {error}"))
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

async fn in_time<T>(patience: Duration, answer: impl Future<Output = T>) -> Result<T, CliError> {
    timeout(patience, answer).await.map_err(|_| silent(patience))
}

fn silent(patience: Duration) -> CliError {
    CliError::new(
        Exit::NoAnswer,
        format!("JetStream does not answer within {}", shared_msgs::duration::human(patience)),
    )
}

async fn open(client: &Client, prefix: &Prefix) -> Result<Stream, CliError> {
    let jetstream = jetstream::new(client.clone());
    present(&jetstream).await.map_err(|error| match error {
        JetStreamError::Absent => {
            CliError::new(Exit::Failed, "NATS has no JetStream, so nothing keeps events")
                .hint("start nats-server with JetStream (-js), or name another one with --server")
        }
        JetStreamError::Failed(text) => CliError::new(Exit::Failed, text),
    })?;
    let name = prefix.events_stream();
    jetstream.get_stream(&name).await.map_err(|error| match error.kind() {
        GetStreamErrorKind::JetStream(missing) if missing.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            CliError::new(Exit::Failed, format!("there is no stream {name}: no events are kept yet"))
                .hint("a manager makes it: start one with `damocles-manager daemon`, or see its log for why it could not")
        }
        _ => CliError::new(Exit::Failed, format!("stream {name} cannot be read: {error}")),
    })
}

async fn since_ms(client: &Client, prefix: &Prefix, since: Duration) -> Result<i64, CliError> {
    let now = server_time_ms(client, &prefix.events_stream()).await;
    let now = now.map_err(|error| {
        CliError::new(Exit::Failed, format!("the server's time cannot be read: {error}"))
    })?;
    Ok(now.saturating_sub(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)).max(0))
}

impl Progress {
    // The event, if it can be read and is wanted.
    fn read(&mut self, query: &Query, message: &Message) -> Option<(WorkerName, Event)> {
        match query.read(&message.subject, &message.payload) {
            Ok((worker, event)) => {
                let wanted = query.wants(&event);
                self.shown += u64::from(wanted);
                wanted.then_some((worker, event))
            }
            Err(error) => {
                if self.unreadable == 0 {
                    note(&format!(
                        "event {} on {} cannot be read: {error}",
                        self.sequence, message.subject
                    ));
                }
                self.unreadable += 1;
                None
            }
        }
    }
}

impl Query {
    // The messages of a stream that was made in place of the one that was read, as soon as there is
    // one.
    async fn follow_new(&self, client: &Client) -> (Stream, Ordered) {
        loop {
            let opened = async {
                let stream = open(client, &self.prefix).await?;
                let (messages, _) = self.consume(client, &stream).await?;
                Ok::<_, CliError>((stream, messages))
            };
            if let Ok(Ok(new)) = timeout(PATIENCE, opened).await {
                return new;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    // The messages, and whether there is one already.
    async fn consume(&self, client: &Client, stream: &Stream) -> Result<(Ordered, bool), CliError> {
        let failed = |error: &dyn std::fmt::Display| {
            CliError::new(Exit::Failed, format!("the stream of events cannot be read: {error}"))
        };
        let deliver_policy = match self.from_ms {
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
            filter_subject: self.worker.as_ref().map_or_else(
                || self.prefix.events_of_all(),
                |worker| self.prefix.events_of(worker),
            ),
            deliver_policy,
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| failed(&error))?;
        let pending = consumer.cached_info().num_pending > 0;
        Ok((consumer.messages().await.map_err(|error| failed(&error))?, pending))
    }

    // Whose it is says the subject.
    fn read(&self, subject: &str, payload: &[u8]) -> Result<(WorkerName, Event), String> {
        let worker = self.prefix.worker_of_event(subject).ok_or("the subject names no worker")?;
        if payload.len() > MAX_EVENT_BYTES {
            return Err(format!("it has {} bytes", payload.len()));
        }
        Ok((worker, decode(payload).map_err(|error| error.to_string())?))
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
        Query {
            prefix: Prefix::default(),
            worker: None,
            index,
            sector: sector.map(Into::into),
            from_ms: None,
        }
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
        let read = |subject: &str, payload: &[u8]| query(None, None).read(subject, payload);
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
