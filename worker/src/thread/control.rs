//! The control policy of one thread: what a pause or resume means for a record. Pure: no clock, no
//! bus, no async.
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
//! A decision is made first and applied then, so that a refusal changes nothing. Beside it all, a
//! thread can be cordoned: it finishes what it has in hand and takes nothing new.

use shared_msgs::{
    command::{CommandRequest, Outcome, Verb},
    error::ErrorKind,
    id::Id,
    plan::{Plan, State},
    snapshot::PausedBy,
};

use crate::{
    activity::Doing,
    failure::{Failure, Level},
    plan::inputs,
    store::record::{GivenUpBy, LetGo, Paused, Record},
};

/// What a command leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Pause now.
    Pause,
    /// Pause when the stage ends.
    PauseAfterStage,
    /// A pause is pending already.
    StillPending,
    /// Paused already; the pause becomes the operator's.
    TakeOver,
    /// Take a pending pause back.
    Withdraw,
    /// Go on from this state.
    GoOn(State),
    /// Give the sector up.
    GiveUp,
    /// Take nothing new.
    Cordon,
    /// It does not already.
    StayCordoned,
    /// Take new work again.
    Uncordon,
    /// It does already.
    StayUncordoned,
}

/// What a command means for the thread; `status` is its status in one word, for a refusal.
pub(crate) fn decide(
    record: &Record,
    verb: Verb,
    request: &CommandRequest,
    doing: Doing,
    status: &str,
) -> Result<Decision, ErrorKind> {
    check_revision(record, request.if_revision)?;
    match verb {
        Verb::Pause => Ok(decide_pause(record, doing)),
        Verb::Resume => decide_resume(record, request.state.as_deref(), status),
        Verb::Cordon if record.cordoned => Ok(Decision::StayCordoned),
        Verb::Cordon => Ok(Decision::Cordon),
        Verb::Uncordon if record.cordoned => Ok(Decision::Uncordon),
        Verb::Uncordon => Ok(Decision::StayUncordoned),
    }
}

fn decide_pause(record: &Record, doing: Doing) -> Decision {
    match (record.paused, record.pause_pending, doing) {
        (Some(_), ..) => Decision::TakeOver,
        (None, true, _) => Decision::StillPending,
        (None, false, Doing::Waiting) => Decision::Pause,
        (None, false, Doing::InStage) => Decision::PauseAfterStage,
    }
}

fn decide_resume(
    record: &Record,
    state: Option<&str>,
    status: &str,
) -> Result<Decision, ErrorKind> {
    let target = state.map(|name| named_state(record, name)).transpose()?;
    match (record.paused, target) {
        (None, None) if record.pause_pending => Ok(Decision::Withdraw),
        (None, _) => Err(ErrorKind::NotPaused { status: status.to_owned() }),
        (Some(_), None) => Ok(Decision::GoOn(record.state)),
        (Some(_), Some(target)) => reachable(record, target),
    }
}

fn check_revision(record: &Record, if_revision: Option<u64>) -> Result<(), ErrorKind> {
    match if_revision {
        Some(expected) if expected != record.revision => {
            Err(ErrorKind::RevisionMismatch { expected, actual: record.revision })
        }
        _ => Ok(()),
    }
}

fn named_state(record: &Record, name: &str) -> Result<State, ErrorKind> {
    record.plan.state_named(name).ok_or_else(|| ErrorKind::InvalidState {
        given: name.chars().take(64).collect(),
        plan: record.plan.name().to_owned(),
        allowed: record.plan.rows().iter().map(|row| row.state.name().to_owned()).collect(),
    })
}

fn reachable(record: &Record, target: State) -> Result<Decision, ErrorKind> {
    let missing = match record.has_job() {
        // A thread without a job has nothing to give up.
        false if matches!(target, State::Empty | State::Aborted) => {
            return Ok(Decision::GoOn(record.state));
        }
        true if record.let_go.is_some() && target != record.state => {
            vec!["files in hand any more: they are being kept aside".to_owned()]
        }
        true if matches!(target, State::Empty | State::Aborted) => return Ok(Decision::GiveUp),
        _ if target == record.state => return Ok(Decision::GoOn(target)),
        false => vec!["sector".to_owned()],
        // The sector manager may have it finished already.
        true if record.state == State::Finished => {
            vec!["way back: its end is being reported".to_owned()]
        }
        true if record.sector.as_ref().is_some_and(|sector| sector.removing) => {
            vec!["files any more".to_owned()]
        }
        true => inputs::missing(record.plan, target, record),
    };
    if missing.is_empty() {
        Ok(Decision::GoOn(target))
    } else {
        Err(ErrorKind::StateUnreachable { state: target.name().to_owned(), missing })
    }
}

/// What a decision did to a thread that was as `before`.
pub(crate) fn outcome(before: &Record, decision: &Decision) -> Outcome {
    let stage = || {
        before
            .plan
            .stage(before.state)
            .map_or_else(|| before.state.name(), |stage| stage.name())
            .to_owned()
    };
    let resumed = |to: State| Outcome::Resumed {
        from: before.state.name().to_owned(),
        to: to.name().to_owned(),
    };
    match decision {
        Decision::Pause => Outcome::Paused,
        Decision::PauseAfterStage | Decision::StillPending => {
            Outcome::PausePending { stage: stage(), why: None }
        }
        Decision::TakeOver => Outcome::AlreadyPaused,
        Decision::Withdraw => Outcome::PauseWithdrawn,
        Decision::GoOn(state) => resumed(*state),
        Decision::GiveUp => resumed(State::Aborted),
        Decision::Cordon => Outcome::Cordoned,
        Decision::StayCordoned => Outcome::AlreadyCordoned,
        Decision::Uncordon => Outcome::Uncordoned,
        Decision::StayUncordoned => Outcome::NotCordoned,
    }
}

/// Applies a decision. Returns whether the record changed, and with it the revision.
pub(crate) fn apply(
    record: &mut Record,
    decision: &Decision,
    reason: Option<&str>,
    now_ms: u64,
) -> bool {
    let before = record.clone();
    match decision {
        Decision::Pause => pause(record, PausedBy::Operator, now_ms),
        Decision::PauseAfterStage => record.pause_pending = true,
        Decision::StillPending | Decision::StayCordoned | Decision::StayUncordoned => {}
        Decision::Cordon => record.cordoned = true,
        Decision::Uncordon => record.cordoned = false,
        Decision::TakeOver => {
            if let Some(paused) = &mut record.paused {
                paused.by = PausedBy::Operator;
            }
        }
        Decision::Withdraw => record.pause_pending = false,
        Decision::GoOn(state) => {
            record.paused = None;
            record.retry = 0;
            record.deaths = 0;
            // A question that was answered with a failure, or that is another one now, is asked
            // anew; one that a pause cut off is asked again with its id, or its answer would be
            // lost.
            if *state != State::Empty && (*state != record.state || record.last_err.is_some()) {
                record.request_id = Id::generate();
            }
            record.last_err = None;
            if record.state != *state {
                take_back(record);
                inputs::forget_later(record.plan, *state, record);
                record.went_back |= !inputs::later(record.plan, *state).is_empty();
            }
            record.state = *state;
        }
        Decision::GiveUp => {
            record.paused = None;
            // What is finished is the sector itself by now, whoever has forgotten it.
            if let Some(sector) = record.sector.as_mut().filter(|_| record.state == State::Finished)
            {
                (sector.persisted, sector.persisting) = (None, None);
            }
            let why = reason.map(|why| format!(": {why}")).unwrap_or_default();
            give_up(record, GivenUpBy::Operator, &format!("by an operator{why}"));
            record.last_err = None;
        }
    }
    changed(record, &before)
}

/// What a failure does to the record. Returns the failure as it is now: a temporary one whose
/// retries are used up is permanent.
pub(crate) fn apply_failure(
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
    let pause_pending = record.pause_pending;
    record.running = None;
    record.deaths = 0;
    record.last_err = Some(shared_msgs::text::cut_text(
        &failure.to_string(),
        shared_msgs::snapshot::MAX_LAST_ERR_BYTES,
    ));
    match failure.level {
        Level::Temporary => record.retry += 1,
        Level::Permanent | Level::Critical => pause(record, PausedBy::Error, now_ms),
        Level::Abort => {
            give_up(record, GivenUpBy::SectorManager, &failure.message);
            // What an error held up is over.
            record.paused = None;
        }
        Level::Lost => {
            record.let_go = Some(LetGo { reason: failure.message.clone(), since_ms: now_ms });
            record.retry = 0;
            record.paused = None;
        }
    }
    if pause_pending {
        pause(record, PausedBy::Operator, now_ms);
    }
    changed(record, &before);
    failure
}

/// What a finished step does to the record, apart from its state and sector.
pub(crate) fn apply_step(record: &mut Record, now_ms: u64) {
    record.running = None;
    record.deaths = 0;
    record.retry = 0;
    record.last_err = None;
    record.went_back = false;
    record.given_up_by = None;
    record.let_go = None;
    record.request_id = Id::generate();
    record.revision += 1;
    if record.pause_pending {
        pause(record, PausedBy::Operator, now_ms);
    }
}

/// What another plan does to the record of a thread without a job.
pub(crate) fn apply_plan(record: &mut Record, plan: Plan) {
    record.plan = plan;
    // Another question than the one that may have been sent.
    record.request_id = Id::generate();
    record.revision += 1;
}

/// What a restart of the process does to the record: an operator's pause stays, a pending one takes
/// effect, an error's pause is tried once more, and a stage that the process died in three times in
/// a row pauses its thread.
pub(crate) fn apply_restart(record: &mut Record, now_ms: u64) {
    const FATAL_DEATHS: u32 = 3;
    let before = record.clone();
    let pause_pending = record.pause_pending;
    if record.paused.is_some_and(|paused| paused.by == PausedBy::Error) {
        record.paused = None;
    }
    if let Some(stage) = record.running.take() {
        record.deaths += 1;
        if record.deaths >= FATAL_DEATHS {
            record.last_err = Some(
                Failure::critical(format!("the worker died {FATAL_DEATHS} times in {stage}"))
                    .to_string(),
            );
            record.deaths = 0;
            pause(record, PausedBy::Error, now_ms);
        }
    }
    if pause_pending {
        pause(record, PausedBy::Operator, now_ms);
    }
    changed(record, &before);
}

/// What becomes of a job for which the sector manager has that verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heed {
    /// It fails with it as soon as nothing runs.
    Now,
    /// An operator holds it up: that is for after the pause.
    AfterPause,
    /// Nothing.
    Never,
}

/// Whether a verdict of the sector manager is for the thread as it stands.
pub(crate) fn heed(record: &Record, verdict: &Failure) -> Heed {
    let ends = matches!(verdict.level, Level::Abort | Level::Lost);
    match record.paused.map(|paused| paused.by) {
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

// A job that goes on is not given up any more.
fn take_back(record: &mut Record) {
    record.given_up_by = None;
    record.sector.iter_mut().for_each(|sector| sector.abort_reason = None);
    record.wdpost.iter_mut().for_each(|wdpost| wdpost.abort_reason = None);
}

fn give_up(record: &mut Record, by: GivenUpBy, reason: &str) {
    record.state = State::Aborted;
    record.given_up_by = Some(by);
    record.retry = 0;
    record.deaths = 0;
    record.running = None;
    record.request_id = Id::generate();
    if let Some(sector) = &mut record.sector {
        sector.abort_reason = Some(reason.to_owned());
    }
    if let Some(wdpost) = &mut record.wdpost {
        wdpost.abort_reason = Some(reason.to_owned());
    }
}

fn pause(record: &mut Record, by: PausedBy, now_ms: u64) {
    record.pause_pending = false;
    // Nothing runs any more, whatever was about to.
    record.running = None;
    record.paused = Some(Paused { by, since_ms: now_ms });
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
