//! Managers: the real read model, fed with what arrives, and a check that what it shows never goes
//! back.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use damocles_client::connect::DEFAULT_STORE_PATIENCE;
use damocles_manager::registry::{Heard, Registry};
use shared_msgs::{id::Id, snapshot::WorkerSnapshot, subject::Prefix};

use super::{clock, world::World};

/// A manager's read model, fed with what arrives, and checked as it changes.
pub struct Manager {
    number: usize,
    seen: Mutex<Seen>,
}

struct Seen {
    registry: Registry,
    // The epoch shown last, by name.
    epochs: Vec<Option<u64>>,
    // The newest snapshot that was ever shown of a process.
    newest: HashMap<Id, u64>,
}

impl Manager {
    /// One that knows nobody.
    pub fn new(number: usize, names: usize) -> Self {
        let seen = Seen {
            registry: Registry::new(Prefix::default(), DEFAULT_STORE_PATIENCE),
            epochs: vec![None; names],
            newest: HashMap::new(),
        };
        Manager { number, seen: Mutex::new(seen) }
    }

    /// Takes a snapshot in.
    pub fn hear(&self, world: &World, name: usize, snapshot: &WorkerSnapshot) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = seen.registry.hear(
            &world.names[name],
            snapshot,
            clock::since_begin(),
            std::time::Duration::ZERO,
        );
        if heard != Heard::Newest {
            return world.count("a manager heard something old");
        }
        let newest = seen.newest.insert(snapshot.instance_id, snapshot.seq);
        if let Some(newest) = newest.filter(|newest| *newest >= snapshot.seq) {
            world.violated(format!(
                "manager {} went back from snapshot {newest} of a process to {}",
                self.number, snapshot.seq
            ));
        }
        let before = std::mem::replace(&mut seen.epochs[name], snapshot.epoch);
        if before > snapshot.epoch {
            world.violated(format!(
                "manager {} went back from epoch {before:?} to {:?}",
                self.number, snapshot.epoch
            ));
        }
    }

    /// Which process of a name it shows.
    pub fn shows(&self, world: &World, name: usize) -> Option<Id> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut views = seen.registry.list(None, clock::since_begin());
        views
            .find(|view| view.name == world.names[name].as_str())
            .map(|view| view.report.instance_id)
    }
}
