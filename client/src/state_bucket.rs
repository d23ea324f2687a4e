//! The bucket with each worker's last state: how states get into it, and whether they still do.
//!
//! ```text
//!  <p>.v1.state.w1  ──▶ live to all subscribers
//!         └─ subject transform ──▶ $KV.<P>_STATE.w1   stored, one message per key
//! ```
//! A stream can be edited by others, and `nats kv edit` drops the subject and the transform: the
//! bucket then stays as it was, while workers go on reporting.
//!
//! Tests: this module's, and the scenario `bus::state_bucket`.

use std::time::Duration;

use async_nats::jetstream::stream;
use shared_msgs::{codec::decode, name::WorkerName, snapshot::WorkerSnapshot, subject::Prefix};
use tokio::time::timeout;

use crate::bus::{Bus, Stored};

/// What turns a state's subject into its key.
pub fn transform(prefix: &Prefix) -> stream::SubjectTransform {
    stream::SubjectTransform {
        source: prefix.state_of_all(),
        destination: prefix.state_key("{{wildcard(1)}}"),
    }
}

/// Why states do not get into a bucket that is like this, if so, and how to mend it.
pub fn trouble(prefix: &Prefix, config: &stream::Config) -> Option<String> {
    let wanted = transform(prefix);
    let transformed = |existing: &stream::SubjectTransform| {
        (&existing.source, &existing.destination) == (&wanted.source, &wanted.destination)
    };
    let what = if !config.subjects.iter().any(|subject| covers(subject, &wanted.source)) {
        format!("its stream no longer has the subject {}", wanted.source)
    } else if !config.subject_transform.as_ref().is_some_and(transformed) {
        format!("its stream no longer transforms {} to {}", wanted.source, wanted.destination)
    } else {
        return None;
    };
    let (bucket, stream, keys) =
        (prefix.state_bucket(), prefix.state_stream(), prefix.state_key(">"));
    let stream::SubjectTransform { source, destination } = wanted;
    Some(format!(
        "the state bucket {bucket} no longer receives the workers' states: {what}. What is stored there is old, and a manager that starts now \
         trusts it. Mend it, on a terminal, with: nats stream edit {stream} --subjects '{keys}' --subjects '{source}' --transform-source '{source}' \
         --transform-destination '{destination}' -f (and answer y)"
    ))
}

/// The subjects of all keys.
pub fn all_keys(prefix: &Prefix) -> String {
    prefix.state_key(">")
}

/// The worker whose key this subject is.
pub fn worker_of_key(prefix: &Prefix, subject: &str) -> Option<WorkerName> {
    WorkerName::from_token(subject.strip_prefix(&prefix.state_key(""))?).ok()
}

/// A worker's last report.
#[derive(Debug)]
pub struct LastReport {
    /// As the worker reported it last.
    pub snapshot: WorkerSnapshot,
    /// Its age, by the server's clock alone.
    pub age: Duration,
    /// The bucket's revision of it.
    pub revision: u64,
}

/// Reads a worker's last report. `None` if there is none; an error, a sentence, if the bucket
/// cannot be asked.
pub async fn last_report(
    bus: &dyn Bus,
    prefix: &Prefix,
    worker: &WorkerName,
    deadline: Duration,
) -> Result<Option<LastReport>, String> {
    let read = timeout(deadline, bus.stored(prefix, Some(worker))).await;
    let stored = read.map_err(|_| "JetStream does not answer".to_owned())??;
    let Some((_, Stored { body, age, revision })) = stored.into_iter().next() else {
        return Ok(None);
    };
    let snapshot =
        decode(&body).map_err(|error| format!("worker {worker}'s last report: {error}"))?;
    Ok(Some(LastReport { snapshot, age, revision }))
}

// Whether one subject stands for all that another does.
fn covers(wide: &str, narrow: &str) -> bool {
    let mut narrow = narrow.split('.');
    for token in wide.split('.') {
        match (token, narrow.next()) {
            (">", Some(_)) => return true,
            ("*", Some(other)) if other != ">" => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    narrow.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(subjects: &[&str], transform: Option<stream::SubjectTransform>) -> stream::Config {
        stream::Config {
            subjects: subjects.iter().map(ToString::to_string).collect(),
            subject_transform: transform,
            ..Default::default()
        }
    }

    #[test]
    fn a_bucket_that_states_no_longer_get_into_is_said_with_the_way_out() {
        let prefix = Prefix::default();
        let (keys, states) = ("$KV.DAMOCLES_STATE.>", "damocles.v1.state.*");
        let trouble = |subjects: &[&str], transform| trouble(&prefix, &config(subjects, transform));
        assert_eq!(trouble(&[states, keys], Some(transform(&prefix))), None);
        assert_eq!(trouble(&[keys, "damocles.v1.>"], Some(transform(&prefix))), None);
        assert!(
            trouble(&[keys], Some(transform(&prefix)))
                .unwrap()
                .contains("no longer has the subject damocles.v1.state.*")
        );
        let said = trouble(&[keys, states], None).unwrap();
        assert!(
            said.contains(
                "no longer transforms damocles.v1.state.* to $KV.DAMOCLES_STATE.{{wildcard(1)}}"
            ),
            "{said}"
        );
        assert!(
            said.contains("nats stream edit KV_DAMOCLES_STATE --subjects '$KV.DAMOCLES_STATE.>' "),
            "{said}"
        );
        let other = stream::SubjectTransform {
            source: states.into(),
            destination: "x.{{wildcard(1)}}".into(),
        };
        assert!(trouble(&[keys, states], Some(other)).is_some());
    }

    #[test]
    fn wildcards_stand_for_what_they_match() {
        for wide in ["a.b.*", "a.*.*", "a.>", ">", "*.b.>"] {
            assert!(covers(wide, "a.b.*"), "{wide}");
        }
        for other in ["a.b.c", "a.*", "a.b.*.*", "a.b.*.>", "x.>", "a.b"] {
            assert!(!covers(other, "a.b.*"), "{other}");
        }
        assert!(!covers("a.*", "a.>"));
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
