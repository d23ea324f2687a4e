//! What a command leads to, and what a worker's state means for somebody who waits for that. Pure.
//!
//! ```text
//!  pause    -> paused;  somebody resumed it meanwhile
//!  resume   -> running, or waiting for a new sector;  failed again;  somebody paused it meanwhile
//!  drain    -> every thread empty;  somebody ended the cordon meanwhile
//! ```
//! A state from before the command, by its revision, means nothing.

use shared_msgs::{
    command::CommandReply,
    plan::State,
    snapshot::{PausedBy, ThreadSnapshot, ThreadStatus, WorkerSnapshot},
};

/// What a state means for somebody who waits.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// It may still come about: whoever waits goes on.
    NotYet,
    /// That is what was waited for.
    Reached,
    /// It will not come about.
    Missed(Missed),
}

/// Why what is waited for will not come about.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Missed {
    /// The worker was started with another configuration.
    #[error("the worker has no thread {index} any more")]
    ThreadGone {
        /// Position of the thread in the configuration, from 0.
        index: u32,
    },
    /// Somebody resumed the thread before it was paused.
    #[error("somebody resumed the thread before it was paused")]
    Resumed(Box<ThreadSnapshot>),
    /// Somebody paused the thread before it ran.
    #[error("somebody paused the thread before it ran")]
    Paused(Box<ThreadSnapshot>),
    /// The thread failed again before it ran on.
    #[error("the thread failed again: {}", .0.last_err.as_deref().unwrap_or("it does not say why"))]
    FailedAgain(Box<ThreadSnapshot>),
    /// Somebody uncordoned the thread before it was empty.
    #[error("somebody uncordoned thread {index} before it was empty")]
    Uncordoned {
        /// Position of the thread in the configuration, from 0.
        index: u32,
    },
}

/// What is waited for.
pub trait Goal {
    /// What this state means.
    fn judge(&mut self, snapshot: &WorkerSnapshot) -> Verdict;
}

/// One thread that a command was given to.
#[derive(Debug)]
pub struct OneThread {
    /// Position of the thread in the configuration, from 0.
    pub index: u32,
    revision: u64,
    /// Its last state that is not from before the command.
    pub last: Option<ThreadSnapshot>,
}

impl OneThread {
    /// The thread that this is the answer of.
    pub fn of(reply: &CommandReply) -> Self {
        OneThread { index: reply.index, revision: reply.revision, last: None }
    }

    // Its state, unless that is from before the command.
    fn look(&mut self, snapshot: &WorkerSnapshot) -> Result<Option<&ThreadSnapshot>, Missed> {
        let Some(thread) = snapshot.threads.iter().find(|thread| thread.index == self.index) else {
            return Err(Missed::ThreadGone { index: self.index });
        };
        let known = self.last.as_ref().map_or(self.revision, |last| last.revision);
        if thread.revision < known {
            return Ok(None);
        }
        Ok(Some(self.last.insert(thread.clone())))
    }
}

/// Waits until a thread is really paused.
#[derive(Debug)]
pub struct Pausing(pub OneThread);

impl AsRef<OneThread> for Pausing {
    fn as_ref(&self) -> &OneThread {
        &self.0
    }
}

impl Goal for Pausing {
    fn judge(&mut self, snapshot: &WorkerSnapshot) -> Verdict {
        let thread = match self.0.look(snapshot) {
            Ok(Some(thread)) => thread,
            Ok(None) => return Verdict::NotYet,
            Err(missed) => return Verdict::Missed(missed),
        };
        match thread.status {
            ThreadStatus::Paused { .. } => Verdict::Reached,
            // Between two things it shows nothing yet.
            ThreadStatus::PausePending { .. } | ThreadStatus::Idle | ThreadStatus::Other => {
                Verdict::NotYet
            }
            ThreadStatus::Unreachable { .. } => Verdict::NotYet,
            ThreadStatus::Running { .. } | ThreadStatus::Waiting { .. } => {
                Verdict::Missed(Missed::Resumed(Box::new(thread.clone())))
            }
        }
    }
}

/// Waits until a thread runs, or waits for a new sector.
#[derive(Debug)]
pub struct Resuming(pub OneThread);

impl AsRef<OneThread> for Resuming {
    fn as_ref(&self) -> &OneThread {
        &self.0
    }
}

impl Goal for Resuming {
    fn judge(&mut self, snapshot: &WorkerSnapshot) -> Verdict {
        let thread = match self.0.look(snapshot) {
            Ok(Some(thread)) => thread,
            Ok(None) => return Verdict::NotYet,
            Err(missed) => return Verdict::Missed(missed),
        };
        let failed = || Verdict::Missed(Missed::FailedAgain(Box::new(thread.clone())));
        match &thread.status {
            ThreadStatus::Running { .. } | ThreadStatus::PausePending { .. } => Verdict::Reached,
            ThreadStatus::Paused { by: PausedBy::Operator, .. } => {
                Verdict::Missed(Missed::Paused(Box::new(thread.clone())))
            }
            ThreadStatus::Paused { .. } => failed(),
            // A thread without a job asks for one for as long as it takes.
            ThreadStatus::Waiting { .. } if thread.retry > 0 => failed(),
            ThreadStatus::Waiting { .. } if thread.state == State::Empty.name() => Verdict::Reached,
            ThreadStatus::Waiting { .. } | ThreadStatus::Idle | ThreadStatus::Other => {
                Verdict::NotYet
            }
            ThreadStatus::Unreachable { .. } => Verdict::NotYet,
        }
    }
}

/// Waits until threads have no sector in hand.
#[derive(Debug)]
pub struct Emptying {
    threads: Vec<(OneThread, Drained)>,
    told: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    // Not heard of since the command, or at work.
    Not,
    // It is paused with a sector.
    Stuck,
    Empty,
}

impl Emptying {
    /// These threads, with their revisions after the command.
    pub fn new(threads: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let one = |(index, revision)| (OneThread { index, revision, last: None }, Drained::Not);
        Emptying { threads: threads.into_iter().map(one).collect(), told: Vec::new() }
    }

    /// How many threads there are.
    pub fn len(&self) -> usize {
        self.threads.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// Those that are not empty.
    pub fn busy(&self) -> impl Iterator<Item = &OneThread> {
        let busy = self.threads.iter().filter(|(_, drained)| *drained != Drained::Empty);
        busy.map(|(one, _)| one)
    }

    /// Those that have been paused with a sector since this was asked last: they get empty only
    /// when somebody resumes them.
    pub fn newly_stuck(&mut self) -> Vec<&OneThread> {
        let stuck = self.threads.iter().filter(|(_, drained)| *drained == Drained::Stuck);
        let stuck: Vec<_> = stuck.map(|(one, _)| one).collect();
        // One that went on may be stuck again.
        self.told.retain(|index| stuck.iter().any(|one| one.index == *index));
        let news: Vec<_> =
            stuck.into_iter().filter(|one| !self.told.contains(&one.index)).collect();
        self.told.extend(news.iter().map(|one| one.index));
        news
    }
}

impl Goal for Emptying {
    fn judge(&mut self, snapshot: &WorkerSnapshot) -> Verdict {
        for (one, drained) in &mut self.threads {
            let thread = match one.look(snapshot) {
                Ok(Some(thread)) => thread,
                Ok(None) => continue,
                Err(missed) => return Verdict::Missed(missed),
            };
            *drained = match (&thread.sector_id, &thread.status) {
                _ if !thread.cordoned => {
                    return Verdict::Missed(Missed::Uncordoned { index: thread.index });
                }
                (None, _) => Drained::Empty,
                (Some(_), ThreadStatus::Paused { .. }) => Drained::Stuck,
                (Some(_), _) => Drained::Not,
            };
        }
        if self.busy().next().is_none() { Verdict::Reached } else { Verdict::NotYet }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared_msgs::{command::Outcome, id::Id};

    use super::*;

    fn snapshot(threads: Value) -> WorkerSnapshot {
        serde_json::from_value(json!({"instance_id": Id::NIL, "seq": 1, "threads": threads}))
            .unwrap()
    }

    fn with(status: Value, more: Value) -> WorkerSnapshot {
        let mut thread = json!({"index": 0, "sector_id": "s-t010000-2", "state": "C1Done", "stage": "C2", "revision": 5, "status": status});
        thread.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        snapshot(json!([thread]))
    }

    fn one() -> OneThread {
        OneThread::of(&CommandReply {
            index: 0,
            sector_id: None,
            revision: 5,
            outcome: Outcome::Paused,
            dry_run: false,
        })
    }

    fn judged(goal: &mut impl Goal, kind: &str, more: Value) -> Verdict {
        let mut status = json!({ "kind": kind });
        if kind == "paused" {
            status["by"] = more.get("by").cloned().unwrap_or(json!("operator"));
        }
        goal.judge(&with(status, more))
    }

    #[test]
    fn a_pause_is_reached_when_the_thread_is_paused_by_whomever() {
        for by in ["operator", "error"] {
            let mut goal = Pausing(one());
            assert!(matches!(judged(&mut goal, "pause_pending", json!({})), Verdict::NotYet));
            assert!(matches!(judged(&mut goal, "idle", json!({})), Verdict::NotYet));
            assert!(matches!(
                judged(&mut goal, "paused", json!({"revision": 6, "by": by})),
                Verdict::Reached
            ));
        }
    }

    #[test]
    fn a_state_from_before_the_command_means_nothing() {
        let mut pausing = Pausing(one());
        assert!(matches!(judged(&mut pausing, "running", json!({"revision": 4})), Verdict::NotYet));
        let mut resuming = Resuming(one());
        assert!(matches!(judged(&mut resuming, "paused", json!({"revision": 4})), Verdict::NotYet));
        let mut emptying = Emptying::new([(0, 5)]);
        assert!(matches!(
            judged(&mut emptying, "idle", json!({"revision": 4, "sector_id": null})),
            Verdict::NotYet
        ));
        // Nor does one that comes after a newer one.
        judged(&mut pausing, "pause_pending", json!({"revision": 7}));
        assert!(matches!(judged(&mut pausing, "paused", json!({"revision": 6})), Verdict::NotYet));
    }

    #[test]
    fn a_resume_is_reached_when_the_thread_runs_or_waits_for_a_sector() {
        for (kind, more) in [
            ("running", json!({})),
            ("pause_pending", json!({})),
            ("waiting", json!({"state": "Empty", "stage": null})),
        ] {
            assert!(matches!(judged(&mut Resuming(one()), kind, more), Verdict::Reached), "{kind}");
        }
        for (kind, more) in [
            ("waiting", json!({})),
            ("idle", json!({})),
            ("waiting", json!({"last_err": "a note of its configuration"})),
        ] {
            assert!(matches!(judged(&mut Resuming(one()), kind, more), Verdict::NotYet), "{kind}");
        }
    }
}
