//! Publishing what has happened, exactly once: one event at a time, each only behind the last one of this worker in the
//! stream. After any doubt, and at the start, the stream itself says what it has.
//!
//! ```text
//!  outboxes of all threads --> first one --> append after sequence s --> stored: s + 1, next one
//!      ^                                             |
//!      +--- those the stream has are taken out <-----+ no answer, or refused: read what came after s
//! ```

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use shared_msgs::{
    event::{Event, EventId},
    id::Id,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{debug, warn};

use crate::{
    failpoint,
    store::{
        database::{Outgoing, Store, StoreError},
        outbox::WaitingId,
    },
    tenure::Tenure,
};

const FIRST_DELAY: Duration = Duration::from_millis(50);
// With its jitter less than a second: that soon after their stream has a leader again, events flow.
const LAST_DELAY: Duration = Duration::from_millis(750);

/// The part of the stream that holds this worker's events.
pub trait EventStream: Send + Sync {
    /// The sequence of the last one, from the stream's leader; 0 if there is none.
    fn last(&self) -> BoxFuture<'_, Result<u64, String>>;
    /// The first one after a sequence, with its own.
    fn after(&self, sequence: u64) -> BoxFuture<'_, Result<Option<(u64, EventId)>, String>>;
    /// Stores an event if the last one has this sequence. Returns its own. Any error leaves open whether it was stored.
    fn append<'a>(&'a self, last: u64, event: &'a Event) -> BoxFuture<'a, Result<u64, String>>;
}

/// Publishes one worker's events.
pub struct EventPublisher {
    /// The stores of its threads.
    pub stores: Vec<Store>,
    /// What they share.
    pub outgoing: Arc<Outgoing>,
    /// Whether this process speaks for the name.
    pub tenure: watch::Receiver<Tenure>,
    /// This process.
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
    Store(StoreError),
    Stream(String),
    Unconfirmed,
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Trouble::Store(error)
    }
}

impl From<String> for Trouble {
    fn from(error: String) -> Self {
        Trouble::Stream(error)
    }
}

impl EventPublisher {
    /// Publishes for ever.
    pub async fn run(&self, stream: &dyn EventStream) {
        let mut tenure = self.tenure.clone();
        let mut delay = FIRST_DELAY;
        loop {
            // Without a lease there is no stream either.
            if tenure.wait_for(|tenure| tenure.may_act(Instant::now()) && tenure.epoch().is_some()).await.is_err() {
                return;
            }
            failpoint::reach("task", "events");
            let began = Instant::now();
            let trouble = tokio::select! {
                biased;
                // An answer that was under way will not come any more.
                lost = tenure.wait_for(|tenure| !tenure.speaks()) => match lost {
                    Ok(_) => Trouble::Unconfirmed,
                    Err(_) => return,
                },
                trouble = self.publish_all(stream) => trouble,
            };
            match trouble {
                // Once it is confirmed nothing stands in the way.
                Trouble::Unconfirmed => {
                    delay = FIRST_DELAY;
                    continue;
                }
                Trouble::Stream(error) => {
                    debug!(error, "events cannot be published yet");
                    self.progress.send_modify(|progress| progress.trouble = Some(error));
                }
                Trouble::Store(error) => {
                    warn!(%error, "events cannot be published");
                    self.progress.send_modify(|progress| progress.trouble = Some(error.to_string()));
                }
            }
            if began.elapsed() > LAST_DELAY {
                delay = FIRST_DELAY;
            }
            sleep(delay.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
            delay = (delay * 2).min(LAST_DELAY);
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
        self.progress.send_modify(|progress| *progress = Progress { published: progress.published + 1, trouble: None });
    }

    // Until something is in doubt.
    async fn publish_all(&self, stream: &dyn EventStream) -> Trouble {
        let mut last = match self.settle(stream).await {
            Ok(last) => last,
            Err(trouble) => return trouble,
        };
        loop {
            let added = self.outgoing.added.notified();
            let mut none = true;
            for store in &self.stores {
                match self.publish_first(stream, store, &mut last).await {
                    Ok(published) => none &= !published,
                    Err(trouble) => return trouble,
                }
            }
            if none {
                added.await;
            }
        }
    }

    async fn publish_first(&self, stream: &dyn EventStream, store: &Store, last: &mut u64) -> Result<bool, Trouble> {
        let Some((key, waiting)) = store.first_event().await? else { return Ok(false) };
        let tenure = *self.tenure.borrow();
        if !tenure.may_act(Instant::now()) {
            return Err(Trouble::Unconfirmed);
        }
        let event = Event { epoch: tenure.epoch(), instance_id: self.instance_id, ..waiting.event };
        *last = stream.append(*last, &event).await?;
        store.published(key, *last).await?;
        self.note_published();
        Ok(true)
    }

    // Takes out of the outboxes what the stream has; returns its last sequence.
    async fn settle(&self, stream: &dyn EventStream) -> Result<u64, Trouble> {
        // Asked before the outboxes are read: whatever is stored up to here was in one of them before, also if a copy of this
        // worker's disks has stored it.
        let last = stream.last().await?;
        let mut waiting: HashMap<EventId, (usize, u64)> = HashMap::new();
        let mut from = u64::MAX;
        for (index, store) in self.stores.iter().enumerate() {
            for WaitingId { key, after, id } in store.event_ids().await? {
                from = from.min(after);
                waiting.insert(id, (index, key));
            }
        }
        if waiting.is_empty() {
            return Ok(last);
        }
        // A stream that was made anew counts from 1 again.
        let mut sequence = if from > last { 0 } else { from };
        while sequence < last {
            let Some((next, id)) = stream.after(sequence).await? else { break };
            sequence = next;
            if let Some((index, key)) = waiting.get(&id) {
                self.stores[*index].published(*key, next).await?;
                self.note_published();
            }
        }
        Ok(last)
    }
}

#[cfg(test)]
#[path = "publishing_tests.rs"]
mod tests;
