//! The manager's edge to NATS.
//!
//! ```text
//!  state.*, state bucket ──▶ ingest ──┐
//!                                     ├──▶ SharedRegistry ──▶ api ──▶ answers to api.*
//!  lease bucket ───────────▶ leases ──┘
//! ```
//! [`bucket`] is where the workers' last snapshots are kept, [`bucket_watch`] whether they still
//! are; [`streams`] makes what is missing, the stream of events included; [`stillness`] says when
//! nothing is stored; [`orders`] gives commands on, and [`fleet`] tells of all in one answer; [`kv`] keeps what a sector
//! manager knows; [`connection`] does something at every connection;
//! [`responder`] is what every answering side has in common.
//!
//! What always holds:
//! - The registry is changed here and nowhere else, by what came over the bus alone.
//! - What was heard live and what was loaded are merged by the registry's own rule, so it does not
//!   matter which came first.
//! - What cannot be read is said and passed over: nobody can stop a manager with a message.
//!
//! Tests: the files' own, and the scenarios `managers::several`, `bus::*` and `lease::lost`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use shared_msgs::subject::Prefix;
use tokio::time::Instant;

use crate::registry::Registry;

pub(crate) mod api;
pub(crate) mod bucket;
pub(crate) mod bucket_watch;
pub(crate) mod connection;
mod fleet;
pub(crate) mod ingest;
pub(crate) mod kv;
pub(crate) mod leases;
pub(crate) mod orders;
pub(crate) mod responder;
pub(crate) mod stillness;
pub(crate) mod stored;
pub(crate) mod streams;
pub(crate) mod unreadable;

/// The registry as the tasks share it, with the clock of its times.
#[derive(Clone)]
pub(crate) struct SharedRegistry {
    registry: Arc<Mutex<Registry>>,
    started: Instant,
}

impl SharedRegistry {
    /// An empty one, its clock at zero.
    pub(crate) fn new(prefix: Prefix, store_patience: Duration) -> Self {
        SharedRegistry {
            registry: Arc::new(Mutex::new(Registry::new(prefix, store_patience))),
            started: Instant::now(),
        }
    }

    /// The manager's monotonic clock.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Works on the registry at this moment.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Registry, Duration) -> T) -> T {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked under the lock, so that the registry sees time pass in order.
        work(&mut registry, self.now())
    }
}
