//! Publishing what has happened, exactly once: one event at a time, each only behind the last one
//! of this worker in the stream. After any doubt, and at the start, the stream itself says what it
//! has.
//!
//! ```text
//!  outboxes of all threads --> first one --> append after sequence s --> stored: s + 1, next one
//!      ^                                             |
//!      +--- those the stream has are taken out <-----+ no answer, or refused: read what came after s
//! ```
//! A store that cannot be read or written holds up its own events only: it is left out until it can
//! be read.
//!
//! Events are written into their thread's store in the transaction of the change that they tell, so
//! nothing that happened is missing; one is taken out when the stream has it.
//!
//! What always holds:
//! - At most one append is under way, and it names the sequence that it follows: of two writers of
//!   one name only one can succeed.
//! - An answer that was lost is looked up in the stream, never guessed: no event is there twice.
//! - The events of one thread are in the order in which they happened.
//! - Nothing is published by a process that does not hold its lease.
//!
//! Tests: `events_tests.rs` (a played stream that loses answers), the scenario `events::stream`,
//! and the simulation.
//!
//! Decisions 007, 008 in `docs/decisions`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use damocles_client::backoff::Backoff;
use futures::future::BoxFuture;
use shared_msgs::{
    event::{Event, EventId},
    id::Id,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tracing::{debug, warn};

use crate::{
    failpoint,
    lease::LeaseState,
    store::{
        database::{Outgoing, Store, StoreError},
        outbox::WaitingId,
    },
};

// With jitter less than a second: that soon after their stream has a leader again, events flow.
const LAST_DELAY: Duration = Duration::from_millis(750);
const TRY_AGAIN: Backoff = Backoff::new(Duration::from_millis(50), LAST_DELAY);

/// The part of the stream that holds this worker's events.
pub trait EventStream: Send + Sync {
    /// The sequence of the last one, from the stream's leader; 0 if there is none.
    fn last(&self) -> BoxFuture<'_, Result<u64, String>>;
    /// The first one after a sequence, with its own.
    fn after(&self, sequence: u64) -> BoxFuture<'_, Result<Option<(u64, EventId)>, String>>;
    /// Stores an event if the last one has this sequence. Returns its own. Any error leaves open
    /// whether it was stored.
    fn append<'a>(&'a self, last: u64, event: &'a Event) -> BoxFuture<'a, Result<u64, String>>;
}

/// Publishes one worker's events.
pub struct EventPublisher {
    /// The stores of its threads.
    pub stores: Vec<Store>,
    /// What the stores have in common: which event is next, and what was seen of the stream.
    pub outgoing: Arc<Outgoing>,
    /// Whether this process holds its lease.
    pub lease: watch::Receiver<LeaseState>,
    /// The process that publishes, as each event names it.
    pub instance_id: Id,
    /// How far it has come.
    pub progress: watch::Sender<Progress>,
}

/// How far a publisher has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// So many events were published.
    pub published: u64,
    /// What went wrong since.
    pub trouble: Option<String>,
}

enum Trouble {
    Stream(String),
    Unconfirmed,
    // A store that was left out works again, or one has forgotten what was taken out of it.
    Stores,
}

// A store whose outbox was compared with the stream.
struct Settled<'a> {
    store: &'a Store,
    // How often it had been opened by then.
    openings: u64,
}

impl From<String> for Trouble {
    fn from(error: String) -> Self {
        Trouble::Stream(error)
    }
}

impl EventPublisher {
    /// Publishes for ever, as long as this process holds its lease.
    pub async fn run(&self, stream: &dyn EventStream) {
        let mut lease = self.lease.clone();
        let mut backoff = TRY_AGAIN;
        loop {
            // Without a lease there is no stream either.
            if lease
                .wait_for(|lease| lease.may_act(Instant::now()) && lease.epoch().is_some())
                .await
                .is_err()
            {
                return;
            }
            failpoint::reach("task", "events");
            let began = Instant::now();
            let trouble = tokio::select! {
                biased;
                // An answer that was under way will not come any more.
                lost = lease.wait_for(|lease| !lease.is_confirmed()) => match lost {
                    Ok(_) => Trouble::Unconfirmed,
                    Err(_) => return,
                },
                trouble = self.publish_all(stream) => trouble,
            };
            match trouble {
                // Nothing stands in the way then.
                Trouble::Unconfirmed | Trouble::Stores => {
                    backoff.reset();
                    continue;
                }
                Trouble::Stream(error) => {
                    debug!(error, "events cannot be published yet");
                    self.progress.send_modify(|progress| progress.trouble = Some(error));
                }
            }
            if began.elapsed() > LAST_DELAY {
                backoff.reset();
            }
            sleep(backoff.pause()).await;
        }
    }

    /// Waits until nothing is left to publish.
    pub async fn all_published(&self) {
        let mut progress = self.progress.subscribe();
        loop {
            progress.borrow_and_update();
            if !self.has_some().await || progress.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether events wait to be published.
    pub async fn has_some(&self) -> bool {
        for store in &self.stores {
            // A store that cannot be read holds nobody up.
            if matches!(store.first_event().await, Ok(Some(_))) {
                return true;
            }
        }
        false
    }

    fn note_published(&self) {
        self.progress.send_modify(|progress| {
            *progress = Progress { published: progress.published + 1, trouble: None }
        });
    }

    // Until something is in doubt.
    async fn publish_all(&self, stream: &dyn EventStream) -> Trouble {
        let (mut last, mut settled) = match self.settle(stream).await {
            Ok(settled) => settled,
            Err(trouble) => return trouble,
        };
        let mut look_again = Instant::now() + LAST_DELAY;
        loop {
            let added = self.outgoing.added.notified();
            let mut none = true;
            let mut failed = None;
            for (index, settled) in settled.iter().enumerate() {
                match self.publish_first(stream, settled, &mut last).await {
                    Ok(Ok(published)) => none &= !published,
                    Ok(Err(error)) => failed = Some((index, error)),
                    Err(trouble) => return trouble,
                }
            }
            if let Some((index, error)) = failed {
                warn!(%error, "the events of this store are not published until it works");
                settled.remove(index);
                look_again = Instant::now() + LAST_DELAY;
                continue;
            }
            let one_is_left_out = settled.len() < self.stores.len();
            if one_is_left_out && look_again <= Instant::now() {
                look_again = Instant::now() + LAST_DELAY;
                if self.works_again(&settled).await {
                    return Trouble::Stores;
                }
            }
            match none {
                true if one_is_left_out => drop(timeout_at(look_again, added).await),
                true => added.await,
                false => {}
            }
        }
    }

    async fn works_again(&self, settled: &[Settled<'_>]) -> bool {
        for store in &self.stores {
            let left_out = !settled.iter().any(|settled| std::ptr::eq(settled.store, store));
            if left_out && store.first_event().await.is_ok() {
                return true;
            }
        }
        false
    }

    // Whether there was one; or why the store does not work.
    async fn publish_first(
        &self,
        stream: &dyn EventStream,
        &Settled { store, openings }: &Settled<'_>,
        last: &mut u64,
    ) -> Result<Result<bool, StoreError>, Trouble> {
        let first = match store.first_event().await {
            Ok(first) => first,
            Err(error) => return Ok(Err(error)),
        };
        let Some((key, waiting)) = first else { return Ok(Ok(false)) };
        if store.openings() != openings {
            return Err(Trouble::Stores);
        }
        let lease = *self.lease.borrow();
        if !lease.may_act(Instant::now()) {
            return Err(Trouble::Unconfirmed);
        }
        let event = Event { epoch: lease.epoch(), instance_id: self.instance_id, ..waiting.event };
        *last = stream.append(*last, &event).await?;
        if let Err(error) = store.published(key, *last).await {
            return Ok(Err(error));
        }
        self.note_published();
        Ok(Ok(true))
    }

    // Takes out of the outboxes what the stream has; returns its last sequence, and the stores that
    // could be read.
    async fn settle(&self, stream: &dyn EventStream) -> Result<(u64, Vec<Settled<'_>>), Trouble> {
        // Asked before the outboxes are read: whatever is stored up to here was in one of them
        // before, also if a copy of this worker's disks has stored it.
        let last = stream.last().await?;
        let mut settled = vec![];
        let mut waiting: HashMap<EventId, (&Store, u64)> = HashMap::new();
        let mut from = u64::MAX;
        for store in &self.stores {
            let openings = store.openings();
            match store.event_ids().await {
                Ok(ids) => {
                    settled.push(Settled { store, openings });
                    for WaitingId { key, after, id } in ids {
                        from = from.min(after);
                        waiting.insert(id, (store, key));
                    }
                }
                Err(error) => debug!(%error, "the events of this store are not published yet"),
            }
        }
        if waiting.is_empty() {
            return Ok((last, settled));
        }
        // A stream that was made anew counts from 1 again.
        let mut sequence = if from > last { 0 } else { from };
        while sequence < last {
            let Some((next, id)) = stream.after(sequence).await? else { break };
            sequence = next;
            let Some((store, key)) = waiting.get(&id) else { continue };
            if let Err(error) = store.published(*key, next).await {
                warn!(%error, "the events of this store are not published until it works");
                settled.retain(|settled| !std::ptr::eq(settled.store, *store));
                continue;
            }
            self.note_published();
        }
        Ok((last, settled))
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
