//! What happened, in words.

use std::time::{Duration, UNIX_EPOCH};

use shared_msgs::{
    command::Verb,
    event::{Event, EventKind},
};

use crate::said::OutcomeWords;

// The last moment of the year 9999, the last one that RFC 3339 can write.
const LAST_MS: u64 = 253_402_300_799_999;

/// A worker's time (Unix milliseconds), as RFC 3339 in UTC.
pub(super) fn time(at: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at.min(LAST_MS)))
        .to_string()
}

/// What happened. `kind` is what the event's subject says, for an event that only a newer version
/// knows.
pub(super) fn what(event: &Event, kind: &str) -> String {
    match event.kind {
        EventKind::Transition => moved(event),
        EventKind::Failure => {
            let error = event.error.as_deref().unwrap_or("no reason is given");
            match event.from.as_deref().or(event.to.as_deref()) {
                Some(state) => format!("failed in {state}: {error}"),
                None => format!("failed: {error}"),
            }
        }
        EventKind::Paused => "paused, as it was told to before".into(),
        EventKind::Command(verb) => commanded(verb, event),
        EventKind::WorkerStarted => "worker started".into(),
        EventKind::WorkerStopped => "worker stopped".into(),
        EventKind::EventsDropped => match event.dropped {
            Some(1) => "1 event dropped while NATS was away".into(),
            Some(count) => format!("{count} events dropped while NATS was away"),
            None => "events dropped while NATS was away".into(),
        },
        EventKind::Other => {
            format!("{kind}: something that only a newer version of this tool can name")
        }
    }
}

fn moved(event: &Event) -> String {
    let why = event.reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
    way(event) + &why
}

fn way(event: &Event) -> String {
    match (event.from.as_deref(), event.to.as_deref()) {
        (Some(from), Some(to)) if from == to => format!("stays in {to}"),
        (Some(from), Some(to)) => format!("{from} -> {to}"),
        (None, Some(to)) => format!("-> {to}"),
        (Some(from), None) => format!("{from} ->"),
        (None, None) => "moved".into(),
    }
}

// The verb, what it did, and who gave it why.
fn commanded(verb: Verb, event: &Event) -> String {
    let mut text = verb.name().to_owned();
    if let Some(outcome) = &event.outcome {
        text += &format!(": {}", OutcomeWords::of(outcome).behind_verb);
    }
    match (event.by.as_deref(), event.reason.as_deref()) {
        (Some(by), Some(reason)) => text + &format!(", by {by}: {reason}"),
        (Some(by), None) => text + &format!(", by {by}"),
        (None, Some(reason)) => text + &format!(", because: {reason}"),
        (None, None) => text,
    }
}

#[cfg(test)]
mod tests {
    use shared_msgs::command::Outcome;

    use super::*;

    fn event(kind: EventKind) -> Event {
        Event { from: Some("C1Done".into()), to: Some("TreeDBuilt".into()), ..Event::new(kind, 0) }
    }

    fn said(event: &Event) -> String {
        what(event, "eclipse")
    }

    #[test]
    fn what_a_thread_does_and_what_stops_it() {
        assert_eq!(said(&event(EventKind::Transition)), "C1Done -> TreeDBuilt");
        let given_up = Event {
            reason: Some("by an operator: bad disk".into()),
            to: Some("Empty".into()),
            ..event(EventKind::Transition)
        };
        assert_eq!(said(&given_up), "C1Done -> Empty, by an operator: bad disk");
        let failed = Event {
            error: Some("permanent: No cached parameters".into()),
            to: None,
            ..event(EventKind::Failure)
        };
        assert_eq!(said(&failed), "failed in C1Done: permanent: No cached parameters");
        assert_eq!(said(&event(EventKind::Paused)), "paused, as it was told to before");
    }

    #[test]
    fn a_command_says_what_it_did_who_gave_it_and_why() {
        let (by, reason) = (Some("alice@h".to_owned()), Some("disk swap".to_owned()));
        let pause = Event {
            outcome: Some(Outcome::Paused),
            by,
            reason,
            ..event(EventKind::Command(Verb::Pause))
        };
        assert_eq!(said(&pause), "pause: paused, by alice@h: disk swap");
        let outcome = Some(Outcome::Resumed { from: "C1Done".into(), to: "TreeDBuilt".into() });
        let resume = Event {
            kind: EventKind::Command(Verb::Resume),
            outcome,
            reason: None,
            ..pause.clone()
        };
        assert_eq!(said(&resume), "resume: C1Done -> TreeDBuilt, by alice@h");
        let pending = Some(Outcome::PausePending { stage: "C2".into(), why: None });
        assert_eq!(
            said(&Event { outcome: pending, by: None, ..pause }),
            "pause: pending until C2 ends, because: disk swap"
        );
        assert_eq!(said(&event(EventKind::Command(Verb::Uncordon))), "uncordon");
    }

    #[test]
    fn what_happens_to_the_worker_itself() {
        assert_eq!(said(&event(EventKind::WorkerStarted)), "worker started");
        assert_eq!(said(&event(EventKind::WorkerStopped)), "worker stopped");
        let dropped = |dropped| said(&Event { dropped, ..event(EventKind::EventsDropped) });
        assert_eq!(dropped(Some(12)), "12 events dropped while NATS was away");
        assert_eq!(dropped(None), "events dropped while NATS was away");
        assert_eq!(
            said(&event(EventKind::Other)),
            "eclipse: something that only a newer version of this tool can name"
        );
    }

    #[test]
    fn times_are_utc_with_milliseconds_and_none_is_too_late() {
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
