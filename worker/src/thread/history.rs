//! What a change of a thread's record is in its history.

use shared_msgs::{
    command::{CommandRequest, Outcome, Verb},
    event::{Event, EventKind},
};

use crate::{failure::Failure, store::record::Record};

/// The thread's index, and its record before and after a change.
#[derive(Clone, Copy)]
pub(crate) struct Changed<'a> {
    pub index: u32,
    pub before: &'a Record,
    pub after: &'a Record,
    /// When it changed, Unix milliseconds.
    pub at: u64,
}

impl Changed<'_> {
    fn event(&self, kind: EventKind) -> Event {
        let Changed { index, before, after, at } = *self;
        let moved = before.state != after.state;
        Event {
            index: Some(index),
            sector_id: after.job_name().or(before.job_name()),
            from: Some(before.state.name().to_owned()),
            to: moved.then(|| after.state.name().to_owned()),
            revision: Some(after.revision),
            ..Event::new(kind, at)
        }
    }

    /// A step led to another state.
    pub(crate) fn transition(&self) -> Vec<Event> {
        let (to, reason) = (Some(self.after.state.name().to_owned()), self.reason_of_end());
        self.with_pause(Event { to, reason, ..self.event(EventKind::Transition) })
    }

    // Why a job ended without being finished.
    fn reason_of_end(&self) -> Option<String> {
        let (Some(job), None) = (&self.before.job, &self.after.job) else { return None };
        let let_go = self.before.let_go.as_ref().map(|let_go| let_go.reason.as_str());
        let_go.or(job.abort_reason()).map(ToOwned::to_owned)
    }

    /// A step failed; a pause that follows from it is an event of its own.
    pub(crate) fn failure(&self, failure: &Failure) -> Vec<Event> {
        let failed = Event {
            error: self.after.last_err.clone().or(Some(failure.to_string())),
            ..self.event(EventKind::Failure)
        };
        self.with_pause(failed)
    }

    /// A pause that was pending has taken effect.
    pub(crate) fn pause(&self) -> Vec<Event> {
        if !self.pause_took_effect() {
            return vec![];
        }
        // What led to the state has an event of its own.
        vec![Changed { before: self.after, ..*self }.event(EventKind::Paused)]
    }

    /// A command was carried out.
    pub(crate) fn command(
        &self,
        verb: Verb,
        request: &CommandRequest,
        outcome: &Outcome,
    ) -> Vec<Event> {
        let kind = EventKind::Command(verb);
        let CommandRequest { by, reason, request_id, .. } = request.clone();
        vec![Event { outcome: Some(outcome.clone()), by, reason, request_id, ..self.event(kind) }]
    }

    // In the order in which it happened.
    fn with_pause(&self, first: Event) -> Vec<Event> {
        [vec![first], self.pause()].concat()
    }

    fn pause_took_effect(&self) -> bool {
        self.before.is_pause_pending() && self.after.is_paused()
    }
}
