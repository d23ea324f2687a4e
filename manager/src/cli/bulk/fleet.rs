//! Whom to expect: the workers of the state bucket that report, and whose name fits.

use std::time::Duration;

use async_nats::jetstream;
use damocles_client::{
    call::asked_again, entries::Entries, jetstream::present, nats::server_time_ms, state_bucket,
};
use damocles_terminal::note;
use serde::Deserialize;
use shared_msgs::{
    codec::decode, duration::human, name::WorkerName, selector::Selection, snapshot::WorkerStatus,
};

use super::super::session::Session;
use crate::registry::is_expired;

/// What the bucket says of a worker, as far as it matters here.
#[derive(Debug)]
pub(super) struct Stored {
    worker: WorkerName,
    status: WorkerStatus,
    ping_interval_ms: u64,
    age: Duration,
}

/// Workers whose name fits, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fleet {
    /// They report, and so are to answer.
    pub(super) expected: Vec<WorkerName>,
    /// Their last report is too old for that.
    pub(super) expired: Vec<WorkerName>,
}

impl Fleet {
    /// Those of the stored ones that are meant. Whoever was stopped is not waited for.
    pub(super) fn of(stored: Vec<Stored>, selection: &Selection) -> Fleet {
        let mut fleet = Fleet::default();
        for Stored { worker, status, ping_interval_ms, age } in stored {
            if status != WorkerStatus::Stopped && selection.fits_worker(worker.as_str()) {
                let workers = if is_expired(age, ping_interval_ms) {
                    &mut fleet.expired
                } else {
                    &mut fleet.expected
                };
                workers.push(worker);
            }
        }
        fleet.expected.sort();
        fleet.expired.sort();
        fleet
    }
}

/// Reads the bucket; the error says why that cannot be done.
pub(super) async fn read(session: &Session) -> Result<Vec<Stored>, String> {
    // The command itself has its own time, and does without.
    let patience = session.settings.timeout / 3;
    let read = asked_again(&session.client, patience, || read_all(session)).await;
    let late = || Err(format!("the workers' last states were not read within {}", human(patience)));
    let (stored, trouble) = read.unwrap_or_else(late)?;
    trouble.iter().for_each(|trouble| note(trouble));
    Ok(stored)
}

// All of them, and what is wrong with the bucket.
async fn read_all(session: &Session) -> Result<(Vec<Stored>, Option<String>), String> {
    // Only what is needed: threads are most of a snapshot.
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        status: WorkerStatus,
        #[serde(default)]
        ping_interval_ms: u64,
    }
    let (client, prefix) = (&session.client, &session.settings.prefix);
    let jetstream = jetstream::new(client.clone());
    present(&jetstream).await.map_err(|error| error.to_string())?;
    let name = prefix.state_stream();
    let unread = |what: &str, error: &dyn std::fmt::Display| {
        format!("the workers' last states cannot be read: {what}: {error}")
    };
    let stream = jetstream
        .get_stream(&name)
        .await
        .map_err(|error| unread(&format!("stream {name}"), &error))?;
    let trouble = state_bucket::trouble(prefix, &stream.cached_info().config);
    let now_ms =
        server_time_ms(client, &name).await.map_err(|error| unread("the server's time", &error))?;
    let keys = state_bucket::all_keys(prefix);
    let opened =
        Entries::open(client, &stream, keys, "whom a command for many threads expects to answer")
            .await;
    let mut entries = opened.map_err(|error| unread("bucket", &error))?;
    let mut stored = Vec::new();
    while let Some(entry) = entries.next_stored().await.map_err(|error| unread("bucket", &error))? {
        let Some(worker) =
            state_bucket::worker_of_key(prefix, &entry.subject).filter(|_| !entry.gone)
        else {
            continue;
        };
        // What cannot be read was not written by a worker.
        let Ok(Head { status, ping_interval_ms }) = decode(&entry.payload) else { continue };
        let age = Duration::from_millis(
            u64::try_from(now_ms.saturating_sub(entry.stored_ms)).unwrap_or(0),
        );
        stored.push(Stored { worker, status, ping_interval_ms, age });
    }
    Ok((stored, trouble))
}

#[cfg(test)]
mod tests {
    use shared_msgs::selector::Selector;

    use super::*;

    fn stored(worker: &str, status: WorkerStatus, age_ms: u64) -> Stored {
        Stored {
            worker: worker.parse().unwrap(),
            status,
            ping_interval_ms: 10_000,
            age: Duration::from_millis(age_ms),
        }
    }

    #[test]
    fn whoever_reports_and_fits_is_expected() {
        let selection =
            Selector { worker: vec!["w*".into()], ..Selector::default() }.compile().unwrap();
        let fleet = Fleet::of(
            vec![
                stored("w2", WorkerStatus::Running, 30_000),
                stored("w1", WorkerStatus::Stopping, 0),
                stored("w3", WorkerStatus::Running, 30_001),
                stored("w4", WorkerStatus::Stopped, 0),
                stored("x", WorkerStatus::Running, 0),
            ],
            &selection,
        );
        let names =
            |workers: &[WorkerName]| workers.iter().map(WorkerName::to_string).collect::<Vec<_>>();
        assert_eq!(
            (names(&fleet.expected), names(&fleet.expired)),
            (vec!["w1".into(), "w2".into()], vec!["w3".into()])
        );
    }
}
