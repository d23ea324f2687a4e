//! Whom to expect: the workers of the state bucket that were not stopped, and whose name fits. One
//! that has not reported for long may be frozen, or its machine lost: what a command does there is
//! unknown, so it counts.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use shared_msgs::{
    codec::decode,
    id::Id,
    name::WorkerName,
    selector::Selection,
    snapshot::{WorkerStatus, is_expired},
};

use crate::bus::Stored;

/// A worker of the state bucket.
#[derive(Clone, Debug)]
pub struct Reported {
    /// The worker, by the key that its state is kept under.
    pub worker: WorkerName,
    /// The process that did.
    pub instance_id: Id,
    /// What it said of itself.
    pub status: WorkerStatus,
    /// How often it reports.
    pub ping_interval_ms: u64,
    /// How long ago it did, by the server's clock alone.
    pub age: Duration,
}

impl Reported {
    /// Reads what is stored of a worker. `None` for what no worker has written.
    pub(super) fn read(worker: WorkerName, stored: &Stored) -> Option<Reported> {
        // Only what is needed: threads are most of a snapshot.
        #[derive(Deserialize)]
        struct Head {
            instance_id: Id,
            #[serde(default)]
            status: WorkerStatus,
            #[serde(default)]
            ping_interval_ms: u64,
        }
        let Head { instance_id, status, ping_interval_ms } = decode(&stored.body).ok()?;
        Some(Reported { worker, instance_id, status, ping_interval_ms, age: stored.age })
    }
}

/// Workers whose name fits, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// They have not said that they were stopped, and so are to answer; with the process that has
    /// reported.
    pub expected: BTreeMap<WorkerName, Id>,
    /// Those of them whose last report is so old that they may not.
    pub expired: Vec<WorkerName>,
}

impl Fleet {
    /// Those of the stored ones that are meant. Whoever was stopped is not waited for.
    pub fn of(reported: Vec<Reported>, selection: &Selection) -> Fleet {
        let mut fleet = Fleet::default();
        for Reported { worker, instance_id, status, ping_interval_ms, age } in reported {
            if status != WorkerStatus::Stopped && selection.fits_worker(worker.as_str()) {
                if is_expired(age, ping_interval_ms) {
                    fleet.expired.push(worker.clone());
                }
                fleet.expected.insert(worker, instance_id);
            }
        }
        fleet.expired.sort();
        fleet
    }
}

#[cfg(test)]
mod tests {
    use shared_msgs::selector::Selector;

    use super::*;

    fn reported(worker: &str, status: WorkerStatus, age_ms: u64) -> Reported {
        Reported {
            worker: worker.parse().unwrap(),
            instance_id: Id::NIL,
            status,
            ping_interval_ms: 10_000,
            age: Duration::from_millis(age_ms),
        }
    }

    #[test]
    fn whoever_was_not_stopped_and_fits_is_expected() {
        let selection =
            Selector { worker: vec!["w*".into()], ..Selector::default() }.compile().unwrap();
        let fleet = Fleet::of(
            vec![
                reported("w2", WorkerStatus::Running, 30_000),
                reported("w1", WorkerStatus::Stopping, 0),
                reported("w3", WorkerStatus::Running, 30_001),
                reported("w4", WorkerStatus::Stopped, 0),
                reported("x", WorkerStatus::Running, 0),
            ],
            &selection,
        );
        let expected: Vec<_> = fleet.expected.keys().map(WorkerName::as_str).collect();
        let expired: Vec<_> = fleet.expired.iter().map(WorkerName::as_str).collect();
        assert_eq!((expected, expired), (vec!["w1", "w2", "w3"], vec!["w3"]));
    }
}
