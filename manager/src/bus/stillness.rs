//! Whether JetStream stores what the workers publish: a manager hears their states live, and again
//! from the bucket.
//!
//! Decision 040 in `docs/decisions`.

use std::time::Duration;

use damocles_daemon::standstill::{Announcer, Say};
use shared_msgs::duration::human_secs;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::SharedRegistry;

/// Watches for ever, and says when nothing of a worker is stored for that long.
pub(crate) async fn watch(registry: &SharedRegistry, patience: Duration) {
    let mut announcer = Announcer::default();
    loop {
        sleep(patience / 12).await;
        let (workers, first) = registry.with(|registry, now| {
            let mut unstored = registry.unstored(now);
            let first =
                unstored.next().map(|(name, elapsed)| (name.to_string(), human_secs(elapsed)));
            (usize::from(first.is_some()) + unstored.count(), first)
        });
        match announcer.look(workers > 0, Instant::now()) {
            Some(Say::StandsStill) => {
                let (name, elapsed) = first.unzip();
                warn!(
                    workers,
                    first = name,
                    elapsed,
                    "JetStream does not store the states that these workers publish: see its storage"
                );
            }
            Some(Say::GoesOn) => info!("JetStream stores the workers' states again"),
            None => {}
        }
    }
}
