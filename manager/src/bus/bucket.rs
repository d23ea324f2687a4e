//! The bucket with every worker's last snapshot.
//!
//! ```text
//!  <p>.v1.state.w1  ──▶ live to all subscribers
//!         └─ subject transform ──▶ $KV.<P>_STATE.w1   stored, one message per key
//! ```
//! One plain publish does both, and `nats kv` reads the result.

use async_nats::{
    HeaderMap,
    jetstream::{
        self, ErrorCode,
        context::{AccountErrorKind, GetStreamErrorKind},
        stream::{Config, DiscardPolicy, Stream, SubjectTransform},
    },
};
use shared_msgs::{name::WorkerName, subject::Prefix};
use tracing::{info, warn};

/// Why the bucket cannot be used.
#[derive(Debug)]
pub enum BucketError {
    /// The server, or the account, has no JetStream.
    NoJetStream,
    /// It has, but this went wrong.
    Failed(String),
}

/// The bucket's stream. Created if it is missing; never changed if it is there, but what differs is said.
pub async fn ensure(jetstream: &jetstream::Context, prefix: &Prefix) -> Result<Stream, BucketError> {
    if let Err(error) = jetstream.query_account().await {
        return Err(match error.kind() {
            AccountErrorKind::JetStreamUnavailable => BucketError::NoJetStream,
            AccountErrorKind::JetStream(error)
                if [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT].contains(&error.error_code()) =>
            {
                BucketError::NoJetStream
            }
            _ => failed("ask for JetStream", error),
        });
    }
    let wanted = config(prefix);
    match jetstream.get_stream(&wanted.name).await {
        Ok(stream) => {
            for difference in differences(&wanted, &stream.cached_info().config) {
                warn!(stream = wanted.name, "this stream is not as a manager makes it and is left alone: {difference}");
            }
            Ok(stream)
        }
        Err(error) if is_missing(&error.kind()) => {
            let name = wanted.name.clone();
            let stream = jetstream.create_stream(wanted).await.map_err(|error| failed(&format!("create stream {name}"), error))?;
            info!(stream = name, "created the stream of the workers' last states");
            Ok(stream)
        }
        Err(error) => Err(failed(&format!("read stream {}", wanted.name), error)),
    }
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn failed(what: &str, error: impl std::fmt::Display) -> BucketError {
    BucketError::Failed(format!("cannot {what}: {error}"))
}

// A key-value bucket as NATS ADR-8 has it, and beside it the subject and the transform that fill it.
fn config(prefix: &Prefix) -> Config {
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

// What of an existing stream makes it work otherwise than the wanted one. Replicas, limits and placement are the
// operator's.
fn differences(wanted: &Config, existing: &Config) -> Vec<String> {
    let transform = |config: &Config| config.subject_transform.as_ref().map(|t| format!("{} -> {}", t.source, t.destination));
    let sorted = |config: &Config| {
        let mut subjects = config.subjects.clone();
        subjects.sort();
        subjects
    };
    let mut found = Vec::new();
    let mut compare = |what: &str, wanted: String, existing: String| {
        if wanted != existing {
            found.push(format!("{what} is {existing}, expected {wanted}"));
        }
    };
    compare("subjects", format!("{:?}", sorted(wanted)), format!("{:?}", sorted(existing)));
    compare("subject_transform", format!("{:?}", transform(wanted)), format!("{:?}", transform(existing)));
    let mut compare = |what: &str, of: fn(&Config) -> String| compare(what, of(wanted), of(existing));
    compare("max_msgs_per_subject", |config| config.max_messages_per_subject.to_string());
    compare("allow_rollup_hdrs", |config| config.allow_rollup.to_string());
    compare("allow_direct", |config| config.allow_direct.to_string());
    compare("deny_purge", |config| config.deny_purge.to_string());
    found
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

/// Whether an entry with these headers says that its key is gone: deleted, purged, or removed by a limit.
pub fn is_gone(headers: Option<&HeaderMap>) -> bool {
    let Some(headers) = headers else { return false };
    let operation = headers.get("KV-Operation").map(|value| value.as_str());
    matches!(operation, Some("DEL" | "PURGE")) || headers.get("Nats-Marker-Reason").is_some()
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
    fn what_differs_is_named_and_what_is_the_operators_is_not() {
        let wanted = config(&Prefix::default());
        let mut existing = Config { num_replicas: 3, max_bytes: 1 << 30, ..wanted.clone() };
        existing.subjects.reverse();
        assert_eq!(differences(&wanted, &existing), Vec::<String>::new());
        existing.subject_transform = None;
        existing.max_messages_per_subject = 64;
        existing.allow_direct = false;
        let found = differences(&wanted, &existing).join("; ");
        for part in ["subject_transform is None, expected Some", "max_msgs_per_subject is 64, expected 1", "allow_direct is false"] {
            assert!(found.contains(part), "{found}");
        }
    }

    #[test]
    fn keys_are_the_workers_tokens() {
        let prefix: Prefix = "pool.a".parse().unwrap();
        let worker = |subject| worker_of_key(&prefix, subject).map(|name| name.to_string());
        assert_eq!(worker("$KV.POOL_A_STATE.127=2E0=2E0=2E1"), Some("127.0.0.1".into()));
        assert_eq!(worker("$KV.POOL_A_STATE.=41"), None);
        assert_eq!(worker("$KV.OTHER.w1"), None);
    }

    #[test]
    fn deleted_purged_and_expired_keys_are_gone() {
        assert!(!is_gone(None) && !is_gone(Some(&HeaderMap::new())));
        for (name, value) in [("KV-Operation", "DEL"), ("KV-Operation", "PURGE"), ("Nats-Marker-Reason", "MaxAge")] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value);
            assert!(is_gone(Some(&headers)), "{name}: {value}");
        }
    }
}
