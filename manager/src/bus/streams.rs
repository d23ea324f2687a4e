//! The streams that managers make. What is missing is created; what is there is never changed, but
//! what differs is said.

use std::time::Duration;

use async_nats::{
    Client,
    jetstream::{
        self, ErrorCode,
        context::CreateStreamErrorKind,
        stream::{Config, DiscardPolicy, RetentionPolicy, Stream},
    },
};
use damocles_client::{
    connect::Link,
    jetstream::{JetStreamError, PATIENCE, gone, is_missing, present},
};
use shared_msgs::subject::Prefix;
use tokio::{sync::watch, time::timeout};
use tracing::{info, warn};

use super::connection::AtEachConnection;

// Half of what the development server grants to all streams: about two million events.
const EVENTS_MAX_BYTES: i64 = 1 << 30;
const EVENTS_MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
const RETRY: Duration = Duration::from_secs(30);

/// Sees to it that the stream of events is there, and stays there. Nothing else depends on it.
pub(crate) async fn keep_events(client: &Client, prefix: &Prefix, link: watch::Receiver<Link>) {
    let rounds = AtEachConnection {
        trouble: "no events are kept, trying again",
        without_jetstream: None,
        retry: RETRY,
    };
    rounds
        .run(link, async |trouble| {
            let jetstream = jetstream::new(client.clone());
            present(&jetstream).await?;
            loop {
                let stream = ensure(&jetstream, events(prefix)).await?;
                trouble.is_over();
                let why = gone(&jetstream, &stream).await;
                warn!("stream {} {why}", prefix.events_stream());
            }
        })
        .await;
}

/// The stream as it is, created if it is missing.
pub(crate) async fn ensure(
    jetstream: &jetstream::Context,
    wanted: Config,
) -> Result<Stream, JetStreamError> {
    // While its servers have no leader, nobody answers.
    let silent = JetStreamError::Failed(format!("nobody answers for stream {}", wanted.name));
    timeout(PATIENCE, find_or_create(jetstream, wanted)).await.unwrap_or(Err(silent))
}

async fn find_or_create(
    jetstream: &jetstream::Context,
    wanted: Config,
) -> Result<Stream, JetStreamError> {
    match jetstream.get_stream(&wanted.name).await {
        Ok(stream) => {
            say(&wanted.name, &differences(&wanted, &stream.cached_info().config));
            Ok(stream)
        }
        Err(error) if is_missing(&error.kind()) => {
            let name = wanted.name.clone();
            match jetstream.create_stream(wanted).await {
                Ok(stream) => {
                    info!(stream = name, "created a stream");
                    Ok(stream)
                }
                Err(error) if is_out_of_storage(&error.kind()) => {
                    Err(JetStreamError::Failed(format!(
                        "the server grants no storage for stream {name} ({error}): give it more (max_file_store), or create the stream with less"
                    )))
                }
                Err(error) => Err(JetStreamError::failed(&format!("create stream {name}"), error)),
            }
        }
        Err(error) => Err(JetStreamError::failed(&format!("read stream {}", wanted.name), error)),
    }
}

/// Says what is not as a manager makes it.
pub(crate) fn say(stream: &str, differences: &[String]) {
    for difference in differences {
        warn!(stream, "this stream is not as a manager makes it and is left alone: {difference}");
    }
}

fn is_out_of_storage(kind: &CreateStreamErrorKind) -> bool {
    let refused = [ErrorCode::INSUFFICIENT_RESOURCES, ErrorCode::STORAGE_RESOURCES_EXCEEDED];
    matches!(kind, CreateStreamErrorKind::JetStream(error) if refused.contains(&error.error_code()))
}

// The oldest events go first when one of the limits is reached.
fn events(prefix: &Prefix) -> Config {
    Config {
        name: prefix.events_stream(),
        description: Some("what happened to each worker".into()),
        subjects: vec![prefix.events_of_all()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_age: EVENTS_MAX_AGE,
        max_bytes: EVENTS_MAX_BYTES,
        allow_direct: true,
        num_replicas: 1,
        ..Config::default()
    }
}

// What of an existing stream makes it work otherwise than the wanted one. Replicas, limits and
// placement are the operator's.
fn differences(wanted: &Config, existing: &Config) -> Vec<String> {
    let transform = |config: &Config| {
        config.subject_transform.as_ref().map(|t| format!("{} -> {}", t.source, t.destination))
    };
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
    compare(
        "subject_transform",
        format!("{:?}", transform(wanted)),
        format!("{:?}", transform(existing)),
    );
    let mut compare =
        |what: &str, of: fn(&Config) -> String| compare(what, of(wanted), of(existing));
    compare("retention", |config| format!("{:?}", config.retention));
    compare("discard", |config| format!("{:?}", config.discard));
    // Where there is no limit, a server says -1 for the 0 that it was told.
    compare("max_msgs_per_subject", |config| config.max_messages_per_subject.max(0).to_string());
    compare("allow_rollup_hdrs", |config| config.allow_rollup.to_string());
    compare("allow_direct", |config| config.allow_direct.to_string());
    compare("deny_purge", |config| config.deny_purge.to_string());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_all_workers_are_kept_within_limits() {
        let config = events(&Prefix::default());
        assert_eq!(
            (config.name.as_str(), config.subjects.as_slice()),
            ("DAMOCLES_EVENTS", ["damocles.v1.event.>".to_owned()].as_slice())
        );
        assert_eq!(
            (config.retention, config.discard),
            (RetentionPolicy::Limits, DiscardPolicy::Old)
        );
        assert!(config.max_bytes > 0 && !config.max_age.is_zero() && config.allow_direct);
    }

    #[test]
    fn what_differs_is_named_and_what_is_the_operators_is_not() {
        let wanted = super::super::bucket::config(&Prefix::default());
        let mut existing = Config {
            num_replicas: 3,
            max_bytes: 1 << 30,
            max_age: Duration::from_secs(60),
            ..wanted.clone()
        };
        existing.subjects.reverse();
        let unlimited = events(&Prefix::default());
        assert_eq!(
            differences(&unlimited, &Config { max_messages_per_subject: -1, ..unlimited.clone() }),
            Vec::<String>::new()
        );
        assert_eq!(differences(&wanted, &existing), Vec::<String>::new());
        existing.subject_transform = None;
        existing.max_messages_per_subject = 64;
        existing.allow_direct = false;
        existing.retention = RetentionPolicy::Interest;
        let found = differences(&wanted, &existing).join("; ");
        for part in [
            "subject_transform is None, expected Some",
            "max_msgs_per_subject is 64, expected 1",
            "allow_direct is false",
            "retention is Interest, expected Limits",
        ] {
            assert!(found.contains(part), "{found}");
        }
    }
}
