//! Who has which name, as the lease bucket says.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    kv::{Operation, Store},
};
use damocles_client::lease::open_bucket;
use futures::StreamExt;
use shared_msgs::{
    codec::decode,
    lease::{Claim, Lease, claim_of, key},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    DEADLINE,
    bus::{Bus, name},
};

const LOOK_AGAIN: Duration = Duration::from_millis(10);
// For one look.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes the lease bucket before anybody else does; in it leases last so long.
pub async fn make(bus: &Bus, ttl: Duration) {
    open_bucket(&jetstream::new(bus.client.clone()), &bus.prefix, ttl).await.unwrap();
}

/// The holder of a worker's name, with the revision of its entry; `None` while nobody has it.
pub async fn holder(bus: &Bus, worker: &str) -> Option<(Lease, u64)> {
    entry(bus, key(&name(worker))).await
}

/// Waits until so many processes say that they stand by for a worker's name.
pub async fn standing_by(bus: &Bus, worker: &str, count: usize) -> Vec<Lease> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let claims = claims(bus, worker).await.unwrap_or_default();
        if claims.len() == count {
            return claims;
        }
        assert!(
            Instant::now() < deadline,
            "not {count} stand by for {worker} within {DEADLINE:?}: {claims:?}"
        );
        sleep(LOOK_AGAIN).await;
    }
}

async fn claims(bus: &Bus, worker: &str) -> Option<Vec<Lease>> {
    let keys: Vec<_> = bucket(bus).await?.keys().await.ok()?.collect().await;
    let mut claims = vec![];
    for key in keys.into_iter().flatten() {
        if matches!(claim_of(&key), Some(Claim::StandingBy(of, _)) if of == name(worker)) {
            claims.extend(entry(bus, key).await.map(|(lease, _)| lease));
        }
    }
    Some(claims)
}

/// Waits until the holder of a worker's name is one of which `holds` is true; the bucket tells
/// nobody of an expiry.
pub async fn until(
    bus: &Bus,
    worker: &str,
    what: &str,
    holds: impl Fn(Option<&Lease>) -> bool,
) -> Option<Lease> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let lease = holder(bus, worker).await.map(|(lease, _)| lease);
        if holds(lease.as_ref()) {
            return lease;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: not within {DEADLINE:?}; the holder is {lease:?}"
        );
        sleep(LOOK_AGAIN).await;
    }
}

async fn entry(bus: &Bus, key: String) -> Option<(Lease, u64)> {
    let reading = async { bucket(bus).await?.entry(key).await.ok()? };
    // A server that dies takes what it was asked with it.
    let entry = timeout(PATIENCE, reading).await.ok()??;
    (entry.operation == Operation::Put).then(|| (decode(&entry.value).unwrap(), entry.revision))
}

async fn bucket(bus: &Bus) -> Option<Store> {
    jetstream::new(bus.client.clone()).get_key_value(bus.prefix.lease_bucket()).await.ok()
}
