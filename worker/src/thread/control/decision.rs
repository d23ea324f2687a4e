//! What a command means for a thread, and what its giver is told.

use shared_msgs::{
    command::{CommandRequest, Outcome, Verb},
    error::ErrorKind,
    plan::State,
};

use crate::{
    plan::inputs,
    store::record::{Control, Record},
};

/// What a command leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
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
    GiveUp,
    Cordon,
    /// It takes nothing new already.
    StayCordoned,
    Uncordon,
    /// It takes new work already.
    StayUncordoned,
}

/// What a command means for the thread. `in_stage`: a stage runs that cannot be interrupted;
/// `status` is the thread's status in one word, for a refusal.
pub(crate) fn decide(
    record: &Record,
    verb: Verb,
    request: &CommandRequest,
    in_stage: bool,
    status: &str,
) -> Result<Decision, ErrorKind> {
    check_revision(record, request.if_revision)?;
    match verb {
        Verb::Pause => Ok(decide_pause(record, in_stage)),
        Verb::Resume => decide_resume(record, request.state.as_deref(), status),
        Verb::Cordon if record.cordoned => Ok(Decision::StayCordoned),
        Verb::Cordon => Ok(Decision::Cordon),
        Verb::Uncordon if record.cordoned => Ok(Decision::Uncordon),
        Verb::Uncordon => Ok(Decision::StayUncordoned),
    }
}

fn decide_pause(record: &Record, in_stage: bool) -> Decision {
    match record.control {
        Control::Paused(_) => Decision::TakeOver,
        Control::PausePending => Decision::StillPending,
        Control::Working if in_stage => Decision::PauseAfterStage,
        Control::Working => Decision::Pause,
    }
}

fn decide_resume(
    record: &Record,
    state: Option<&str>,
    status: &str,
) -> Result<Decision, ErrorKind> {
    let target = state.map(|name| named_state(record, name)).transpose()?;
    match (record.control, target) {
        (Control::PausePending, None) => Ok(Decision::Withdraw),
        (Control::Working | Control::PausePending, _) => {
            Err(ErrorKind::NotPaused { status: status.to_owned() })
        }
        (Control::Paused(_), None) => Ok(Decision::GoOn(record.state)),
        (Control::Paused(_), Some(target)) => reachable(record, target),
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
    let missing = match record.job.is_some() {
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
        true if record.sector().is_some_and(|sector| sector.removing) => {
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
