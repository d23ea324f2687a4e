//! The stored side of [`super::ingest`]: the state bucket, loaded at every connection and followed from then on.
//!
//! The bucket's stream is the truth: every publish goes through it, in order, removals included, and a consumer
//! notices a gap. A snapshot's age is what the server's own clock says: its time now, minus the message's.

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use async_nats::{
    Client, Subject,
    jetstream::{
        self,
        consumer::{
            DeliverPolicy,
            push::{Ordered, OrderedConfig},
        },
        stream::Stream,
    },
};
use futures::StreamExt;
use shared_msgs::{client::server_time_ms, connect::Link, name::WorkerName};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{
    bucket::{self, BucketError},
    ingest::Ingest,
};

// JetStream is asked again so soon after it failed, and after it was not there.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_WITHOUT_JETSTREAM: Duration = Duration::from_secs(30);
const WITHOUT_JETSTREAM: &str =
    "NATS has no JetStream: only workers that report while this manager runs are known, and a mock sector manager can allocate no sector";
// For one answer of JetStream.
const PATIENCE: Duration = Duration::from_secs(5);

// A server's clock, read once, against ours.
struct ServerClock {
    read_ms: i64,
    at: Duration,
}

impl ServerClock {
    fn age(&self, stored_ms: i64, now: Duration) -> Duration {
        let since = i64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(i64::MAX);
        let age = self.read_ms.saturating_add(since).saturating_sub(stored_ms);
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }
}

// A load in progress, or the changes after it.
struct Entries {
    messages: Ordered,
    clock: ServerClock,
}

struct Entry {
    subject: Subject,
    worker: Option<WorkerName>,
    gone: bool,
    taken: Result<(), String>,
    caught_up: bool,
}

impl Ingest {
    /// Follows the bucket for ever, from one connection to the next. `loaded` becomes true when the registry is
    /// complete: with what was stored, or at once where there is no JetStream.
    pub async fn stored(&self, client: &Client, mut link: watch::Receiver<Link>, loaded: watch::Sender<bool>) {
        let mut said = String::new();
        while link.wait_for(|link| matches!(link, Link::Up(_))).await.is_ok() {
            let Err(error) = tokio::select! {
                ended = self.load_and_follow(client, &loaded, &mut said) => ended,
                _ = link.changed() => continue,
            };
            let (text, retry) = match error {
                BucketError::NoJetStream => {
                    loaded.send_replace(true);
                    (WITHOUT_JETSTREAM.to_owned(), RETRY_WITHOUT_JETSTREAM)
                }
                BucketError::Failed(text) => (format!("the workers' last states cannot be read, trying again: {text}"), RETRY),
            };
            if said != text {
                warn!("{text}");
                said = text;
            }
            tokio::select! {
                () = sleep(retry) => {}
                _ = link.changed() => {}
            }
        }
    }

    async fn load_and_follow(&self, client: &Client, loaded: &watch::Sender<bool>, said: &mut String) -> Result<Infallible, BucketError> {
        let stream = bucket::ensure(&jetstream::new(client.clone()), &self.prefix).await?;
        let mut entries = self.load(client, &stream).await.map_err(BucketError::Failed)?;
        said.clear();
        loaded.send_replace(true);
        loop {
            let entry = self.take_next(&mut entries, false).await.map_err(BucketError::Failed)?;
            // A state that cannot be used was heard live too, and said there.
            if let Some(worker) = entry.worker.filter(|_| entry.gone)
                && self.registry.with(|registry, _| registry.remove(&worker))
            {
                info!(%worker, "removed");
            }
        }
    }

    // Takes in the last value of each key, and drops the workers that have none.
    async fn load(&self, client: &Client, stream: &Stream) -> Result<Entries, String> {
        let began = self.registry.now();
        let read_ms = in_time("the server's time", server_time_ms(client, &self.prefix.state_stream())).await?;
        let clock = ServerClock { read_ms, at: self.registry.now() };
        let config = OrderedConfig {
            deliver_subject: client.new_inbox(),
            description: Some("a manager's view of the workers".into()),
            filter_subject: bucket::all_keys(&self.prefix),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..OrderedConfig::default()
        };
        let consumer = in_time("a consumer", stream.create_consumer(config)).await?;
        let mut caught_up = consumer.cached_info().num_pending == 0;
        let messages = in_time("the consumer's messages", consumer.messages()).await?;
        let mut entries = Entries { messages, clock };
        let mut stored = BTreeSet::new();
        while !caught_up {
            let entry = in_time("the next stored state", self.take_next(&mut entries, true)).await?;
            if let Err(error) = entry.taken {
                self.complain(entry.worker.as_ref(), &entry.subject, &error);
            }
            stored.extend(entry.worker.filter(|_| !entry.gone));
            caught_up = entry.caught_up;
        }
        let workers = self.registry.with(|registry, _| {
            registry.keep(&stored, began);
            registry.len()
        });
        info!(workers, stored = stored.len(), "loaded the workers' last states");
        Ok(entries)
    }

    async fn take_next(&self, entries: &mut Entries, loading: bool) -> Result<Entry, String> {
        let message = entries.messages.next().await.ok_or("the consumer has ended")?.map_err(|error| error.to_string())?;
        let info = message.info().map_err(|error| error.to_string())?;
        let worker = bucket::worker_of_key(&self.prefix, &message.subject);
        let gone = bucket::is_gone(message.headers.as_ref());
        let taken = if gone {
            Ok(())
        } else {
            let stored_ms = (info.published.unix_timestamp_nanos() / 1_000_000) as i64;
            let clock = &entries.clock;
            self.take(worker.as_ref(), &message.payload, |registry, name, snapshot, now| {
                let age = clock.age(stored_ms, now);
                // Only a clock that was just read is trusted over our own.
                if loading { registry.load(name, snapshot, now, age) } else { registry.hear(name, snapshot, now, age) }
            })
        };
        Ok(Entry { worker, gone, taken, caught_up: info.pending == 0, subject: message.subject.clone() })
    }
}

async fn in_time<T, E: std::fmt::Display>(what: &str, answer: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(PATIENCE, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: no answer within {}", shared_msgs::cli::human(PATIENCE))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_the_servers_and_go_on_by_our_clock() {
        let clock = ServerClock { read_ms: 10_000, at: Duration::from_millis(500) };
        let age = |stored_ms, now_ms| clock.age(stored_ms, Duration::from_millis(now_ms)).as_millis();
        assert_eq!(age(4_000, 500), 6_000);
        assert_eq!(age(4_000, 700), 6_200);
        assert_eq!(age(10_100, 500), 0, "stored after the clock was read");
        assert_eq!(age(10_100, 700), 100);
    }
}
