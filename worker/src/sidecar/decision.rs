//! What a command means for a thread of a damocles-worker (pure), and what keeps it from doing
//! there what its giver does not want: that worker takes any text for a state, and many of them end
//! the sector.

use shared_msgs::{
    command::{CommandRequest, Outcome, Verb},
    error::ErrorKind,
    plan::{Plan, State},
    snapshot::PausedBy,
};

use super::{
    kept::{InBox, Kept},
    mirror::{At, Seen},
};

const HELD: &str = "it is held back: damocles-worker would throw away what the thread does at the moment; it is sent as soon as nothing can be lost";
const IN_BOX: &str = "damocles-worker has it, and takes it before its next step";

/// What a command leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) act: Act,
    /// What its giver is told; of what is sent, if it goes as it should.
    pub(crate) outcome: Outcome,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It is so already.
    Nothing,
    /// The pause in force is the operator's now.
    TakeOver,
    /// A pause is wanted, and sent at the right moment.
    Hold,
    /// The pause that was held is not wanted any more.
    TakeBack,
    /// The thread goes on, in another state if one is named.
    Resume(Option<State>),
    Cordon,
    Uncordon,
    /// The cordon has paused the thread between two jobs.
    UncordonAndResume,
}

/// What a command means. `may_send`: a pause that is sent now takes nothing away; `status` is the
/// thread's in one word, for a refusal.
pub(crate) fn decide(
    kept: &Kept,
    seen: &Seen,
    verb: Verb,
    request: &CommandRequest,
    may_send: bool,
    status: &str,
) -> Result<Decision, ErrorKind> {
    match request.if_revision {
        Some(expected) if expected != kept.revision => {
            return Err(ErrorKind::RevisionMismatch { expected, actual: kept.revision });
        }
        _ => {}
    }
    let (act, outcome) = match verb {
        Verb::Pause => pause(kept, seen, request.now, may_send)?,
        Verb::Resume => resume(kept, seen, request, status)?,
        Verb::Cordon if kept.cordoned => (Act::Nothing, Outcome::AlreadyCordoned),
        Verb::Cordon => (Act::Cordon, Outcome::Cordoned),
        Verb::Uncordon if !kept.cordoned => (Act::Nothing, Outcome::NotCordoned),
        Verb::Uncordon if kept.for_cordon => (Act::UncordonAndResume, Outcome::Uncordoned),
        Verb::Uncordon => (Act::Uncordon, Outcome::Uncordoned),
    };
    Ok(Decision { act, outcome })
}

/// What the giver of a pause is told, as the thread is seen afterwards.
pub(crate) fn outcome_of_pause(kept: &Kept, seen: &Seen) -> Outcome {
    if seen.is_paused() {
        return Outcome::Paused;
    }
    let stage = seen.shown.stage.clone().unwrap_or_else(|| seen.shown.state.clone());
    let why = if kept.held { HELD } else { IN_BOX };
    Outcome::PausePending { stage, why: Some(why.into()) }
}

fn pause(kept: &Kept, seen: &Seen, now: bool, may_send: bool) -> Result<(Act, Outcome), ErrorKind> {
    // A pause that is sent to a paused thread stays in its box, and undoes the next resume.
    if seen.is_paused() {
        return Ok((Act::TakeOver, Outcome::AlreadyPaused));
    }
    if now {
        return Err(not_supported(
            "pause --now",
            "a stage that runs in damocles-worker cannot be stopped; without --now the pause is held until nothing can be lost",
        ));
    }
    let held = Kept { held: true, ..kept.clone() };
    match kept.in_box {
        InBox::Pause => Ok((Act::TakeOver, outcome_of_pause(kept, seen))),
        _ if kept.held => Ok((Act::Nothing, outcome_of_pause(kept, seen))),
        _ if may_send => Ok((Act::Hold, Outcome::Paused)),
        _ => Ok((Act::Hold, outcome_of_pause(&held, seen))),
    }
}

fn resume(
    kept: &Kept,
    seen: &Seen,
    request: &CommandRequest,
    status: &str,
) -> Result<(Act, Outcome), ErrorKind> {
    let target = request.state.as_deref().map(|name| named_state(seen, name)).transpose()?;
    let from = seen.shown.state.clone();
    let resumed =
        |act: Act, to: &str| (act, Outcome::Resumed { from: from.clone(), to: to.into() });
    if let Some(resuming) = &kept.resuming
        && request.request_id == Some(resuming.request_id)
        && !(seen.is_paused() && from == resuming.from)
    {
        let (from, to) = (resuming.from.clone(), resuming.to.clone());
        return Ok((Act::Nothing, Outcome::Resumed { from, to }));
    }
    if !seen.is_paused() {
        return match (kept.in_box, kept.held, target) {
            (InBox::Pause, ..) if !kept.resume_next => Err(not_supported(
                "taking back a pause that was sent",
                "damocles-worker has it, and takes it before its next step; resume the thread when it is paused",
            )),
            (_, true, None) => Ok((Act::TakeBack, Outcome::PauseWithdrawn)),
            _ => Err(ErrorKind::NotPaused { status: status.to_owned() }),
        };
    }
    let has_job = matches!(seen.at, At::Job(_));
    if kept.cordoned && !has_job && seen.shown.paused == Some(PausedBy::Operator) {
        return Err(not_supported(
            "resuming a cordoned thread between two jobs",
            "damocles-worker knows no cordon: this pause is what keeps the thread from its next job; uncordon it",
        ));
    }
    let Some(target) = target else {
        return go_on_where_it_is(kept, seen).map(|()| resumed(Act::Resume(None), &from));
    };
    let gives_up = matches!(target, State::Empty | State::Aborted);
    if !has_job {
        return match gives_up {
            true => Ok(resumed(Act::Resume(None), &from)),
            false => Err(unreachable(target, "sector")),
        };
    }
    // There it is an error, and the thread pauses again.
    if seen.at == At::Job(Some(target)) {
        return go_on_where_it_is(kept, seen).map(|()| resumed(Act::Resume(None), &from));
    }
    if gives_up {
        // `Empty` drops the sector without a word, and leaves its files.
        return Ok(resumed(Act::Resume(Some(State::Aborted)), State::Aborted.name()));
    }
    harmless(seen, target)?;
    Ok(resumed(Act::Resume(Some(target)), target.name()))
}

// A state of another plan, and one that is none, would end the sector, or do nothing and say it did.
fn named_state(seen: &Seen, name: &str) -> Result<State, ErrorKind> {
    let Some(plan) = seen.plan else {
        return match name {
            "Empty" | "Aborted" => Ok(State::Aborted),
            _ => Err(not_supported(
                "resuming in another state",
                "this damocles-worker does not say which plan the thread has, and a state of another plan ends the sector there; without --state it goes on where it is",
            )),
        };
    };
    plan.state_named(name).ok_or_else(|| ErrorKind::InvalidState {
        given: name.chars().take(64).collect(),
        plan: plan.name().to_owned(),
        allowed: plan.rows().iter().map(|row| row.state.name().to_owned()).collect(),
    })
}

// PC2 encodes the replica in place: done twice, the sector can never be proven.
fn go_on_where_it_is(kept: &Kept, seen: &Seen) -> Result<(), ErrorKind> {
    let thrown_away = kept.pc2_ran && seen.shown.paused == Some(PausedBy::Operator);
    if seen.at == At::Job(Some(State::Pc1Done)) && thrown_away {
        return Err(not_supported(
            "going on from PC1Done",
            "a pause has thrown away what PC2 had done, and doing it again would destroy the sector; --state TicketAssigned begins PC1 anew",
        ));
    }
    Ok(())
}

// Jumps after which damocles-worker gives the sector up, destroys it, or does not do what was asked.
fn harmless(seen: &Seen, target: State) -> Result<(), ErrorKind> {
    let has_proof = seen.at == At::Job(Some(State::ProofSubmitted));
    let why = match target {
        State::Finished => {
            "damocles-worker reports any sector as finalized then and cleans its store, proven or not"
        }
        State::C2Done if !has_proof => {
            "the sector may have no proof yet, and then damocles-worker gives it up and removes its files; C1Done makes the proof"
        }
        State::ProofSubmitted => {
            "damocles-worker asks the chain for a proof that it has not handed in, and pauses; C2Done hands it in"
        }
        State::SyntheticPoRepNeeded => {
            "only a synthetic sector has that state, and damocles-worker does not say whether this is one: any other goes round in retries"
        }
        State::Pc1Done => {
            "PC2 encodes the replica in place, and a second time would destroy the sector; TicketAssigned begins PC1 anew"
        }
        State::Generated if seen.plan == Some(Plan::Wdpost) => {
            "damocles-worker goes on in the old state then, and says that it did as told"
        }
        _ => return Ok(()),
    };
    Err(not_supported(&format!("resuming in state {target}"), why))
}

fn unreachable(target: State, missing: &str) -> ErrorKind {
    ErrorKind::StateUnreachable { state: target.name().to_owned(), missing: vec![missing.into()] }
}

fn not_supported(what: &str, why: &str) -> ErrorKind {
    ErrorKind::NotSupported { what: what.to_owned(), why: why.to_owned() }
}

/// What a list says of a resume that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// The thread goes on, or went on and failed.
    WentOn,
    /// It is paused again at once, without an error: a pause was in its box, and the state that the
    /// resume carried is lost.
    Undone,
    /// Nothing to be seen yet.
    NotYet,
}

/// What a list says of a resume, taken after it; `before` is the thread as it was paused. At the
/// `last` look something is made of it.
pub(crate) fn followed(before: &Seen, after: &Seen, last: bool) -> Followed {
    let (Some(was), Some(is)) = (before.paused_secs(), after.paused_secs()) else {
        return Followed::WentOn;
    };
    let (error_before, error) = (&before.shown.last_err, &after.shown.last_err);
    let moved = before.shown.state != after.shown.state || before.shown.job != after.shown.job;
    match error {
        _ if moved => Followed::WentOn,
        // A resume takes the error away.
        None if error_before.is_some() || is < was => Followed::Undone,
        None if last && is <= 1 => Followed::Undone,
        Some(_) if error != error_before || is < was => Followed::WentOn,
        _ if last => Followed::WentOn,
        _ => Followed::NotYet,
    }
}
