//! The bucket with every worker's last snapshot.
//!
//! ```text
//!  <p>.v1.state.w1  ──▶ live to all subscribers
//!         └─ subject transform ──▶ $KV.<P>_STATE.w1   stored, one message per key
//! ```
//! One plain publish does both, and `nats kv` reads the result.

use async_nats::jetstream::stream::{Config, DiscardPolicy, SubjectTransform};
use shared_msgs::{name::WorkerName, subject::Prefix};

/// A key-value bucket as NATS ADR-8 has it, and beside it the subject and the transform that fill it.
pub fn config(prefix: &Prefix) -> Config {
    Config {
        name: prefix.state_stream(),
        description: Some("last state of each worker".into()),
        subjects: vec![all_keys(prefix), prefix.state_of_all()],
        subject_transform: Some(SubjectTransform { source: prefix.state_of_all(), destination: key_subject(prefix, "{{wildcard(1)}}") }),
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        num_replicas: 1,
        ..Config::default()
    }
}

fn key_subject(prefix: &Prefix, key: &str) -> String {
    format!("$KV.{}.{key}", prefix.state_bucket())
}

/// The subjects of all keys.
pub fn all_keys(prefix: &Prefix) -> String {
    key_subject(prefix, ">")
}

/// The worker whose key this subject is.
pub fn worker_of_key(prefix: &Prefix, subject: &str) -> Option<WorkerName> {
    WorkerName::from_token(subject.strip_prefix(&key_subject(prefix, ""))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_is_fed_from_the_state_subjects() {
        let config = config(&Prefix::default());
        assert_eq!(config.name, "KV_DAMOCLES_STATE");
        assert_eq!(config.subjects, ["$KV.DAMOCLES_STATE.>", "damocles.v1.state.*"]);
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
