//! What all worlds share and none changes.

use std::sync::Arc;

use damocles_worker::{
    config::{Sealing, ThreadConfig, hot::HotConfig},
    sector_manager::{SectorManager, Unavailable},
    store::location::Location,
};
use futures::future::BoxFuture;
use shared_msgs::plan::Plan;
use std::time::Duration;

use super::disk::Disk;
use crate::scratch::Scratch;

/// What all worlds share.
pub struct Ground {
    /// A disk with an empty store.
    pub disk: Disk,
    /// Where all threads are, for nothing is ever written there.
    pub location: Location,
    /// Never answers.
    pub sector_manager: Arc<dyn SectorManager>,
    _scratch: Scratch,
}

struct Nobody;

impl SectorManager for Nobody {
    fn ask<'a>(
        &'a self,
        _method: &'static str,
        _body: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, Unavailable>> {
        Box::pin(async { Err(Unavailable("there is no sector manager here".into())) })
    }
}

impl Ground {
    /// Makes it.
    pub fn new() -> Arc<Ground> {
        let scratch = Scratch::new();
        Arc::new(Ground {
            disk: Disk::formatted(),
            location: Location::at(scratch.path()).unwrap(),
            sector_manager: Arc::new(Nobody),
            _scratch: scratch,
        })
    }

    /// A thread's configuration.
    pub fn thread(&self, plan: Plan) -> ThreadConfig {
        let sealing = Sealing {
            max_retries: 1,
            seal_interval: Duration::from_secs(1),
            recover_interval: Duration::from_millis(700),
            ..Sealing::default()
        };
        ThreadConfig {
            location: self.location.path().to_owned(),
            hot: HotConfig::fixed(plan),
            sealing,
        }
    }
}
