//! The worker's snapshots over NATS: published on its subject, from which JetStream keeps the last
//! one.

use shared_msgs::snapshot::WorkerSnapshot;
use tracing::{debug, warn};

use super::NatsBus;
use crate::snapshots::Snapshots;

impl Snapshots for NatsBus {
    async fn publish(&self, snapshot: &WorkerSnapshot) {
        let Some(payload) = self.payload(snapshot) else { return };
        let subject = self.prefix.state(&self.worker);
        if let Err(error) = self.client.publish(subject, payload.into()).await {
            warn!(%error, "the worker's state could not be published");
        }
    }

    // Without JetStream nobody confirms it.
    async fn publish_last(&self, snapshot: &WorkerSnapshot) {
        let Some(payload) = self.payload(snapshot) else { return };
        let subject = self.prefix.state(&self.worker);
        if let Err(error) = self.client.request(subject, payload.into()).await {
            debug!(%error, "nobody stores the last state");
        }
    }
}

impl NatsBus {
    fn payload(&self, snapshot: &WorkerSnapshot) -> Option<Vec<u8>> {
        let payload = self.encoding.encode_within(snapshot, self.client.max_payload());
        payload.inspect_err(|error| warn!(%error, "the worker's state cannot be written")).ok()
    }
}
