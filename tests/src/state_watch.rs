//! Waiting until a worker's state, as it publishes it, is what a test waits for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_nats::Subscriber;
use futures::StreamExt;
use shared_msgs::{
    codec::decode,
    sector_manager::SectorId,
    snapshot::{PausedBy, ThreadSnapshot, ThreadStatus, WorkerSnapshot},
};
use tokio::time::{Instant, timeout_at};

use crate::{DEADLINE, bus::Bus};

/// The snapshots of all workers, in the order they were published.
#[derive(Debug)]
pub struct StateWatch {
    bus: Bus,
    published: Subscriber,
    seen: Vec<(String, WorkerSnapshot)>,
    last: BTreeMap<String, WorkerSnapshot>,
    patience: Duration,
}

impl StateWatch {
    /// Sees every snapshot from now on.
    pub async fn start(bus: &Bus) -> StateWatch {
        let published = bus.client.subscribe(bus.prefix.state_of_all()).await.unwrap();
        bus.client.flush().await.unwrap();
        StateWatch {
            bus: bus.clone(),
            published,
            seen: Vec::new(),
            last: BTreeMap::new(),
            patience: DEADLINE,
        }
    }

    /// Waits for so long from now on.
    pub fn wait_up_to(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Waits until a worker publishes a state of which `holds` is true, and returns it. The last
    /// one that was looked at counts too: tell an old state from a new one by its revision or its
    /// sector.
    pub async fn until(
        &mut self,
        worker: &str,
        what: &str,
        mut holds: impl FnMut(&WorkerSnapshot) -> bool,
    ) -> WorkerSnapshot {
        if let Some(last) = self.last.get(worker)
            && holds(last)
        {
            return last.clone();
        }
        let deadline = Instant::now() + self.patience;
        loop {
            let Ok(Some(message)) = timeout_at(deadline, self.published.next()).await else {
                panic!(
                    "worker {worker}: {what}: not within {:?}. Last published:\n{:#?}",
                    self.patience,
                    self.last.get(worker)
                );
            };
            let Some(name) = self.bus.prefix.worker_of_state(&message.subject) else {
                panic!("{} belongs to no worker", message.subject)
            };
            let snapshot: WorkerSnapshot = decode(&message.payload).unwrap();
            self.seen.push((name.to_string(), snapshot.clone()));
            self.last.insert(name.to_string(), snapshot.clone());
            if name.as_str() == worker && holds(&snapshot) {
                return snapshot;
            }
        }
    }

    /// Like [`StateWatch::until`], for one thread.
    pub async fn until_thread(
        &mut self,
        worker: &str,
        index: usize,
        what: &str,
        mut holds: impl FnMut(&ThreadSnapshot) -> bool,
    ) -> ThreadSnapshot {
        let what = format!("thread {index}: {what}");
        let snapshot = self
            .until(worker, &what, |snapshot| snapshot.threads.get(index).is_some_and(&mut holds))
            .await;
        snapshot.threads[index].clone()
    }

    /// Waits until every thread of a worker is paused by an error in `C1Done`: as far as it gets
    /// without parameters.
    pub async fn until_stuck(&mut self, worker: &str) -> WorkerSnapshot {
        self.until(worker, "every thread paused in C1Done", |snapshot| {
            !snapshot.threads.is_empty() && snapshot.threads.iter().all(is_stuck)
        })
        .await
    }

    /// Every snapshot that a wait has looked at, with the name of its worker.
    pub fn seen(&self) -> &[(String, WorkerSnapshot)] {
        &self.seen
    }
}

/// The numbers of the sectors that a worker's threads have in hand.
pub fn in_hand(snapshot: &WorkerSnapshot) -> BTreeSet<u64> {
    let sectors = snapshot.threads.iter().filter_map(|thread| thread.sector_id.as_deref());
    sectors.map(|sector| sector.parse::<SectorId>().unwrap().number).collect()
}

/// Whether a thread is paused.
pub fn is_paused(thread: &ThreadSnapshot, by: PausedBy) -> bool {
    matches!(thread.status, ThreadStatus::Paused { by: paused_by, .. } if paused_by == by)
}

/// Whether a thread failed at C2 for want of parameters, and paused.
pub fn is_stuck(thread: &ThreadSnapshot) -> bool {
    is_paused(thread, PausedBy::Error) && thread.state == "C1Done"
}

/// Whether a thread's C2 runs in an external processor.
pub fn is_in_c2(thread: &ThreadSnapshot) -> bool {
    matches!(&thread.status, ThreadStatus::Running { processor: Some(_), .. })
        && thread.stage.as_deref() == Some("C2")
}

/// Whether a thread waits for that.
pub fn waits_for(reason: &str) -> impl Fn(&ThreadSnapshot) -> bool {
    move |thread| matches!(&thread.status, ThreadStatus::Waiting { reason: shown, .. } if shown == reason)
}
