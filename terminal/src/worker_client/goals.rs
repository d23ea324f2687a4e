//! What a command leads to, and what a worker's state means for somebody who waits for that. Pure.
//!
//! ```text
//!  pause    -> paused;  somebody resumed it meanwhile
//!  resume   -> running, or waiting for a new sector;  failed again;  somebody paused it meanwhile
//!  drain    -> every thread empty;  somebody ended the cordon meanwhile
//! ```
//! A state from before the command, by its revision, means nothing.

use std::time::Duration;

use shared_msgs::{
    command::CommandReply,
    plan::State,
    snapshot::{PausedBy, ThreadSnapshot, ThreadStatus, WorkerSnapshot},
};

use super::said::{activity, thread_name};
use crate::{CliError, Exit, counted};

/// What a state means for somebody who waits.
#[derive(Debug)]
pub enum Verdict {
    /// Go on waiting.
    NotYet,
    /// That is what was waited for.
    Reached,
    /// It will not come about.
    Missed(CliError),
}

/// What is waited for.
pub trait Goal {
    /// What this state means.
    fn judge(&mut self, snapshot: &WorkerSnapshot) -> Verdict;
    /// How it stands, in a line; `since` is the time since the last state was heard.
    fn standing(&self, since: Duration) -> String;
    /// What has not come about, for when the time is up, e.g. `not paused`.
    fn missing(&self) -> &'static str;
    /// What stays in effect then, e.g. `the pause stays in effect`.
    fn stays(&self) -> &'static str;
    /// Things that somebody has to do first, each said once.
    fn obstacles(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// One thread that a command was given to.
#[derive(Debug)]
pub struct OneThread {
    index: u32,
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
    fn look(&mut self, snapshot: &WorkerSnapshot) -> Result<Option<&ThreadSnapshot>, CliError> {
        let Some(thread) = snapshot.threads.iter().find(|thread| thread.index == self.index) else {
            let text = format!(
                "the worker has no thread {} any more: it was started with another configuration",
                self.index
            );
            return Err(CliError::new(Exit::NotFound, text));
        };
        let known = self.last.as_ref().map_or(self.revision, |last| last.revision);
        if thread.revision < known {
            return Ok(None);
        }
        Ok(Some(self.last.insert(thread.clone())))
    }

    fn standing(&self, since: Duration) -> String {
        self.last
            .as_ref()
            .map_or_else(|| thread_name(self.index, None), |last| activity(last, since))
    }

    fn name(&self) -> String {
        thread_name(self.index, self.last.as_ref().and_then(|last| last.sector_id.as_deref()))
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
            Err(error) => return Verdict::Missed(error),
        };
        match thread.status {
            ThreadStatus::Paused { .. } => Verdict::Reached,
            // Between two things it shows nothing yet.
            ThreadStatus::PausePending { .. } | ThreadStatus::Idle | ThreadStatus::Other => {
                Verdict::NotYet
            }
            ThreadStatus::Running { .. } | ThreadStatus::Waiting { .. } => {
                let doing = activity(thread, Duration::ZERO);
                Verdict::Missed(CliError::new(
                    Exit::Refused,
                    format!("somebody resumed the thread before it was paused: {doing}"),
                ))
            }
        }
    }

    fn standing(&self, since: Duration) -> String {
        self.0.standing(since)
    }

    fn missing(&self) -> &'static str {
        "not paused"
    }

    fn stays(&self) -> &'static str {
        "the pause stays in effect"
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
            Err(error) => return Verdict::Missed(error),
        };
        let error = || thread.last_err.as_deref().unwrap_or("it does not say why");
        let name = thread_name(thread.index, thread.sector_id.as_deref());
        let failed = || {
            Verdict::Missed(CliError::new(
                Exit::Failed,
                format!("{name}: failed again in {}: {}", thread.state, error()),
            ))
        };
        match &thread.status {
            ThreadStatus::Running { .. } | ThreadStatus::PausePending { .. } => Verdict::Reached,
            ThreadStatus::Paused { by: PausedBy::Operator, .. } => Verdict::Missed(CliError::new(
                Exit::Refused,
                format!("{name}: somebody paused the thread before it ran"),
            )),
            ThreadStatus::Paused { .. } => failed(),
            // A thread without a job asks for one for as long as it takes.
            ThreadStatus::Waiting { .. } if thread.retry > 0 => failed(),
            ThreadStatus::Waiting { .. } if thread.state == State::Empty.name() => Verdict::Reached,
            ThreadStatus::Waiting { .. } | ThreadStatus::Idle | ThreadStatus::Other => {
                Verdict::NotYet
            }
        }
    }

    fn standing(&self, since: Duration) -> String {
        self.0.standing(since)
    }

    fn missing(&self) -> &'static str {
        "not running"
    }

    fn stays(&self) -> &'static str {
        "the thread stays resumed"
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

    fn busy(&self) -> impl Iterator<Item = &(OneThread, Drained)> {
        self.threads.iter().filter(|(_, drained)| *drained != Drained::Empty)
    }
}

impl Goal for Emptying {
    fn judge(&mut self, snapshot: &WorkerSnapshot) -> Verdict {
        for (one, drained) in &mut self.threads {
            let thread = match one.look(snapshot) {
                Ok(Some(thread)) => thread,
                Ok(None) => continue,
                Err(error) => return Verdict::Missed(error),
            };
            *drained = match (&thread.sector_id, &thread.status) {
                _ if !thread.cordoned => {
                    let text =
                        format!("somebody uncordoned thread {} before it was empty", thread.index);
                    return Verdict::Missed(CliError::new(Exit::Refused, text));
                }
                (None, _) => Drained::Empty,
                (Some(_), ThreadStatus::Paused { .. }) => Drained::Stuck,
                (Some(_), _) => Drained::Not,
            };
        }
        if self.busy().next().is_none() { Verdict::Reached } else { Verdict::NotYet }
    }

    fn standing(&self, since: Duration) -> String {
        let busy: Vec<_> = self.busy().map(|(one, _)| one.standing(since)).collect();
        format!("{} of {}: {}", busy.len(), counted(self.threads.len(), "thread"), busy.join("; "))
    }

    fn missing(&self) -> &'static str {
        "not empty"
    }

    fn stays(&self) -> &'static str {
        "the threads stay cordoned"
    }

    fn obstacles(&mut self) -> Vec<String> {
        // One that went on may be stuck again.
        self.told.retain(|index| {
            self.threads
                .iter()
                .any(|(one, drained)| one.index == *index && *drained == Drained::Stuck)
        });
        let stuck = self
            .threads
            .iter()
            .filter(|(_, drained)| *drained == Drained::Stuck)
            .map(|(one, _)| one);
        let news: Vec<_> = stuck.filter(|one| !self.told.contains(&one.index)).collect();
        let texts = news
            .iter()
            .map(|one| {
                format!("{} is paused: it gets empty only when somebody resumes it", one.name())
            })
            .collect();
        let indexes: Vec<_> = news.iter().map(|one| one.index).collect();
        self.told.extend(indexes);
        texts
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
        })
    }

    fn missed(verdict: Verdict) -> (Exit, String) {
        let Verdict::Missed(error) = verdict else { panic!("{verdict:?}") };
        (error.exit, error.message)
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
    fn a_pause_that_somebody_withdrew_is_refused() {
        for kind in ["running", "waiting"] {
            let (exit, text) = missed(judged(&mut Pausing(one()), kind, json!({"revision": 6})));
            assert!(exit == Exit::Refused && text.contains("resumed"), "{text}");
        }
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

    #[test]
    fn a_resume_that_fails_again_says_the_error() {
        let error =
            json!({"by": "error", "last_err": "permanent: No cached parameters", "revision": 7});
        let (exit, text) = missed(judged(&mut Resuming(one()), "paused", error));
        assert_eq!(
            (exit, text.as_str()),
            (
                Exit::Failed,
                "#0 s-t010000-2: failed again in C1Done: permanent: No cached parameters"
            )
        );
        let (exit, text) = missed(judged(
            &mut Resuming(one()),
            "waiting",
            json!({"retry": 1, "last_err": "temporary: x"}),
        ));
        assert!(exit == Exit::Failed && text.contains("temporary: x"), "{text}");
        assert_eq!(missed(judged(&mut Resuming(one()), "paused", json!({}))).0, Exit::Refused);
    }

    #[test]
    fn a_thread_that_is_no_longer_there_is_not_waited_for() {
        assert_eq!(missed(Pausing(one()).judge(&snapshot(json!([])))).0, Exit::NotFound);
    }

    #[test]
    fn a_drain_is_reached_when_all_threads_are_empty_and_names_those_that_are_not() {
        let mut goal = Emptying::new([(0, 5), (1, 5)]);
        let threads = |first: Value, second: Value| {
            let thread = |index: u32, sector: Value| {
                let status = if index == 1 {
                    json!({"kind": "paused", "by": "error"})
                } else {
                    json!({"kind": "running"})
                };
                json!({"index": index, "sector_id": sector, "state": "C1Done", "stage": "C2", "revision": 5, "cordoned": true, "status": status})
            };
            snapshot(json!([thread(0, first), thread(1, second)]))
        };
        assert!(matches!(
            goal.judge(&threads(json!("s-t010000-1"), json!("s-t010000-2"))),
            Verdict::NotYet
        ));
        assert_eq!(
            goal.standing(Duration::ZERO),
            "2 of 2 threads: #0 s-t010000-1: C2 running 0s; #1 s-t010000-2: C1Done paused 0s by an error"
        );
        assert_eq!(
            goal.obstacles(),
            ["#1 s-t010000-2 is paused: it gets empty only when somebody resumes it"]
        );
        assert_eq!(goal.obstacles(), Vec::<String>::new());
        assert!(matches!(goal.judge(&threads(Value::Null, json!("s-t010000-2"))), Verdict::NotYet));
        assert!(
            goal.standing(Duration::ZERO).starts_with("1 of 2 threads: #1"),
            "{}",
            goal.standing(Duration::ZERO)
        );
        assert!(matches!(goal.judge(&threads(Value::Null, Value::Null)), Verdict::Reached));
    }

    #[test]
    fn a_drain_that_somebody_ended_is_refused() {
        let (exit, text) = missed(judged(&mut Emptying::new([(0, 5)]), "running", json!({})));
        assert!(exit == Exit::Refused && text.contains("uncordoned"), "{text}");
    }
}
