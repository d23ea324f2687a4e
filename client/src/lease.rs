//! The bucket in which [`shared_msgs::lease`] is kept.

use std::{fmt, time::Duration};

use async_nats::jetstream::{
    self,
    context::{CreateKeyValueErrorKind, KeyValueErrorKind},
    kv,
};
use shared_msgs::{lease::MIN_TTL, subject::Prefix};

use crate::jetstream::JetStreamError;

/// The lease bucket with the time to live it has, if it is there.
pub async fn existing_bucket(
    jetstream: &jetstream::Context,
    prefix: &Prefix,
) -> Result<Option<(kv::Store, Duration)>, JetStreamError> {
    match jetstream.get_key_value(prefix.lease_bucket()).await {
        Ok(bucket) => with_ttl(bucket).map(Some),
        Err(error) if error.kind() == KeyValueErrorKind::GetBucket => Ok(None),
        Err(error) => Err(failed(prefix, &error)),
    }
}

/// Opens the lease bucket, made with this time to live if it is missing. Returns it with the time
/// to live it has.
pub async fn open_bucket(
    jetstream: &jetstream::Context,
    prefix: &Prefix,
    ttl: Duration,
) -> Result<(kv::Store, Duration), JetStreamError> {
    if let Some(existing) = existing_bucket(jetstream, prefix).await? {
        return Ok(existing);
    }
    let config = kv::Config {
        bucket: prefix.lease_bucket(),
        description: "which process owns each worker's name".into(),
        max_age: ttl,
        // Short: a marker says that a lease has expired, and then has done its work.
        limit_markers: Some(ttl.max(MIN_TTL)),
        history: 1,
        num_replicas: 1,
        ..kv::Config::default()
    };
    match jetstream.create_key_value(config).await {
        Ok(bucket) => with_ttl(bucket),
        // Somebody else was faster.
        Err(error) if error.kind() == CreateKeyValueErrorKind::BucketCreate => {
            existing_bucket(jetstream, prefix).await?.ok_or_else(|| failed(prefix, &error))
        }
        Err(error) => Err(failed(prefix, &error)),
    }
}

fn failed(prefix: &Prefix, error: &dyn fmt::Display) -> JetStreamError {
    JetStreamError::Failed(format!("bucket {}: {error}", prefix.lease_bucket()))
}

fn with_ttl(bucket: kv::Store) -> Result<(kv::Store, Duration), JetStreamError> {
    let ttl = bucket.stream.cached_info().config.max_age;
    if ttl.is_zero() {
        return Err(JetStreamError::Failed(format!(
            "bucket {} keeps its keys for ever: it needs a max_age, or its leases would never expire",
            bucket.name
        )));
    }
    Ok((bucket, ttl))
}
