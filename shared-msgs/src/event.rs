//! What happened to a worker and its threads: one [`Event`] each, kept in the stream of events,
//! exactly once.
//!
//! An event is written in the transaction that makes it true, and published from there when the bus
//! can be reached. So `at` is when it happened, not when it was stored.

use serde::{Deserialize, Serialize};

use crate::{
    command::{Outcome, Verb},
    id::Id,
};

/// One thing that happened. The worker is the subject's: `<p>.v1.event.<w>.<kind>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Names the event for good: one that was stored twice is recognised by it.
    pub id: EventId,
    /// When, Unix milliseconds by the worker's clock.
    #[serde(default)]
    pub at: u64,
    /// The kind decides which of the other fields are there.
    #[serde(default)]
    pub kind: EventKind,
    /// The lease under which it was published, see [`crate::lease`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The process that published it.
    #[serde(default = "nil")]
    pub instance_id: Id,
    /// The thread; absent for what happened to the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// The sector in hand, `s-t0<miner>-<number>`, or the id of a window-PoSt job; absent if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sector_id: Option<String>,
    /// The state that the thread was in; absent for what happened to the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The state that the thread is in then; absent where it did not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The thread's revision after that, by which events are compared with snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// What failed, with its level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What a command did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Who gave the command, and from where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What the operating system or the parser says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The id of the command that did it, as its sender drew it; absent where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Id>,
    /// How many events were given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
}

fn nil() -> Id {
    Id::NIL
}

/// An event's identity. Under one `store` the numbers rise from 1 without gaps, apart from what
/// [`EventKind::EventsDropped`] says is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventId {
    /// One opening of one thread's store.
    pub store: Id,
    /// Counts from 1.
    pub n: u64,
}

/// What happened; in the subject as its name in snake case.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr,
)]
#[serde(from = "String", into = "&'static str")]
#[strum(serialize_all = "snake_case")]
pub enum EventKind {
    /// A thread went from one state to another.
    Transition,
    /// A stage failed, and the thread tries again or pauses.
    Failure,
    /// A pending pause took effect.
    Paused,
    /// A thread carried out a command; the kind's name is the verb's.
    #[strum(transparent)]
    Command(Verb),
    /// The worker's process began.
    WorkerStarted,
    /// The worker's process was asked to end, and did.
    WorkerStopped,
    /// The bus was away for so long that the oldest events were given up.
    EventsDropped,
    /// Something that a newer version knows.
    #[default]
    Other,
}

impl EventKind {
    // Those that no verb names.
    const OWN: [EventKind; 6] = [
        EventKind::Transition,
        EventKind::Failure,
        EventKind::Paused,
        EventKind::WorkerStarted,
        EventKind::WorkerStopped,
        EventKind::EventsDropped,
    ];

    /// Its name, as in subjects.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl From<String> for EventKind {
    fn from(name: String) -> Self {
        let command = Verb::named(&name).map(EventKind::Command);
        command
            .or_else(|| EventKind::OWN.iter().copied().find(|kind| kind.name() == name))
            .unwrap_or_default()
    }
}

impl Event {
    /// An event with nothing but its kind; whoever keeps it gives it its id.
    pub fn new(kind: EventKind, at: u64) -> Self {
        Event {
            id: EventId { store: Id::NIL, n: 0 },
            at,
            kind,
            epoch: None,
            instance_id: Id::NIL,
            index: None,
            sector_id: None,
            from: None,
            to: None,
            revision: None,
            error: None,
            outcome: None,
            by: None,
            reason: None,
            request_id: None,
            dropped: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_of_an_event_is_pinned() {
        let event = Event {
            id: EventId { store: Id::NIL, n: 7 },
            epoch: Some(3),
            index: Some(0),
            sector_id: Some("s-t010000-2".into()),
            from: Some("C1Done".into()),
            to: Some("TreeDBuilt".into()),
            revision: Some(15),
            outcome: Some(Outcome::Resumed { from: "C1Done".into(), to: "TreeDBuilt".into() }),
            by: Some("alice@h".into()),
            reason: Some("parameters are there".into()),
            request_id: Some(Id::NIL),
            ..Event::new(EventKind::Command(Verb::Resume), 5)
        };
        let expected = json!({
            "id": {"store": Id::NIL, "n": 7}, "at": 5, "kind": "resume", "epoch": 3, "instance_id": Id::NIL, "index": 0,
            "sector_id": "s-t010000-2", "from": "C1Done", "to": "TreeDBuilt", "revision": 15,
            "outcome": {"kind": "resumed", "from": "C1Done", "to": "TreeDBuilt"},
            "by": "alice@h", "reason": "parameters are there", "request_id": Id::NIL,
        });
        assert_eq!(serde_json::to_value(&event).unwrap(), expected);
        assert_eq!(serde_json::from_value::<Event>(expected).unwrap(), event);
    }

    #[test]
    fn kinds_are_named_alike_in_payloads_and_subjects_and_newer_ones_decode() {
        let commands = Verb::ALL.iter().map(|verb| EventKind::Command(*verb));
        for kind in EventKind::OWN.into_iter().chain(commands) {
            let written = serde_json::to_value(kind).unwrap();
            assert_eq!(written, kind.name());
            assert_eq!(serde_json::from_value::<EventKind>(written).unwrap(), kind);
        }
        let newer: Event = serde_json::from_value(
            json!({"id": {"store": Id::NIL, "n": 1}, "kind": "eclipse", "moon": 1}),
        )
        .unwrap();
        assert_eq!(newer.kind, EventKind::Other);
    }
}
