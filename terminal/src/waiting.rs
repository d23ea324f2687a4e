//! Waiting for what a command leads to, as people see it: one line that changes, notes that stay,
//! and in the end why it has not come about.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use damocles_client::worker_client::{
    OrderError,
    follow::Follow,
    goals::{Emptying, Goal, Missed, OneThread, Pausing, Resuming},
    wait::{self, NotReached, Observer},
};
use shared_msgs::{duration::human, name::WorkerName};

use crate::{
    CliError, Exit, counted,
    progress::Progress,
    said::{activity, thread_name},
    unanswered::unanswered,
};

/// What is waited for, in words.
pub trait GoalInWords: Goal {
    /// How it stands, in a line; `since` is the time since the last state was heard.
    fn standing(&self, since: Duration) -> String;
    /// What has not come about, for when the time is up, e.g. `not paused`.
    fn missing(&self) -> &'static str;
    /// What stays in effect then, e.g. `the pause stays in effect`.
    fn stays(&self) -> &'static str;
    /// For how many it has not come about, where there are several.
    fn left(&self) -> Option<usize> {
        None
    }
    /// Things that somebody has to do first, each said once.
    fn obstacles(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// What is seen of all that is waited for at once: a line that changes on a terminal, and what
/// stays.
pub struct Board {
    progress: Progress,
    // How it stands at each worker.
    standing: RefCell<BTreeMap<String, String>>,
}

impl Board {
    /// Nothing stands there yet.
    pub fn start() -> Board {
        Board { progress: Progress::start(), standing: RefCell::default() }
    }

    fn say(&self, worker: &WorkerName, standing: String) {
        let mut all = self.standing.borrow_mut();
        all.insert(worker.to_string(), standing);
        let text = match all.len() {
            1 => all.values().next().cloned().unwrap_or_default(),
            _ => all
                .iter()
                .map(|(worker, text)| format!("{worker}: {text}"))
                .collect::<Vec<_>>()
                .join("; "),
        };
        self.progress.say(&text);
    }

    fn done(&self, worker: &WorkerName) {
        self.standing.borrow_mut().remove(worker.as_str());
    }
}

struct Shown<'a> {
    board: &'a Board,
    worker: &'a WorkerName,
    // As it was said last where nobody sees the line that changes.
    left: Option<usize>,
}

impl<G: GoalInWords> Observer<G> for Shown<'_> {
    fn not_yet(&mut self, goal: &mut G) {
        let (standing, progress) = (goal.standing(Duration::ZERO), &self.board.progress);
        if !progress.is_shown() && goal.left() != self.left {
            progress.note(&format!("worker {}: waiting for {standing}", self.worker));
            self.left = goal.left();
        }
        self.board.say(self.worker, standing);
        goal.obstacles().iter().for_each(|obstacle| progress.note(obstacle));
    }

    fn silence(&mut self, error: &OrderError) {
        self.board.progress.note(&format!("{}; waiting on", unanswered(self.worker, error)));
    }

    fn passes(&mut self, goal: &G, since: Duration) {
        if self.board.progress.is_shown() {
            self.board.say(self.worker, goal.standing(since));
        }
    }
}

/// Waits for a goal, at most so long. The board may be shared with others who wait.
pub async fn reach<G: GoalInWords>(
    goal: &mut G,
    follow: &mut Follow<'_>,
    patience: Option<Duration>,
    board: &Board,
) -> Result<(), CliError> {
    let worker = follow.worker();
    let mut shown = Shown { board, worker, left: None };
    let reached = wait::reach(goal, follow, patience, &mut shown).await;
    board.done(worker);
    match reached {
        Ok(()) => Ok(()),
        Err(NotReached::Missed(missed)) => Err(missed_in_words(&missed)),
        Err(NotReached::NotYet) => Err(not_in_time(goal, patience.unwrap_or_default())),
    }
}

fn not_in_time(goal: &impl GoalInWords, patience: Duration) -> CliError {
    let waited = human(patience);
    let (missing, standing, stays) = (goal.missing(), goal.standing(Duration::ZERO), goal.stays());
    CliError::new(Exit::NotYet, format!("{missing} after {waited}: {standing}; {stays}"))
        .hint("the same command waits for it again; `list` or `info` shows how it stands")
}

fn missed_in_words(missed: &Missed) -> CliError {
    let (exit, text) = match missed {
        Missed::ThreadGone { .. } => {
            (Exit::NotFound, format!("{missed}: it was started with another configuration"))
        }
        Missed::Resumed(thread) => {
            (Exit::Refused, format!("{missed}: {}", activity(thread, Duration::ZERO)))
        }
        Missed::Paused(thread) => {
            let name = thread_name(thread.index, thread.sector_id.as_deref());
            (Exit::Refused, format!("{name}: {missed}"))
        }
        Missed::FailedAgain(thread) => {
            let name = thread_name(thread.index, thread.sector_id.as_deref());
            let error = thread.last_err.as_deref().unwrap_or("it does not say why");
            (Exit::Failed, format!("{name}: failed again in {}: {error}", thread.state))
        }
        Missed::Uncordoned { .. } => (Exit::Refused, missed.to_string()),
    };
    CliError::new(exit, text)
}

fn standing(one: &OneThread, since: Duration) -> String {
    one.last.as_ref().map_or_else(|| thread_name(one.index, None), |last| activity(last, since))
}

impl GoalInWords for Pausing {
    fn standing(&self, since: Duration) -> String {
        standing(&self.0, since)
    }

    fn missing(&self) -> &'static str {
        "not paused"
    }

    fn stays(&self) -> &'static str {
        "the pause stays in effect"
    }
}

impl GoalInWords for Resuming {
    fn standing(&self, since: Duration) -> String {
        standing(&self.0, since)
    }

    fn missing(&self) -> &'static str {
        "not running"
    }

    fn stays(&self) -> &'static str {
        "the thread stays resumed"
    }
}

impl GoalInWords for Emptying {
    fn standing(&self, since: Duration) -> String {
        let busy: Vec<_> = self.busy().map(|one| standing(one, since)).collect();
        format!("{} of {}: {}", busy.len(), counted(self.len(), "thread"), busy.join("; "))
    }

    fn missing(&self) -> &'static str {
        "not empty"
    }

    fn stays(&self) -> &'static str {
        "the threads stay cordoned"
    }

    fn left(&self) -> Option<usize> {
        Some(self.busy().count())
    }

    fn obstacles(&mut self) -> Vec<String> {
        let stuck = self.newly_stuck().into_iter().map(|one| {
            let sector = one.last.as_ref().and_then(|last| last.sector_id.as_deref());
            let name = thread_name(one.index, sector);
            format!("{name} is paused: it gets empty only when somebody resumes it")
        });
        stuck.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared_msgs::{
        command::{CommandReply, Outcome},
        id::Id,
        snapshot::WorkerSnapshot,
    };

    use damocles_client::worker_client::goals::Verdict;

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

    fn missed(verdict: Verdict) -> (Exit, String) {
        let Verdict::Missed(missed) = verdict else { panic!("{verdict:?}") };
        let error = missed_in_words(&missed);
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
    fn a_pause_that_somebody_withdrew_is_refused() {
        for kind in ["running", "waiting"] {
            let (exit, text) = missed(judged(&mut Pausing(one()), kind, json!({"revision": 6})));
            assert!(exit == Exit::Refused && text.contains("resumed"), "{text}");
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

    struct Never;

    impl Goal for Never {
        fn judge(&mut self, _: &WorkerSnapshot) -> Verdict {
            Verdict::NotYet
        }
    }

    impl GoalInWords for Never {
        fn standing(&self, _: Duration) -> String {
            "#0: C2 running 5s, pause pending".into()
        }

        fn missing(&self) -> &'static str {
            "not paused"
        }

        fn stays(&self) -> &'static str {
            "the pause stays in effect"
        }
    }

    #[test]
    fn when_the_time_is_up_it_says_how_it_stands_and_what_stays_in_effect() {
        let error = not_in_time(&Never, Duration::from_secs(5));
        assert_eq!(error.exit, Exit::NotYet);
        assert_eq!(
            error.message,
            "not paused after 5s: #0: C2 running 5s, pause pending; the pause stays in effect"
        );
    }
}
