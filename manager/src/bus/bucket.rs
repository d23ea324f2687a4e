//! The bucket with every worker's last snapshot, see [`damocles_client::state_bucket`]: one plain
//! publish tells it to everybody and stores it, and `nats kv` reads the result.

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use damocles_client::state_bucket::{self, transform};
use shared_msgs::subject::Prefix;

/// A key-value bucket as NATS ADR-8 has it, and beside it the subject and the transform that fill
/// it.
pub(crate) fn config(prefix: &Prefix) -> Config {
    Config {
        name: prefix.state_stream(),
        description: Some("last state of each worker".into()),
        subjects: vec![state_bucket::all_keys(prefix), prefix.state_of_all()],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_is_fed_from_the_state_subjects() {
        let config = config(&Prefix::default());
        assert_eq!(config.name, "KV_DAMOCLES_STATE");
        assert_eq!(config.subjects, ["$KV.DAMOCLES_STATE.>", "damocles.v1.state.*"]);
        assert_eq!(state_bucket::trouble(&Prefix::default(), &config), None);
        let transform = config.subject_transform.unwrap();
        assert_eq!(
            (transform.source.as_str(), transform.destination.as_str()),
            ("damocles.v1.state.*", "$KV.DAMOCLES_STATE.{{wildcard(1)}}")
        );
    }
}
