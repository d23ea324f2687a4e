//! Who claims the workers' names: the lease bucket, loaded at every connection and followed from
//! then on, like the state bucket in [`super::stored`].
//!
//! A lease that was not renewed in time is in the bucket's stream as a marker; so nothing here
//! looks at a clock, apart from one time to live after a connection: until then leases that an
//! outage has cost may still be taken anew.

use std::{
    convert::Infallible,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    Client,
    jetstream::{self, kv},
};
use damocles_client::{
    connect::Link,
    entries::{Entries, Entry, in_time},
    jetstream::{JetStreamError, gone, present},
};
use shared_msgs::{
    codec::decode,
    duration::human,
    lease::{self, Lease},
    subject::Prefix,
};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    SharedRegistry,
    connection::{AtEachConnection, Trouble},
    streams,
    unreadable::Unreadable,
};
use crate::registry::Claims;

const ROUNDS: AtEachConnection = AtEachConnection {
    trouble: "the workers' leases cannot be read, trying again: no worker is shown as lost meanwhile",
    // The state bucket says it.
    without_jetstream: None,
    retry: Duration::from_secs(1),
};
// They come from the bus; ours have some 200 bytes.
const MAX_LEASE_BYTES: usize = 4096;

/// Reads the leases into the registry.
pub(crate) struct Leases {
    prefix: Prefix,
    registry: SharedRegistry,
    ttl: Duration,
    unreadable: Mutex<Unreadable>,
}

impl Leases {
    /// Feeds this registry. The time to live is for a bucket that has to be made.
    pub(crate) fn new(prefix: Prefix, registry: SharedRegistry, ttl: Duration) -> Self {
        Leases { prefix, registry, ttl, unreadable: Mutex::default() }
    }

    /// Follows the bucket for ever, from one connection to the next.
    pub(crate) async fn follow(&self, client: &Client, link: watch::Receiver<Link>) {
        ROUNDS.run(link, async |trouble| self.load_and_follow(client, trouble).await).await;
    }

    async fn load_and_follow(
        &self,
        client: &Client,
        trouble: &mut Trouble,
    ) -> Result<(), JetStreamError> {
        let connected = self.registry.with(|registry, now| {
            registry.leases_unknown();
            now
        });
        let jetstream = jetstream::new(client.clone());
        present(&jetstream).await?;
        let opening = damocles_client::lease::open_bucket(&jetstream, &self.prefix, self.ttl);
        let (bucket, ttl) = in_time("the lease bucket", opening).await?;
        streams::say(
            &bucket.stream.cached_info().config.name,
            &differences(&bucket, ttl, self.ttl),
        );
        let mut entries = self.load(client, &bucket, ttl, connected).await?;
        trouble.is_over();
        tokio::select! {
            Err(error) = self.follow_entries(&mut entries) => Err(error),
            why = gone(&jetstream, &bucket.stream) => {
                Err(JetStreamError::Failed(format!("bucket {} {why}", self.prefix.lease_bucket())))
            }
        }
    }

    async fn follow_entries(&self, entries: &mut Entries) -> Result<Infallible, JetStreamError> {
        loop {
            let entry = entries.next().await?;
            let Some(claim) = self.claim_of(&entry) else { continue };
            match self.read(&entry) {
                Some(lease) => self.registry.with(|registry, _| registry.claim(claim, lease)),
                None if entry.gone => {
                    self.registry.with(|registry, now| registry.unclaim(&claim, now))
                }
                None => {}
            }
        }
    }

    async fn load(
        &self,
        client: &Client,
        bucket: &kv::Store,
        ttl: Duration,
        connected: Duration,
    ) -> Result<Entries, JetStreamError> {
        let keys = format!("$KV.{}.>", self.prefix.lease_bucket());
        let mut entries =
            Entries::open(client, &bucket.stream, keys, "a manager's view of the leases").await?;
        let mut claims = Claims::default();
        while let Some(entry) = entries.next_stored().await? {
            if let (Some(claim), Some(lease)) = (self.claim_of(&entry), self.read(&entry)) {
                claims.insert(claim, lease, |_| false);
            }
        }
        info!(names = claims.len(), "loaded the workers' leases");
        self.registry.with(|registry, _| registry.leases_loaded(claims, connected, ttl));
        Ok(entries)
    }

    fn claim_of(&self, entry: &Entry) -> Option<lease::Claim> {
        let key = entry
            .subject
            .strip_prefix("$KV.")?
            .strip_prefix(&self.prefix.lease_bucket())?
            .strip_prefix('.')?;
        lease::claim_of(key)
    }

    fn read(&self, entry: &Entry) -> Option<Lease> {
        if entry.gone {
            return None;
        }
        let read = match entry.payload.len() {
            0..=MAX_LEASE_BYTES => {
                decode::<Lease>(&entry.payload).map_err(|error| error.to_string())
            }
            bytes => Err(format!("{bytes} bytes are no lease")),
        };
        match read {
            // The entry that acquires a lease cannot hold its own revision.
            Ok(lease) => Some(Lease { epoch: lease.epoch.or(Some(entry.revision)), ..lease }),
            Err(error) => {
                let now = self.registry.now();
                if let Some(count) = self
                    .unreadable
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .note(&entry.subject, now)
                {
                    warn!(key = %entry.subject, count, error, "ignored a lease that cannot be read");
                }
                None
            }
        }
    }
}

// What of an existing bucket is not as configured, or keeps managers from seeing that a lease has
// expired.
fn differences(bucket: &kv::Store, ttl: Duration, configured: Duration) -> Vec<String> {
    let config = &bucket.stream.cached_info().config;
    let mut found = Vec::new();
    if ttl != configured {
        found.push(format!(
            "max_age is {}, expected {} (nats.lease_ttl)",
            human(ttl),
            human(configured)
        ));
    }
    if config.subject_delete_marker_ttl.is_none() {
        found.push("subject_delete_marker_ttl is not set: nobody hears that a lease has expired, and no worker is shown as lost".into());
    }
    found
}
