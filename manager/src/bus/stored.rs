//! The stored side of [`super::ingest`]: the state bucket, loaded at every connection and followed
//! from then on.
//!
//! The bucket's stream is the truth: every publish goes through it, in order, removals included,
//! and a consumer notices a gap. A snapshot's age is what the server's own clock says: its time
//! now, minus the message's.
//!
//! Decision 019 in `docs/decisions`.

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use async_nats::{
    Client,
    jetstream::{self, stream::Stream},
};
use damocles_client::{
    connect::Link,
    entries::{Entries, Entry, in_time},
    jetstream::{JetStreamError, gone, present},
    nats::server_time_ms,
    state_bucket,
};
use tokio::sync::watch;
use tracing::info;

use super::{
    bucket,
    connection::{AtEachConnection, Trouble},
    ingest::{Ingest, Unusable},
    streams,
};

const ROUNDS: AtEachConnection = AtEachConnection {
    trouble: "the workers' last states cannot be read, trying again",
    without_jetstream: Some(
        "NATS has no JetStream: only workers that report while this manager runs are known, and a mock sector manager can allocate no sector",
    ),
    retry: Duration::from_secs(1),
};

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

// Whether the server's clock was read just before.
#[derive(PartialEq)]
enum Phase {
    Load,
    Follow,
}

impl Ingest {
    /// Follows the bucket for ever, from one connection to the next. `loaded` becomes true when the
    /// registry is complete: with what was stored, or at once where there is no JetStream.
    pub(crate) async fn stored(
        &self,
        client: &Client,
        link: watch::Receiver<Link>,
        loaded: watch::Sender<bool>,
    ) {
        let (seen, mut connection) = (link.clone(), Link::Down);
        let follow = async |trouble: &mut Trouble| {
            let now = *seen.borrow();
            if std::mem::replace(&mut connection, now) != now {
                self.registry.with(|registry, now| registry.storing_expected(Some(now)));
            }
            let ended = self.load_and_follow(client, &loaded, trouble).await;
            if ended == Err(JetStreamError::Absent) {
                self.registry.with(|registry, _| registry.storing_expected(None));
                loaded.send_replace(true);
            }
            ended
        };
        ROUNDS.run(link, follow).await;
    }

    async fn load_and_follow(
        &self,
        client: &Client,
        loaded: &watch::Sender<bool>,
        trouble: &mut Trouble,
    ) -> Result<(), JetStreamError> {
        let jetstream = jetstream::new(client.clone());
        present(&jetstream).await?;
        let stream = streams::ensure(&jetstream, bucket::config(&self.prefix)).await?;
        let (mut entries, clock) = self.load(client, &stream).await?;
        trouble.is_over();
        loaded.send_replace(true);
        tokio::select! {
            Err(error) = self.follow(&mut entries, &clock) => Err(error),
            why = gone(&jetstream, &stream) => {
                Err(JetStreamError::Failed(format!("stream {} {why}", self.prefix.state_stream())))
            }
        }
    }

    async fn follow(
        &self,
        entries: &mut Entries,
        clock: &ServerClock,
    ) -> Result<Infallible, JetStreamError> {
        loop {
            let entry = entries.next().await?;
            // A state that cannot be used was heard live too, and said there.
            let _ = self.take_entry(&entry, clock, Phase::Follow);
            if let Some(worker) =
                state_bucket::worker_of_key(&self.prefix, &entry.subject).filter(|_| entry.gone)
                && self.registry.with(|registry, _| registry.remove(&worker))
            {
                info!(%worker, "removed");
            }
        }
    }

    // Takes in the last value of each key, and drops the workers that have none.
    async fn load(
        &self,
        client: &Client,
        stream: &Stream,
    ) -> Result<(Entries, ServerClock), JetStreamError> {
        let began = self.registry.now();
        let read_ms =
            in_time("the server's time", server_time_ms(client, &self.prefix.state_stream()))
                .await?;
        let clock = ServerClock { read_ms, at: self.registry.now() };
        let mut entries = Entries::open(
            client,
            stream,
            state_bucket::all_keys(&self.prefix),
            "a manager's view of the workers",
        )
        .await?;
        let mut stored = BTreeSet::new();
        while let Some(entry) = entries.next_stored().await? {
            let worker = state_bucket::worker_of_key(&self.prefix, &entry.subject);
            if let Err(error) = self.take_entry(&entry, &clock, Phase::Load) {
                self.complain(worker.as_ref(), &entry.subject, error);
            }
            stored.extend(worker.filter(|_| !entry.gone));
        }
        let workers = self.registry.with(|registry, _| {
            registry.keep(&stored, began);
            registry.len()
        });
        info!(workers, stored = stored.len(), "loaded the workers' last states");
        Ok((entries, clock))
    }

    fn take_entry(&self, entry: &Entry, clock: &ServerClock, phase: Phase) -> Result<(), Unusable> {
        if entry.gone {
            return Ok(());
        }
        let worker = state_bucket::worker_of_key(&self.prefix, &entry.subject);
        let taken = self.take(worker.as_ref(), &entry.payload, |registry, name, snapshot, now| {
            let age = clock.age(entry.stored_ms, now);
            // Only a clock that was just read is trusted over our own.
            if phase == Phase::Load {
                registry.load(name, snapshot, now, age)
            } else {
                registry.hear(name, snapshot, now, age)
            }
        });
        if let Some(worker) = worker {
            self.registry.with(|registry, _| registry.stored(&worker));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_the_servers_and_go_on_by_our_clock() {
        let clock = ServerClock { read_ms: 10_000, at: Duration::from_millis(500) };
        let age =
            |stored_ms, now_ms| clock.age(stored_ms, Duration::from_millis(now_ms)).as_millis();
        assert_eq!(age(4_000, 500), 6_000);
        assert_eq!(age(4_000, 700), 6_200);
        assert_eq!(age(10_100, 500), 0, "stored after the clock was read");
        assert_eq!(age(10_100, 700), 100);
    }
}
