//! What a sidecar makes of a list (pure): what each thread shows, what has happened to it since the
//! last one, and whether the worker was restarted in between.
//!
//! Everything in a list comes from whoever answers on that port: texts are bounded where they are
//! read, and made printable here.

use damocles_wire::worker::{ThreadState, WorkerInfo};
use serde::{Deserialize, Serialize};
use shared_msgs::{
    event::{Event, EventKind},
    plan::{Plan, State},
    snapshot::{MAX_LAST_ERR_BYTES, PausedBy},
    text::{cut_text, printable, printable_lines},
};

/// Between two jobs damocles shows no state, and ours shows this.
const EMPTY: &str = "Empty";

/// A thread as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What its revision stands for.
    pub(crate) shown: Shown,
    /// Its plan, if it is said and known.
    pub(crate) plan: Option<Plan>,
    pub(crate) at: At,
    pub(crate) does: ThreadState,
}

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// It has not begun yet.
    Start,
    /// In the wait between two jobs: what it does next looks for a pause first.
    BetweenJobs,
    /// It asks for a job, again and again.
    Asking,
    /// It has a job, in that state; `None` if its plan or the state is not known.
    Job(Option<State>),
}

/// What is said of a thread for longer than a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) location: String,
    /// Name of its plan; empty if it is not said.
    pub(crate) plan: String,
    pub(crate) job: Option<String>,
    pub(crate) state: String,
    pub(crate) stage: Option<String>,
    pub(crate) paused: Option<PausedBy>,
    pub(crate) last_err: Option<String>,
}

impl Seen {
    pub(crate) fn of(info: &WorkerInfo) -> Seen {
        let plan: Option<Plan> = info.plan.as_deref().and_then(|name| name.parse().ok());
        let at = match info.job_state.as_str() {
            "" if info.plan.as_deref() == Some("") || info.job_stage.is_none() => At::Start,
            "" => At::BetweenJobs,
            // The name of the sector that was dropped by going here may still be shown.
            EMPTY => At::Asking,
            name => At::Job(plan_of(plan, name).and_then(|plan| plan.state_named(name))),
        };
        // Before v0.9 the wait between two jobs has no stage either.
        let at = match (at, &info.thread_state) {
            (At::Start, ThreadState::NotPaused) if info.plan.as_deref() != Some("") => {
                At::BetweenJobs
            }
            (at, _) => at,
        };
        let in_hand = matches!(at, At::Job(_));
        let last_err = info.last_error.as_deref().map(printable_lines);
        // An operator's pause leaves no error, and a resume takes one away.
        let by = if last_err.is_some() { PausedBy::Error } else { PausedBy::Operator };
        let paused = info.thread_state.is_paused().then_some(by);
        let known_stage = match (plan, at) {
            (Some(plan), At::Job(Some(state))) => plan.stage(state).map(|stage| stage.name()),
            _ => None,
        };
        let said = || info.job_stage.as_deref().filter(|stage| !matches!(*stage, "" | "-"));
        let stage = in_hand.then(|| known_stage.or_else(said).map(printable)).flatten();
        Seen {
            shown: Shown {
                location: printable(&info.location),
                plan: printable(info.plan.as_deref().unwrap_or_default()),
                job: info.job_id.as_deref().filter(|_| in_hand).map(printable),
                state: if in_hand { printable(&info.job_state) } else { EMPTY.to_owned() },
                stage,
                paused,
                last_err: last_err.map(|text| cut_text(&text, MAX_LAST_ERR_BYTES)),
            },
            plan,
            at,
            does: info.thread_state.clone(),
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.does.is_paused()
    }

    /// Whether the thread is in the same place of the same job, and does the same there.
    pub(crate) fn stands_as(&self, before: &Seen) -> bool {
        self.shown == before.shown
            && self.at == before.at
            && std::mem::discriminant(&self.does) == std::mem::discriminant(&before.does)
    }

    /// For how long it has been paused.
    pub(crate) fn paused_secs(&self) -> Option<u64> {
        match self.does {
            ThreadState::Paused { elapsed } => Some(elapsed),
            _ => None,
        }
    }
}

// Before v0.5 the plan is not said; then the state says it if only one plan has it.
fn plan_of(said: Option<Plan>, state: &str) -> Option<Plan> {
    said.or_else(|| {
        let mut having = [Plan::Sealer, Plan::Snapup]
            .into_iter()
            .filter(|plan| plan.state_named(state).is_some());
        having.next().filter(|_| having.next().is_none())
    })
}

/// What has happened to a thread from one list to the next, in the order in which it can have.
pub(crate) fn happened(
    index: usize,
    before: &Shown,
    after: &Shown,
    revision: u64,
    at: u64,
) -> Vec<Event> {
    let event = |kind, state: &Shown| Event {
        index: Some(index as u32),
        sector_id: after.job.clone().or_else(|| before.job.clone()),
        from: Some(state.state.clone()),
        revision: Some(revision),
        ..Event::new(kind, at)
    };
    let mut events = vec![];
    if (&before.state, &before.job) != (&after.state, &after.job) {
        let to = Some(after.state.clone());
        events.push(Event { to, ..event(EventKind::Transition, before) });
    }
    let paused = before.paused != after.paused || before.last_err != after.last_err;
    match (after.paused, &after.last_err) {
        (Some(_), Some(error)) if paused => {
            events.push(Event { error: Some(error.clone()), ..event(EventKind::Failure, after) });
        }
        (Some(_), None) if paused => events.push(event(EventKind::Paused, after)),
        _ => {}
    }
    events
}

/// Why the worker must have been restarted between two lists; `None` if nothing says so. Nothing
/// in them says so outright.
pub(crate) fn restarted(
    before: &[Seen],
    after: &[Seen],
    refused_between: bool,
) -> Option<&'static str> {
    let location = |seen: &Seen| seen.shown.location.clone();
    if refused_between {
        return Some("it could not be reached in between");
    }
    if !before.iter().map(location).eq(after.iter().map(location)) {
        return Some("its threads are others");
    }
    before
        .iter()
        .zip(after)
        .any(|(before, after)| went_backwards(before, after))
        .then_some("a stage that runs began anew")
}

// A wait of a minute lies between a failure and the next try, so one list cannot miss it. The time
// of a thread that waits begins anew with each thing it waits for, and that of a paused one when
// somebody resumes it: they tell nothing.
fn went_backwards(before: &Seen, after: &Seen) -> bool {
    match (&before.does, &after.does) {
        (
            ThreadState::Running { elapsed: was, proc: old },
            ThreadState::Running { elapsed: is, proc: new },
        ) => is < was && before.shown == after.shown && !(old.is_none() && new.is_some()),
        _ => false,
    }
}
