//! Who has which name, as the lease bucket says.

use std::time::Duration;

use async_nats::jetstream::{self, kv::Operation};
use shared_msgs::{
    codec::decode,
    lease::{Lease, key, standby_key},
};
use tokio::time::{Instant, sleep};

use crate::{
    DEADLINE,
    bus::{Bus, name},
};

const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The holder of a worker's name, with the revision of its entry; `None` while nobody has it.
pub async fn holder(bus: &Bus, worker: &str) -> Option<(Lease, u64)> {
    entry(bus, key(&name(worker))).await
}

/// Whether a process says that it stands by for a worker's name.
pub async fn stands_by(bus: &Bus, worker: &str, instance: shared_msgs::id::Id) -> bool {
    entry(bus, standby_key(&name(worker), instance)).await.is_some()
}

/// Waits until the holder of a worker's name is one of which `holds` is true; the bucket tells nobody of an expiry.
pub async fn until(bus: &Bus, worker: &str, what: &str, holds: impl Fn(Option<&Lease>) -> bool) -> Option<Lease> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let lease = holder(bus, worker).await.map(|(lease, _)| lease);
        if holds(lease.as_ref()) {
            return lease;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}; the holder is {lease:?}");
        sleep(LOOK_AGAIN).await;
    }
}

async fn entry(bus: &Bus, key: String) -> Option<(Lease, u64)> {
    let bucket = jetstream::new(bus.client.clone()).get_key_value(bus.prefix.lease_bucket()).await.ok()?;
    let entry = bucket.entry(key).await.ok()??;
    (entry.operation == Operation::Put).then(|| (decode(&entry.value).unwrap(), entry.revision))
}
