//! The bucket with every worker's last snapshot, see [`damocles_client::state_bucket`]: one plain
//! publish tells it to everybody and stores it, and `nats kv` reads the result.

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use damocles_client::state_bucket::transform;
use shared_msgs::{name::WorkerName, subject::Prefix};

/// A key-value bucket as NATS ADR-8 has it, and beside it the subject and the transform that fill
/// it.
pub fn config(prefix: &Prefix) -> Config {
    Config {
        name: prefix.state_stream(),
        description: Some("last state of each worker".into()),
        subjects: vec![all_keys(prefix), prefix.state_of_all()],
        subject_transform: Some(transform(prefix)),
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        num_replicas: 1,
        ..Config::default()
    }
}

/// The subjects of all keys.
pub fn all_keys(prefix: &Prefix) -> String {
    prefix.state_key(">")
}

/// The worker whose key this subject is.
pub fn worker_of_key(prefix: &Prefix, subject: &str) -> Option<WorkerName> {
    WorkerName::from_token(subject.strip_prefix(&prefix.state_key(""))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_is_fed_from_the_state_subjects() {
        let config = config(&Prefix::default());
        assert_eq!(config.name, "KV_DAMOCLES_STATE");
        assert_eq!(config.subjects, ["$KV.DAMOCLES_STATE.>", "damocles.v1.state.*"]);
        assert_eq!(damocles_client::state_bucket::trouble(&Prefix::default(), &config), None);
        let transform = config.subject_transform.unwrap();
        assert_eq!(
            (transform.source.as_str(), transform.destination.as_str()),
            ("damocles.v1.state.*", "$KV.DAMOCLES_STATE.{{wildcard(1)}}")
        );
    }

    #[test]
    fn keys_are_the_workers_tokens() {
        let prefix: Prefix = "pool.a".parse().unwrap();
        let worker = |subject| worker_of_key(&prefix, subject).map(|name| name.to_string());
        assert_eq!(worker("$KV.POOL_A_STATE.127=2E0=2E0=2E1"), Some("127.0.0.1".into()));
        assert_eq!(worker("$KV.POOL_A_STATE.=41"), None);
        assert_eq!(worker("$KV.OTHER.w1"), None);
    }
}
