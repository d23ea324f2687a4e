//! The control policy of one thread: what it does next, and every change of its [`Record`]. Pure:
//! no clock, no bus, no async.
//!
//! ```text
//!              pause, while it waits                 resume [state]
//!   working ---------------------------> paused ----------------------> working
//!      |  pause, in a stage                ^  ^
//!      v                                   |  | a permanent or critical failure (by: error)
//!   pause pending -------------------------+  working
//!      |   the stage ends
//!      +--> working   resume (withdrawn)
//! ```
//! The life of a record is a row of calls to this module, each of which turns a record that was
//! committed into the next one to commit:
//!
//! | what happened | function |
//! |---|---|
//! | the process starts | [`restart`] |
//! | a stage begins, goes on, or was cut off by the worker's stop | [`run`], [`stop`] |
//! | a step yielded the next state, or a note | [`move_on`], [`note`] |
//! | a step failed, or the sector manager ended the job | [`of_step()`], [`fail()`] |
//! | a command was decided ([`decide`]) | [`apply`] |
//! | the thread's own file names another plan | [`change_plan`] |
//!
//! [`next`] says what a thread does now: rest, or go on with a step. A command is decided first and
//! applied then, so that a refusal changes nothing. Beside it all, a thread can be cordoned: it
//! finishes what it has in hand and takes nothing new.
//!
//! What always holds:
//! - `revision` grows with each change that somebody outside can see, and only then.
//! - A pause of an operator outlives failures and restarts; only a resume ends it.
//! - A sector is given up by an operator, or by a failure of level abort; nothing else ends it.
//! - A request id stays while the question is the same, and is drawn anew with each other one.
//!
//! Tests: `control_tests.rs`, among them two properties over any row of events and any [`Held`].

mod decision;

use shared_msgs::{
    id::Id,
    plan::{Plan, Stage, State},
    snapshot::{MAX_LAST_ERR_BYTES, PausedBy},
    text::cut_text,
};
use tokio::time::Instant;

pub(crate) use self::decision::{Act, Decision, decide};
use crate::{
    failure::{Failure, Level},
    plan::{driver::heavy_stage, inputs},
    store::record::{Control, GivenUpBy, Job, LetGo, Paused, Record, Sector},
};

const FATAL_DEATHS: u32 = 3;

/// What holds a thread up beside its record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held<'a> {
    /// How far its store can be used.
    pub(crate) store: StoreUse,
    /// What the sector manager says of the job in hand.
    pub(crate) verdict: Option<&'a Failure>,
    /// Nothing is tried before this moment.
    pub(crate) until: Option<Instant>,
}

/// How far a thread's store can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreUse {
    /// It reads and writes.
    Works,
    /// Something waits to be written into it, or the last write is in doubt.
    Behind,
    /// It cannot be opened: nobody knows what the thread has in hand.
    Unusable,
}

/// What a thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It rests until a command comes.
    Rest,
    /// It rests until a command comes, or until then.
    RestUntil(Instant),
    /// It opens its store again.
    OpenStore,
    /// It writes down what could not be written before.
    WriteDown,
    /// Its job fails with what the sector manager says of it.
    HeedVerdict,
    /// It does the next step of its plan.
    Step,
}

/// What a thread does next.
pub(crate) fn next(record: &Record, held: Held<'_>, now: Instant) -> Next {
    let unless_held = |next| match held.until {
        Some(until) if until > now => Next::RestUntil(until),
        _ => next,
    };
    match held.store {
        StoreUse::Unusable if held.until.is_none() => Next::Rest,
        StoreUse::Unusable => unless_held(Next::OpenStore),
        // What a stage has yielded comes before what others say of the job.
        StoreUse::Behind => unless_held(Next::WriteDown),
        StoreUse::Works => match held.verdict.map(|verdict| heed(record, verdict)) {
            Some(Heed::Now) => Next::HeedVerdict,
            _ if record.is_paused() || is_cordoned_off(record) => Next::Rest,
            _ => unless_held(Next::Step),
        },
    }
}

/// Whether the thread would take a new job and must not.
pub(crate) fn is_cordoned_off(record: &Record) -> bool {
    record.cordoned && record.state == State::Empty
}

/// Does what was decided. Returns whether the record changed, and with it the revision.
pub(crate) fn apply(record: &mut Record, act: Act, reason: Option<&str>, now_ms: u64) -> bool {
    let before = record.clone();
    match act {
        Act::Pause => pause(record, PausedBy::Operator, now_ms),
        Act::PauseAfterStage => record.control = Control::PausePending,
        Act::Nothing => {}
        Act::Cordon => record.cordoned = true,
        Act::Uncordon => record.cordoned = false,
        Act::TakeOver => {
            if let Control::Paused(paused) = &mut record.control {
                paused.by = PausedBy::Operator;
            }
        }
        Act::Withdraw => record.control = Control::Working,
        Act::GoOn(state) => go_on(record, state),
        Act::GiveUp => {
            record.control = Control::Working;
            // What is finished is the sector itself by now, whoever has forgotten it.
            if let (State::Finished, Some(Job::Sector(sector))) = (record.state, &mut record.job) {
                (sector.persisted, sector.persisting) = (None, None);
            }
            let why = reason.map(|why| format!(": {why}")).unwrap_or_default();
            give_up(record, GivenUpBy::Operator, &format!("by an operator{why}"));
            record.last_err = None;
        }
    }
    changed(record, &before)
}

/// What the failure of a step is for the job. A window-PoSt job that cannot be proven here is given
/// back at once, for another worker to try: its deadline is near.
pub(crate) fn of_step(record: &Record, failure: Failure, max_retries: u32) -> Failure {
    let is_final = match failure.level {
        Level::Temporary => record.retry >= max_retries,
        Level::Permanent => true,
        Level::Abort | Level::Lost | Level::Critical => false,
    };
    match is_final && record.plan == Plan::Wdpost && record.job_name().is_some() {
        true => Failure { level: Level::Abort, ..failure },
        false => failure,
    }
}

/// What a failure does to the record. Returns the failure as it is now: a temporary one whose
/// retries are used up is permanent.
pub(crate) fn fail(
    record: &mut Record,
    failure: Failure,
    max_retries: u32,
    now_ms: u64,
) -> Failure {
    let before = record.clone();
    let failure = match failure.level {
        Level::Temporary if record.retry >= max_retries => {
            Failure { level: Level::Permanent, ..failure }
        }
        _ => failure,
    };
    record.running = None;
    record.deaths = 0;
    record.last_err = Some(cut_text(&failure.to_string(), MAX_LAST_ERR_BYTES));
    match failure.level {
        Level::Temporary => record.retry += 1,
        Level::Permanent | Level::Critical => {}
        Level::Abort => give_up(record, GivenUpBy::SectorManager, &failure.message),
        Level::Lost => {
            record.let_go = Some(LetGo { reason: failure.message.clone(), since_ms: now_ms });
            record.retry = 0;
        }
    }
    match failure.level {
        _ if record.is_pause_pending() => pause(record, PausedBy::Operator, now_ms),
        Level::Permanent | Level::Critical => pause(record, PausedBy::Error, now_ms),
        // What an error held up is over.
        Level::Abort | Level::Lost => record.control = Control::Working,
        Level::Temporary => {}
    }
    changed(record, &before);
    failure
}

/// Where a step has led.
#[derive(Clone, Debug)]
pub(crate) struct NextState {
    pub(crate) state: State,
    /// What is in hand then.
    pub(crate) job: Option<Job>,
    /// The id of the next step's request.
    pub(crate) request_id: Id,
}

/// What a step that was done does to the record.
pub(crate) fn move_on(record: &mut Record, next: NextState, now_ms: u64) {
    let NextState { state, job, request_id } = next;
    *record = Record {
        state,
        job,
        request_id,
        revision: record.revision + 1,
        running: None,
        deaths: 0,
        retry: 0,
        last_err: None,
        went_back: false,
        given_up_by: None,
        let_go: None,
        ..record.clone()
    };
    match record.control {
        // Spares the next step its own commit.
        Control::Working => record.running = heavy_stage(record.plan, state),
        Control::PausePending => pause(record, PausedBy::Operator, now_ms),
        Control::Paused(_) => {}
    }
}

/// What is going to be done with the sector's files. To everybody else nothing has changed.
pub(crate) fn note(record: &mut Record, sector: Sector) {
    record.job = Some(sector.into());
    record.retry = 0;
}

/// The stage that runs now, if one does that the process may die by; `advanced`: it has made
/// something that its next run does not make again. Returns whether that was not known.
pub(crate) fn run(record: &mut Record, stage: Option<Stage>, advanced: bool) -> bool {
    let before = (record.running, record.deaths);
    record.running = stage;
    if advanced {
        record.deaths = 0;
    }
    before != (record.running, record.deaths)
}

/// A stage that a stop cut off was no death of the process. Returns whether one was.
pub(crate) fn stop(record: &mut Record) -> bool {
    record.running.take().is_some()
}

/// What another plan does to the record of a thread without a job.
pub(crate) fn change_plan(record: &mut Record, plan: Plan) {
    record.plan = plan;
    // Another question than the one that may have been sent.
    record.request_id = Id::generate();
    record.revision += 1;
}

/// What a restart of the process does to the record: an operator's pause stays, a pending one takes
/// effect, an error's pause is tried once more, and a stage that the process died in three times in
/// a row pauses its thread.
pub(crate) fn restart(record: &mut Record, now_ms: u64) {
    let before = record.clone();
    let pause_pending = record.is_pause_pending();
    if record.paused().is_some_and(|paused| paused.by == PausedBy::Error) {
        record.control = Control::Working;
    }
    if let Some(stage) = record.running.take() {
        record.deaths += 1;
        if record.deaths >= FATAL_DEATHS {
            let failure =
                Failure::critical(format!("the worker died {FATAL_DEATHS} times in {stage}"));
            record.last_err = Some(failure.to_string());
            record.deaths = 0;
            pause(record, PausedBy::Error, now_ms);
        }
    }
    if pause_pending {
        pause(record, PausedBy::Operator, now_ms);
    }
    changed(record, &before);
}

/// The record of a thread whose store cannot be used: nobody knows its own.
pub(crate) fn unusable(plan: Plan, why: &Failure, now_ms: u64) -> Record {
    let mut record = Record::new(plan);
    record.last_err = Some(cut_text(&why.to_string(), MAX_LAST_ERR_BYTES));
    pause(&mut record, PausedBy::Error, now_ms);
    record
}

/// What becomes of a job for which the sector manager has that verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heed {
    /// It fails with it as soon as nothing runs.
    Now,
    /// An operator holds it up: that is for after the pause.
    AfterPause,
    /// The verdict changes nothing.
    Never,
}

/// Whether a verdict of the sector manager is for the thread as it stands.
pub(crate) fn heed(record: &Record, verdict: &Failure) -> Heed {
    let ends = matches!(verdict.level, Level::Abort | Level::Lost);
    match record.paused().map(|paused| paused.by) {
        // Its end is being reported, and the answer to that says more.
        _ if matches!(record.state, State::Generated | State::Finished | State::Aborted)
            || record.let_go.is_some() =>
        {
            Heed::Never
        }
        None => Heed::Now,
        Some(PausedBy::Error) if ends => Heed::Now,
        // It is paused, and would be said the same again and again.
        Some(_) if !ends => Heed::Never,
        Some(_) => Heed::AfterPause,
    }
}

fn go_on(record: &mut Record, state: State) {
    record.control = Control::Working;
    record.retry = 0;
    record.deaths = 0;
    // A question that was answered with a failure, or that is another one now, is asked anew; one
    // that a pause cut off is asked again with its id, or its answer would be lost.
    if state != State::Empty && (state != record.state || record.last_err.is_some()) {
        record.request_id = Id::generate();
    }
    record.last_err = None;
    if record.state != state {
        // A job that goes on is not given up any more.
        record.given_up_by = None;
        record.job.iter_mut().for_each(|job| job.set_abort_reason(None));
        inputs::forget_later(record.plan, state, record);
        record.went_back |= !inputs::later(record.plan, state).is_empty();
    }
    record.state = state;
}

fn give_up(record: &mut Record, by: GivenUpBy, reason: &str) {
    record.state = State::Aborted;
    record.given_up_by = Some(by);
    record.retry = 0;
    record.deaths = 0;
    record.running = None;
    record.request_id = Id::generate();
    record.job.iter_mut().for_each(|job| job.set_abort_reason(Some(reason.to_owned())));
}

fn pause(record: &mut Record, by: PausedBy, now_ms: u64) {
    // Nothing runs any more, whatever was about to.
    record.running = None;
    record.control = Control::Paused(Paused { by, since_ms: now_ms });
}

fn changed(record: &mut Record, before: &Record) -> bool {
    let changed = record != before;
    if changed {
        record.revision += 1;
    }
    changed
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
