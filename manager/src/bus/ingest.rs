//! How the registry gets its snapshots.
//!
//! ```text
//!  state.*       ──────────────────────────────▶ registry     live, within a millisecond
//!  state bucket  ── load: last value of each ──▶ registry     at every connection; what is not there is dropped
//!                └─ then: every change ────────▶ registry     removed keys, and what the live subscription dropped
//! ```
//! The subscription stands before the load begins, so nothing falls between them; what comes twice
//! is not newer. Here are the live side and what both share; the other side is [`super::stored`].

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_nats::Subscriber;
use futures::StreamExt;
use shared_msgs::{
    codec::{CodecError, decode},
    name::WorkerName,
    snapshot::WorkerSnapshot,
    subject::Prefix,
};
use tracing::{debug, warn};

use super::{SharedRegistry, unreadable::Unreadable};
use crate::registry::{Heard, MAX_WORKERS, Registry};

/// Reads payloads into the registry. They may come from anybody: a bad one costs a line in the log,
/// now and then.
pub(crate) struct Ingest {
    pub(super) prefix: Prefix,
    pub(super) registry: SharedRegistry,
    unreadable: Mutex<Unreadable>,
}

/// Why a state is ignored.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the subject names no worker")]
    Nobodys,
    #[error(transparent)]
    Unreadable(#[from] CodecError),
    #[error("there are {} workers already", MAX_WORKERS)]
    TooMany,
}

impl Ingest {
    pub(crate) fn new(prefix: Prefix, registry: SharedRegistry) -> Self {
        Ingest { prefix, registry, unreadable: Mutex::default() }
    }

    /// Takes in what the workers publish, until the connection is closed for good.
    pub(crate) async fn live(&self, mut states: Subscriber) {
        while let Some(message) = states.next().await {
            let worker = self.prefix.worker_of_state(&message.subject);
            let hear = |registry: &mut Registry, name: &_, snapshot: &_, now| {
                let heard = registry.hear(name, snapshot, now, Duration::ZERO);
                if heard == Heard::Newest {
                    registry.published(name, now);
                }
                heard
            };
            if let Err(error) = self.take(worker.as_ref(), &message.payload, hear) {
                self.complain(worker.as_ref(), &message.subject, error);
            }
        }
    }

    /// Takes one snapshot in. Whose it is says the subject.
    pub(super) fn take<H>(
        &self,
        worker: Option<&WorkerName>,
        payload: &[u8],
        hear: H,
    ) -> Result<(), Unusable>
    where
        H: FnOnce(&mut Registry, &WorkerName, &WorkerSnapshot, Duration) -> Heard,
    {
        let worker = worker.ok_or(Unusable::Nobodys)?;
        let snapshot: WorkerSnapshot = decode(payload)?;
        match self.registry.with(|registry, now| hear(registry, worker, &snapshot, now)) {
            Heard::Newest => debug!(%worker, seq = snapshot.seq, "state"),
            Heard::Stale => {}
            Heard::SecondWorker => {
                warn!(%worker, host = snapshot.host, pid = snapshot.pid, "a second worker reports under this name: stop one, or rename it")
            }
            Heard::Full => return Err(Unusable::TooMany),
        }
        Ok(())
    }

    /// Says that a state was ignored, now and then.
    pub(super) fn complain(&self, worker: Option<&WorkerName>, subject: &str, error: Unusable) {
        let now = self.registry.now();
        let sender = worker.map_or(subject, WorkerName::as_str);
        let noted =
            self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).note(sender, now);
        if let Some(count) = noted {
            warn!(sender, count, %error, "ignored a state that cannot be used");
        }
    }
}
