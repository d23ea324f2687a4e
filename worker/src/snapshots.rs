//! Publishing the worker's snapshots: on every change, at most one in 50 ms, and one every
//! `ping_interval`. Nothing is published while there is no connection (the client would buffer
//! stale ones); a fresh one goes out as soon as there is. Whoever sees the worker can command it:
//! nothing is published before commands are served.
//!
//! ```text
//!  connected --> commands are served --> the lease is confirmed --> publish --+
//!      ^                                                                      |
//!      +---- a change and 50 ms, `ping_interval`, or another connection ------+
//! ```
//! What always holds:
//! - A snapshot is of all threads at one moment, and its `seq` is drawn before they are read: of two
//!   the one with the higher `seq` knows more.
//! - None is kept for later: one that is lost is followed by one that is newer.
//! - Nothing is published by a process that does not hold its lease. Only the last one, which says
//!   `stopped`, is waited for ([`crate::worker`]).
//!
//! Tests: the scenarios `bus::nats_outage`, `sealing::shutdown` and `lease::same_name`, and the
//! simulation.

use std::{sync::Arc, time::Duration};

use damocles_client::connect::Link;
use shared_msgs::snapshot::WorkerSnapshot;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use crate::{failpoint, identity::Worker, lease::LeaseState, link::connected};

const SMALLEST_GAP: Duration = Duration::from_millis(50);

/// Where snapshots go. One that does not arrive is followed by another.
pub trait Snapshots: Send + Sync {
    /// Publishes one, and waits for no acknowledgement.
    fn publish(&self, snapshot: &WorkerSnapshot) -> impl Future<Output = ()> + Send;
    /// Publishes the last one, and waits until it is stored where anything is.
    fn publish_last(&self, snapshot: &WorkerSnapshot) -> impl Future<Output = ()> + Send;
}

/// Publishes the worker's snapshots until the connection is closed.
pub async fn publish_all(
    bus: &impl Snapshots,
    worker: &Worker,
    mut link: watch::Receiver<Link>,
    mut lease: watch::Receiver<LeaseState>,
    mut serving: watch::Receiver<bool>,
    changed: Arc<Notify>,
) {
    while connected(&mut link).await {
        if serving.wait_for(|serving| *serving).await.is_err()
            || lease.wait_for(LeaseState::is_confirmed).await.is_err()
        {
            return;
        }
        link.borrow_and_update();
        if !*serving.borrow() || *link.borrow() == Link::Down {
            continue;
        }
        failpoint::reach("task", "snapshots");
        bus.publish(&worker.snapshot()).await;
        let published = Instant::now();
        tokio::select! {
            biased;
            () = changed.notified() => {}
            () = sleep_until(published + worker.ping_interval()) => {}
            _ = link.changed() => {}
        }
        sleep_until(published + SMALLEST_GAP).await;
    }
}
