//! What a command did to a thread, and what a thread does, in words.

use std::time::Duration;

use serde::Serialize;
use shared_msgs::{
    command::{CommandReply, Outcome, ThreadResult, Verb},
    duration::human_secs,
    error::ErrorKind,
    snapshot::{PausedBy, Standstill, ThreadSnapshot, ThreadStatus},
};

/// What a command did to a thread, or would do, in a sentence: `#0 s-t010000-2: paused`.
pub fn sentence(reply: &CommandReply, dry_run: bool) -> String {
    let words = OutcomeWords::of(&reply.outcome);
    let what = if dry_run { words.would } else { words.sentence };
    format!("{}: {what}", thread_name(reply.index, reply.sector_id.as_deref()))
}

/// A thread with the sector it has in hand: `#0 s-t010000-2`.
pub fn thread_name(index: u32, sector: Option<&str>) -> String {
    match sector {
        Some(sector) => format!("#{index} {sector}"),
        None => format!("#{index}"),
    }
}

/// An outcome in words, for each place where it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeWords {
    /// By itself: `pause pending, it takes effect when C2 ends`.
    pub sentence: String,
    /// The same of a dry run: `would be paused when C2 ends`.
    pub would: String,
    /// Behind the verb: `pending until C2 ends`.
    pub behind_verb: String,
    /// Counted, of many threads.
    pub counted: Counted,
}

/// What many threads did, behind their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "&'static str")]
pub struct Counted {
    /// `3 resumed`; JSON has it of a dry run too.
    pub did: &'static str,
    /// `3 would resume`.
    pub would: &'static str,
}

impl From<Counted> for &'static str {
    fn from(counted: Counted) -> &'static str {
        counted.did
    }
}

impl OutcomeWords {
    /// The words for it.
    pub fn of(outcome: &Outcome) -> OutcomeWords {
        const PAUSED: Counted = Counted { did: "paused", would: "would be paused" };
        const PENDING: Counted =
            Counted { did: "pause pending", would: "would be paused after their stage" };
        const RESUMED: Counted = Counted { did: "resumed", would: "would resume" };
        const WITHDRAWN: Counted =
            Counted { did: "pause withdrawn", would: "would not be paused any more" };
        const CORDONED: Counted = Counted { did: "cordoned", would: "would be cordoned" };
        const UNCORDONED: Counted = Counted { did: "uncordoned", would: "would be uncordoned" };
        const OTHER: Counted = Counted { did: "done", would: "would change" };
        match outcome {
            Outcome::Paused => words("paused", "would be paused", "paused", PAUSED),
            Outcome::PausePending { stage, why } => {
                let stage = if stage.is_empty() { "its stage" } else { stage };
                let why = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                words(
                    format!("pause pending, it takes effect when {stage} ends{why}"),
                    format!("would be paused when {stage} ends{why}"),
                    format!("pending until {stage} ends"),
                    PENDING,
                )
            }
            Outcome::AlreadyPaused => {
                words("already paused", "is paused already", "was paused already", PAUSED)
            }
            Outcome::Resumed { from, to } if from == to => words(
                format!("resumed in {to}"),
                format!("would resume in {to}"),
                format!("goes on in {to}"),
                RESUMED,
            ),
            Outcome::Resumed { from, to } => words(
                format!("resumed {from} -> {to}"),
                format!("would resume {from} -> {to}"),
                format!("{from} -> {to}"),
                RESUMED,
            ),
            Outcome::PauseWithdrawn => words(
                "pause withdrawn before it took effect",
                "would not be paused any more when its stage ends",
                "withdrawn before the pause took effect",
                WITHDRAWN,
            ),
            Outcome::Cordoned => words(
                "cordoned, it takes no new sector",
                "would be cordoned",
                "takes no new sector",
                CORDONED,
            ),
            Outcome::AlreadyCordoned => {
                words("already cordoned", "is cordoned already", "was cordoned already", CORDONED)
            }
            Outcome::Uncordoned => words(
                "uncordoned, it takes sectors again",
                "would be uncordoned",
                "takes sectors again",
                UNCORDONED,
            ),
            Outcome::NotCordoned => {
                words("was not cordoned", "is not cordoned", "was not cordoned", UNCORDONED)
            }
            Outcome::Other => {
                let newer = "done, in a way that only a newer version of this tool can name";
                let would = "would do what only a newer version of this tool can name";
                words(newer, would, newer, OTHER)
            }
        }
    }
}

fn words(
    sentence: impl Into<String>,
    would: impl Into<String>,
    behind_verb: impl Into<String>,
    counted: Counted,
) -> OutcomeWords {
    OutcomeWords {
        sentence: sentence.into(),
        would: would.into(),
        behind_verb: behind_verb.into(),
        counted,
    }
}

/// How one thread of many fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It changed; how, for a summary.
    Changed(Counted),
    /// It was so already.
    Unchanged,
    /// It no longer fitted when it was to act.
    Skipped,
    /// It was to change and did not.
    Failed,
}

/// How a thread fared under this verb.
pub fn fate(verb: Verb, result: &ThreadResult) -> Fate {
    match (&result.outcome, &result.error) {
        (Some(outcome), _) if outcome.is_unchanged() => Fate::Unchanged,
        (Some(outcome), _) => Fate::Changed(OutcomeWords::of(outcome).counted),
        (None, Some(error)) => match error.kind {
            ErrorKind::NotSelected => Fate::Skipped,
            // Whoever resumes many threads wants them to run.
            ErrorKind::NotPaused { .. } if verb == Verb::Resume => Fate::Unchanged,
            _ => Fate::Failed,
        },
        (None, None) => Fate::Failed,
    }
}

/// What became of one thread of many, or would, in words.
pub fn result(verb: Verb, result: &ThreadResult, dry_run: bool) -> String {
    let [skipped, failed] = match dry_run {
        true => ["would be skipped", "would fail"],
        false => ["skipped", "failed"],
    };
    match (&result.outcome, &result.error) {
        (Some(outcome), _) if dry_run => OutcomeWords::of(outcome).would,
        (Some(outcome), _) => OutcomeWords::of(outcome).sentence,
        (None, Some(error)) => match fate(verb, result) {
            Fate::Skipped => format!("{skipped}: {}", error.message),
            Fate::Failed => format!("{failed}: {}", error.message),
            Fate::Unchanged | Fate::Changed(_) => format!("unchanged: {}", error.message),
        },
        (None, None) => format!("{failed}: the worker does not say how"),
    }
}

/// A worker that does not answer its sidecar.
pub fn silent_behind_a_sidecar(worker: &str, silent: &Standstill) -> String {
    let Standstill { elapsed_ms, why } = silent;
    let elapsed = human_secs(Duration::from_millis(*elapsed_ms));
    format!("the damocles-worker {worker} does not answer its sidecar since {elapsed}: {why}")
}

/// A status as a phrase: `running 5s, pause pending`. Its time grows by `since`, the age of the
/// report.
pub fn status(status: &ThreadStatus, since: Duration) -> String {
    let time = |millis: &u64| human_secs(Duration::from_millis(*millis) + since);
    match status {
        ThreadStatus::Idle => "idle".into(),
        ThreadStatus::Running { elapsed_ms, processor, progress } => {
            let processor =
                processor.as_ref().map(|processor| format!(" in {processor}")).unwrap_or_default();
            format!("running {}{processor}{}", time(elapsed_ms), after_comma(progress))
        }
        ThreadStatus::Waiting { elapsed_ms, reason } if reason.is_empty() => {
            format!("waiting {}", time(elapsed_ms))
        }
        ThreadStatus::Waiting { elapsed_ms, reason } => {
            format!("waiting {} for {reason}", time(elapsed_ms))
        }
        ThreadStatus::PausePending { elapsed_ms, progress } => {
            format!("running {}{}, pause pending", time(elapsed_ms), after_comma(progress))
        }
        ThreadStatus::Paused { elapsed_ms, by: PausedBy::Operator } => {
            format!("paused {} by an operator", time(elapsed_ms))
        }
        ThreadStatus::Paused { elapsed_ms, by: PausedBy::Error } => {
            format!("paused {} by an error", time(elapsed_ms))
        }
        ThreadStatus::Paused { elapsed_ms, by: PausedBy::Other } => {
            format!("paused {}", time(elapsed_ms))
        }
        ThreadStatus::Unreachable { elapsed_ms, why } if why.is_empty() => {
            format!("unreachable {}", time(elapsed_ms))
        }
        ThreadStatus::Unreachable { elapsed_ms, why } => {
            format!("unreachable {}: {why}", time(elapsed_ms))
        }
        ThreadStatus::Other => "other".into(),
    }
}

fn after_comma(progress: &Option<String>) -> String {
    progress.as_ref().map(|progress| format!(", {progress}")).unwrap_or_default()
}

/// What a thread does and what is to become of its job: `running 13m42s (to be given up, …)`.
pub fn outlook(thread: &ThreadSnapshot, since: Duration) -> String {
    let end = thread.end_pending.as_ref().map(|end| format!(" (to be {end})")).unwrap_or_default();
    status(&thread.status, since) + &end
}

/// What a thread does: `#0 s-t010000-2: C2 running 13m42s, pause pending`; `since` is the age of
/// its report.
pub fn activity(thread: &ThreadSnapshot, since: Duration) -> String {
    let name = thread_name(thread.index, thread.sector_id.as_deref());
    let runs =
        matches!(thread.status, ThreadStatus::Running { .. } | ThreadStatus::PausePending { .. });
    let stage = thread.stage.as_deref().filter(|stage| runs && !stage.is_empty());
    format!("{name}: {} {}", stage.unwrap_or(&thread.state), outlook(thread, since))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared_msgs::error::ErrorBody;

    use super::*;

    fn reply(sector: Option<&str>, outcome: Outcome) -> String {
        sentence(&done(sector, outcome), false)
    }

    fn done(sector: Option<&str>, outcome: Outcome) -> CommandReply {
        CommandReply {
            index: 0,
            sector_id: sector.map(Into::into),
            revision: 1,
            outcome,
            dry_run: true,
        }
    }

    fn resumed(from: &str, to: &str) -> Outcome {
        Outcome::Resumed { from: from.into(), to: to.into() }
    }

    fn did(outcome: Outcome) -> ThreadResult {
        ThreadResult { outcome: Some(outcome), ..ThreadResult::default() }
    }

    fn refused(kind: ErrorKind) -> ThreadResult {
        ThreadResult { error: Some(ErrorBody::from(kind)), ..ThreadResult::default() }
    }

    #[test]
    fn every_outcome_is_one_plain_sentence() {
        let sector = Some("s-t010000-2");
        assert_eq!(reply(sector, Outcome::Paused), "#0 s-t010000-2: paused");
        assert_eq!(reply(None, Outcome::AlreadyPaused), "#0: already paused");
        let pending = |why: Option<&str>| Outcome::PausePending {
            stage: "C2".into(),
            why: why.map(Into::into),
        };
        assert_eq!(
            reply(sector, pending(None)),
            "#0 s-t010000-2: pause pending, it takes effect when C2 ends"
        );
        assert_eq!(
            reply(None, pending(Some("it runs inside the worker"))),
            "#0: pause pending, it takes effect when C2 ends (it runs inside the worker)"
        );
        assert_eq!(
            reply(sector, resumed("C1Done", "TreeDBuilt")),
            "#0 s-t010000-2: resumed C1Done -> TreeDBuilt"
        );
        assert_eq!(reply(sector, resumed("C1Done", "C1Done")), "#0 s-t010000-2: resumed in C1Done");
        assert_eq!(
            reply(sector, Outcome::PauseWithdrawn),
            "#0 s-t010000-2: pause withdrawn before it took effect"
        );
        assert_eq!(reply(None, Outcome::Cordoned), "#0: cordoned, it takes no new sector");
        assert_eq!(reply(None, Outcome::NotCordoned), "#0: was not cordoned");
    }

    #[test]
    fn a_dry_run_never_says_that_anything_happened() {
        let pending = Outcome::PausePending { stage: "C2".into(), why: None };
        for (outcome, expected) in [
            (Outcome::Paused, "would be paused"),
            (pending, "would be paused when C2 ends"),
            (Outcome::AlreadyPaused, "is paused already"),
            (resumed("C1Done", "TreeDBuilt"), "would resume C1Done -> TreeDBuilt"),
            (resumed("C1Done", "C1Done"), "would resume in C1Done"),
            (Outcome::PauseWithdrawn, "would not be paused any more when its stage ends"),
            (Outcome::Cordoned, "would be cordoned"),
            (Outcome::AlreadyCordoned, "is cordoned already"),
            (Outcome::Uncordoned, "would be uncordoned"),
            (Outcome::NotCordoned, "is not cordoned"),
        ] {
            assert_eq!(sentence(&done(None, outcome.clone()), true), format!("#0: {expected}"));
            assert_eq!(result(Verb::Resume, &did(outcome), true), expected);
        }
        let failed = refused(ErrorKind::internal("disk"));
        assert_eq!(result(Verb::Resume, &failed, true), "would fail: internal error: disk");
    }

    #[test]
    fn what_changes_nothing_is_no_failure() {
        let changed = fate(Verb::Resume, &did(resumed("C1Done", "C1Done")));
        assert!(matches!(changed, Fate::Changed(Counted { did: "resumed", .. })), "{changed:?}");
        assert_eq!(fate(Verb::Pause, &did(Outcome::AlreadyPaused)), Fate::Unchanged);
        assert_eq!(fate(Verb::Uncordon, &did(Outcome::NotCordoned)), Fate::Unchanged);
        let running = refused(ErrorKind::NotPaused { status: "running".into() });
        assert_eq!(fate(Verb::Resume, &running), Fate::Unchanged);
        assert_eq!(
            result(Verb::Resume, &running, false),
            "unchanged: the thread is not paused, it is running"
        );
        assert_eq!(fate(Verb::Resume, &refused(ErrorKind::NotSelected)), Fate::Skipped);
        let failed = refused(ErrorKind::internal("disk"));
        assert_eq!(
            (fate(Verb::Resume, &failed), result(Verb::Resume, &failed, false).as_str()),
            (Fate::Failed, "failed: internal error: disk")
        );
        assert_eq!(fate(Verb::Pause, &ThreadResult::default()), Fate::Failed);
    }

    #[test]
    fn a_status_reads_as_a_phrase() {
        let said = |value: Value| status(&serde_json::from_value(value).unwrap(), Duration::ZERO);
        assert_eq!(
            said(json!({"kind": "waiting", "elapsed_ms": 3_900, "for": "retry 2 of 5"})),
            "waiting 3s for retry 2 of 5"
        );
        assert_eq!(said(json!({"kind": "running", "elapsed_ms": 5_000})), "running 5s");
        assert_eq!(
            said(json!({"kind": "running", "elapsed_ms": 5_000, "processor": "c2-0"})),
            "running 5s in c2-0"
        );
        let in_layer =
            |kind| said(json!({"kind": kind, "elapsed_ms": 5_000, "progress": "layer 7 of 11"}));
        assert_eq!(in_layer("running"), "running 5s, layer 7 of 11");
        assert_eq!(in_layer("pause_pending"), "running 5s, layer 7 of 11, pause pending");
        assert_eq!(
            said(json!({"kind": "pause_pending", "elapsed_ms": 5_000})),
            "running 5s, pause pending"
        );
        assert_eq!(said(json!({"kind": "levitating"})), "other");
    }

    #[test]
    fn what_a_thread_does_grows_with_the_age_of_its_report() {
        let mut thread: ThreadSnapshot = serde_json::from_value(json!({
            "index": 0, "sector_id": "s-t010000-2", "state": "C1Done", "stage": "C2",
            "status": {"kind": "pause_pending", "elapsed_ms": 820_000},
        }))
        .unwrap();
        assert_eq!(
            activity(&thread, Duration::from_secs(2)),
            "#0 s-t010000-2: C2 running 13m42s, pause pending"
        );
        thread.end_pending = Some("given up, ended by the sector manager: bad disk".into());
        let to_be_given_up = "#0 s-t010000-2: C2 running 13m40s, pause pending (to be given up, ended by the sector manager: bad disk)";
        assert_eq!(activity(&thread, Duration::ZERO), to_be_given_up);
        thread.end_pending = None;
        thread.sector_id = None;
        thread.status = ThreadStatus::Paused { elapsed_ms: 0, by: PausedBy::Operator };
        assert_eq!(activity(&thread, Duration::ZERO), "#0: C1Done paused 0s by an operator");
    }
}
