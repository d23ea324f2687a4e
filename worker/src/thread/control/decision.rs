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
pub(crate) struct Decision {
    pub(crate) act: Act,
    /// What its giver is told.
    pub(crate) outcome: Outcome,
}

/// What is done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It is so already.
    Nothing,
    Pause,
    /// Pause when the stage ends.
    PauseAfterStage,
    /// A pause becomes the operator's.
    TakeOver,
    /// Take a pending pause back.
    Withdraw,
    GoOn(State),
    /// Give the sector up.
    GiveUp,
    /// Take nothing new.
    Cordon,
    /// Take new work again.
    Uncordon,
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
    let (act, outcome) = match verb {
        Verb::Pause => decide_pause(record, in_stage),
        Verb::Resume => decide_resume(record, request.state.as_deref(), status)?,
        Verb::Cordon if record.cordoned => (Act::Nothing, Outcome::AlreadyCordoned),
        Verb::Cordon => (Act::Cordon, Outcome::Cordoned),
        Verb::Uncordon if record.cordoned => (Act::Uncordon, Outcome::Uncordoned),
        Verb::Uncordon => (Act::Nothing, Outcome::NotCordoned),
    };
    Ok(Decision { act, outcome })
}

fn decide_pause(record: &Record, in_stage: bool) -> (Act, Outcome) {
    let pending = || {
        let stage = record.plan.stage(record.state);
        let stage = stage.map_or_else(|| record.state.name(), |stage| stage.name()).to_owned();
        Outcome::PausePending { stage, why: None }
    };
    match record.control {
        Control::Paused(_) => (Act::TakeOver, Outcome::AlreadyPaused),
        Control::PausePending => (Act::Nothing, pending()),
        Control::Working if in_stage => (Act::PauseAfterStage, pending()),
        Control::Working => (Act::Pause, Outcome::Paused),
    }
}

fn decide_resume(
    record: &Record,
    state: Option<&str>,
    status: &str,
) -> Result<(Act, Outcome), ErrorKind> {
    let target = state.map(|name| named_state(record, name)).transpose()?;
    let resumed = |act: Act| {
        let to = if let Act::GoOn(state) = act { state } else { State::Aborted };
        let (from, to) = (record.state.name().to_owned(), to.name().to_owned());
        (act, Outcome::Resumed { from, to })
    };
    match (record.control, target) {
        (Control::PausePending, None) => Ok((Act::Withdraw, Outcome::PauseWithdrawn)),
        (Control::Working | Control::PausePending, _) => {
            Err(ErrorKind::NotPaused { status: status.to_owned() })
        }
        (Control::Paused(_), None) => Ok(resumed(Act::GoOn(record.state))),
        (Control::Paused(_), Some(target)) => reachable(record, target).map(resumed),
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

fn reachable(record: &Record, target: State) -> Result<Act, ErrorKind> {
    let missing = match record.job.is_some() {
        // A thread without a job has nothing to give up.
        false if matches!(target, State::Empty | State::Aborted) => {
            return Ok(Act::GoOn(record.state));
        }
        true if record.let_go.is_some() && target != record.state => {
            vec!["files in hand any more: they are being kept aside".to_owned()]
        }
        true if matches!(target, State::Empty | State::Aborted) => return Ok(Act::GiveUp),
        _ if target == record.state => return Ok(Act::GoOn(target)),
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
        Ok(Act::GoOn(target))
    } else {
        Err(ErrorKind::StateUnreachable { state: target.name().to_owned(), missing })
    }
}
