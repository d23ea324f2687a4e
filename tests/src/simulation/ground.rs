//! What all worlds share and none changes.

use std::{sync::Arc, time::Duration};

use damocles_worker::{
    config::{Sealing, ThreadConfig, hot::HotConfig},
    store::location::Location,
};
use shared_msgs::plan::Plan;

use super::disk::Disk;
use crate::scratch::Scratch;

/// A process has at most so many threads.
pub const MAX_THREADS: usize = 2;

/// What all worlds share.
pub struct Ground {
    /// A disk with an empty store.
    pub disk: Disk,
    /// Where the threads of all processes are, by index: nothing is ever written there.
    pub locations: [Location; MAX_THREADS],
    _scratch: Scratch,
}

impl Ground {
    /// Formats the disk that the worlds' disks are copies of.
    pub fn new() -> Arc<Ground> {
        let scratch = Scratch::new();
        Arc::new(Ground {
            disk: Disk::formatted(),
            locations: std::array::from_fn(|index| {
                Location::at(&scratch.path().join(index.to_string())).unwrap()
            }),
            _scratch: scratch,
        })
    }

    /// The configuration of a thread, with waits that are short.
    pub fn thread(&self, index: usize, plan: Plan) -> ThreadConfig {
        let sealing = Sealing {
            max_retries: 1,
            seal_interval: Duration::from_secs(1),
            recover_interval: Duration::from_millis(700),
            ..Sealing::default()
        };
        ThreadConfig {
            location: self.locations[index].path().to_owned(),
            in_state_directory: false,
            hot: HotConfig::fixed(plan),
            sealing,
        }
    }
}
