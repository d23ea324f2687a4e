//! The stream of events, read as it is stored, and what has to be true of it.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{self, stream};
use shared_msgs::{
    event::{Event, EventKind},
    id::Id,
};
use tokio::time::{Instant, sleep};

use crate::{DEADLINE, bus::Bus};

const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What the stream holds.
#[derive(Clone, Debug)]
pub struct EventLog {
    bus: Bus,
    patience: Duration,
}

/// An event as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The worker's name, from the subject.
    pub worker: String,
    /// The event as the worker wrote it.
    pub event: Event,
}

impl EventLog {
    /// Makes the stream if there is none.
    pub async fn make(bus: &Bus) -> EventLog {
        let jetstream = jetstream::new(bus.client.clone());
        let (name, subjects) = (bus.prefix.events_stream(), vec![bus.prefix.events_of_all()]);
        jetstream
            .get_or_create_stream(stream::Config {
                name,
                subjects,
                allow_direct: true,
                ..stream::Config::default()
            })
            .await
            .unwrap();
        EventLog::of(bus)
    }

    /// Reads the stream that a manager makes.
    pub fn of(bus: &Bus) -> EventLog {
        EventLog { bus: bus.clone(), patience: DEADLINE }
    }

    /// Waits up to so long.
    pub fn wait_up_to(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Deletes the stream, as an operator might.
    pub async fn delete(self) {
        let jetstream = jetstream::new(self.bus.client.clone());
        assert!(jetstream.delete_stream(self.bus.prefix.events_stream()).await.unwrap().success);
    }

    /// Waits until the stored events are such that `holds` is true, and returns them all.
    pub async fn until(&self, what: &str, mut holds: impl FnMut(&[Stored]) -> bool) -> Vec<Stored> {
        let deadline = Instant::now() + self.patience;
        let mut stored = vec![];
        let mut next = 1;
        loop {
            // A server that is gone for a moment is asked again, and so is one that has nothing
            // new: nobody calls.
            if let Err(error) = self.read_on(&mut next, &mut stored).await {
                assert!(Instant::now() < deadline, "{what}: the events cannot be read: {error}");
            }
            if holds(&stored) {
                return stored;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: not within {:?}. The events:\n{}",
                self.patience,
                shown(&stored)
            );
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until so many events of a kind are stored.
    pub async fn until_kind(&self, kind: EventKind, count: usize) -> Vec<Stored> {
        let what = format!("{count} × {}", kind.name());
        self.until(&what, |stored| of_kind(stored, kind).len() >= count).await
    }

    /// Waits until what a worker does last, its end, is stored that often; by then everything
    /// before it is too.
    pub async fn until_stopped(&self, times: usize) -> Vec<Stored> {
        self.until_kind(EventKind::WorkerStopped, times).await
    }

    async fn read_on(&self, next: &mut u64, stored: &mut Vec<Stored>) -> Result<(), String> {
        let jetstream = jetstream::new(self.bus.client.clone());
        let reading = async {
            let stream = jetstream
                .get_stream(self.bus.prefix.events_stream())
                .await
                .map_err(|error| error.to_string())?;
            while *next <= stream.cached_info().state.last_sequence {
                let message =
                    stream.get_raw_message(*next).await.map_err(|error| error.to_string())?;
                let worker = self
                    .bus
                    .prefix
                    .worker_of_event(&message.subject)
                    .ok_or_else(|| message.subject.to_string())?;
                let event: Event = serde_json::from_slice(&message.payload).unwrap();
                assert!(
                    message.subject.ends_with(event.kind.name()),
                    "{} holds a {:?}",
                    message.subject,
                    event.kind
                );
                stored.push(Stored { worker: worker.to_string(), event });
                *next += 1;
            }
            Ok(())
        };
        tokio::time::timeout(Duration::from_secs(1), reading)
            .await
            .unwrap_or_else(|_| Err("no answer".into()))
    }
}

/// The events of one kind.
pub fn of_kind(stored: &[Stored], kind: EventKind) -> Vec<&Event> {
    stored.iter().map(|stored| &stored.event).filter(|event| event.kind == kind).collect()
}

/// The events of one command.
pub fn of_request(stored: &[Stored], id: Id) -> Vec<&Event> {
    stored.iter().map(|stored| &stored.event).filter(|event| event.request_id == Some(id)).collect()
}

/// Fails the test unless each event is there once, in the order in which it was written; and unless
/// the states of each thread form a chain from `Empty` on.
#[track_caller]
pub fn assert_exactly_once(stored: &[Stored]) {
    let mut numbers: HashMap<Id, u64> = HashMap::new();
    let mut threads: HashMap<(&str, u32), (&str, u64)> = HashMap::new();
    for Stored { worker, event } in stored {
        let last = numbers.entry(event.id.store).or_default();
        *last += 1;
        assert_eq!(
            event.id.n,
            *last,
            "{event:?} comes behind number {} of its store in\n{}",
            *last - 1,
            shown(stored)
        );
        let Some(index) = event.index else { continue };
        let (state, revision) = threads.entry((worker, index)).or_insert(("Empty", 0));
        assert_eq!(
            event.from.as_deref(),
            Some(*state),
            "{event:?} breaks the chain in\n{}",
            shown(stored)
        );
        let after = event.revision.unwrap_or_default();
        assert!(
            after >= *revision,
            "{event:?} comes behind revision {revision} in\n{}",
            shown(stored)
        );
        (*state, *revision) = (event.to.as_deref().unwrap_or(state), after);
    }
}

fn shown(stored: &[Stored]) -> String {
    let line = |Stored { worker, event }: &Stored| {
        let Event { id, kind, index, from, to, revision, epoch, .. } = event;
        format!(
            "{worker} {}#{} {kind:?} {index:?} {from:?} -> {to:?} revision {revision:?} epoch {epoch:?}\n",
            id.store, id.n
        )
    };
    stored.iter().map(line).collect()
}
