//! The bucket in which [`shared_msgs::lease`] is kept.

use std::{fmt, time::Duration};

use async_nats::jetstream::{
    self,
    context::{CreateKeyValueErrorKind, KeyValueErrorKind},
    kv,
};
use shared_msgs::{lease::MIN_TTL, subject::Prefix};

use crate::jetstream::JetStreamError;

/// Opens the lease bucket, made with this time to live if it is missing. Returns it with the time
/// to live it has.
pub async fn open_bucket(
    jetstream: &jetstream::Context,
    prefix: &Prefix,
    ttl: Duration,
) -> Result<(kv::Store, Duration), JetStreamError> {
    let name = prefix.lease_bucket();
    let failed =
        |error: &dyn fmt::Display| JetStreamError::Failed(format!("bucket {name}: {error}"));
    let bucket = match jetstream.get_key_value(&name).await {
        Ok(bucket) => bucket,
        Err(error) if error.kind() == KeyValueErrorKind::GetBucket => {
            let config = kv::Config {
                bucket: name.clone(),
                description: "which process owns each worker's name".into(),
                max_age: ttl,
                // Short: a marker says that a lease has expired, and then has done its work.
                limit_markers: Some(ttl.max(MIN_TTL)),
                history: 1,
                num_replicas: 1,
                ..kv::Config::default()
            };
            match jetstream.create_key_value(config).await {
                Ok(bucket) => bucket,
                // Somebody else was faster.
                Err(error) if error.kind() == CreateKeyValueErrorKind::BucketCreate => {
                    jetstream.get_key_value(&name).await.map_err(|_| failed(&error))?
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(error) => return Err(failed(&error)),
    };
    let ttl = bucket.stream.cached_info().config.max_age;
    if ttl.is_zero() {
        return Err(JetStreamError::Failed(format!(
            "bucket {name} keeps its keys for ever: it needs a max_age, or its leases would never expire"
        )));
    }
    Ok((bucket, ttl))
}
