//! Publishing the worker's snapshots: on every change, at most one in 50 ms, and one every
//! `ping_interval`. Nothing is published while there is no connection (the client would buffer
//! stale ones); a fresh one goes out as soon as there is.

use std::{sync::Arc, time::Duration};

use async_nats::Client;
use damocles_client::connect::Link;
use shared_msgs::codec::Encoding;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, warn};

use super::link::connected;
use crate::{failpoint, identity::Worker, lease::LeaseState};

const SMALLEST_GAP: Duration = Duration::from_millis(50);

/// Publishes one worker's snapshots.
pub struct Publisher {
    pub worker: Arc<Worker>,
    /// The connection.
    pub client: Client,
    /// How snapshots are written.
    pub encoding: Encoding,
    /// Whether this process holds its lease.
    pub lease: watch::Receiver<LeaseState>,
}

impl Publisher {
    /// Publishes until the connection is closed.
    pub async fn run(
        &self,
        mut link: watch::Receiver<Link>,
        mut serving: watch::Receiver<bool>,
        changed: Arc<Notify>,
    ) {
        let mut lease = self.lease.clone();
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
            self.publish().await;
            let published = Instant::now();
            tokio::select! {
                () = changed.notified() => {}
                () = sleep_until(published + self.worker.ping_interval()) => {}
                _ = link.changed() => {}
            }
            sleep_until(published + SMALLEST_GAP).await;
        }
    }

    async fn publish(&self) {
        let Some(payload) = self.payload() else { return };
        if let Err(error) = self.client.publish(self.worker.state_subject(), payload.into()).await {
            warn!(%error, "the worker's state could not be published");
        }
    }

    /// Publishes the last snapshot and waits until JetStream has stored it. Without JetStream
    /// nobody confirms it.
    pub async fn publish_last(&self, patience: Duration) {
        let Some(payload) = self.payload() else { return };
        let stored = self.client.request(self.worker.state_subject(), payload.into());
        match timeout(patience, stored).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => debug!(%error, "nobody stores the last state"),
            Err(_) => debug!("nobody confirmed the last state in time"),
        }
    }

    fn payload(&self) -> Option<Vec<u8>> {
        let payload =
            self.encoding.encode_within(&self.worker.snapshot(), self.client.max_payload());
        payload.inspect_err(|error| warn!(%error, "the worker's state cannot be written")).ok()
    }
}
