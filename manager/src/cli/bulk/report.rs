//! What came of a command for many threads: a line for each thread, a summary, the exit code. Pure
//! but for printing.

use std::collections::{BTreeMap, BTreeSet};

use damocles_client::bulk::gather::Gathered;
use damocles_terminal::{
    CliError, Exit, ReplyOutput, counted, json, jsonl, listed, note, printable,
    said::{Counted, Fate, fate, result},
    say,
    table::{Look, LookArgs, Row, Shown, Table, show},
    verbs,
};
use serde::Serialize;
use shared_msgs::{
    api::{Conflict, Fared, Unlisted},
    command::{BulkReply, CommandRequest, ThreadResult, Verb},
    error::ErrorBody,
    id::Id,
    name::WorkerName,
};

const COLUMNS: [&str; 4] = ["Worker", "Index", "SectorID", "Result"];

/// What came of it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) verb: Verb,
    pub(super) summary: Summary,
    dry_run: bool,
    request_id: Option<Id>,
    gathered: Gathered,
}

/// How the threads fared, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    /// Threads that were selected.
    pub(super) threads: usize,
    /// Workers that have some.
    pub(super) workers: usize,
    /// Workers with threads that changed, or would.
    #[serde(skip)]
    pub(super) changing_workers: usize,
    /// Threads that changed, or would, by what they are now.
    pub(super) changed: BTreeMap<Counted, usize>,
    /// Threads that were so already.
    pub(super) unchanged: usize,
    /// Threads that no longer fitted when they were to act.
    pub(super) skipped: usize,
    /// Threads that were to change and did not.
    pub(super) failed: usize,
    /// Workers that did nothing.
    pub(super) refused: usize,
    /// Workers that did not answer.
    pub(super) missing: usize,
}

#[derive(Serialize)]
struct Refusal<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
    error: &'a ErrorBody,
}

#[derive(Serialize)]
struct Document<'a> {
    dry_run: bool,
    request_id: Option<Id>,
    complete: bool,
    workers: &'a [BulkReply],
    refused: Vec<Refusal<'a>>,
    missing: Vec<&'a str>,
    /// Answers that were not believed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conflicts: Vec<Conflict>,
    /// What a manager has counted only.
    #[serde(skip_serializing_if = "Unlisted::is_empty")]
    unlisted: &'a Unlisted,
    summary: &'a Summary,
}

#[derive(Serialize)]
struct Line<'a> {
    worker: &'a str,
    #[serde(flatten)]
    thread: &'a ThreadResult,
}

impl Summary {
    fn of(verb: Verb, gathered: &Gathered) -> Summary {
        let unlisted = &gathered.unlisted;
        let mut summary = Summary {
            refused: gathered.refused.len() + gathered.unnamed.len() + size(unlisted.refused),
            missing: gathered.missing.len() + size(unlisted.missing),
            ..Summary::default()
        };
        let (mut workers, mut changing) = (BTreeSet::new(), BTreeSet::new());
        for reply in &gathered.replies {
            for thread in &reply.threads {
                workers.insert(&reply.worker);
                if let Fate::Changed(_) = summary.count(1, fate(verb, thread)) {
                    changing.insert(&reply.worker);
                }
            }
        }
        for Fared { count, outcome, error } in unlisted.threads.clone() {
            let alike = ThreadResult { outcome, error, ..ThreadResult::default() };
            summary.count(size(count), fate(verb, &alike));
        }
        // Some of those may not change.
        let more = size(unlisted.workers);
        (summary.workers, summary.changing_workers) = (workers.len() + more, changing.len() + more);
        summary
    }

    fn count(&mut self, threads: usize, fate: Fate) -> Fate {
        self.threads += threads;
        let counter = match fate {
            Fate::Changed(how) => self.changed.entry(how).or_default(),
            Fate::Unchanged => &mut self.unchanged,
            Fate::Skipped => &mut self.skipped,
            Fate::Failed => &mut self.failed,
        };
        *counter += threads;
        fate
    }

    /// How many threads change.
    pub(super) fn changed(&self) -> usize {
        self.changed.values().sum()
    }

    // `12 threads on 3 workers: 10 resumed, 1 unchanged, 1 failed; 1 worker refused`
    fn text(&self, dry_run: bool) -> String {
        let said = |how: &Counted| if dry_run { how.would } else { how.did };
        let failed = if dry_run { "would fail" } else { "failed" };
        let counts = self.changed.iter().map(|(how, count)| (*count, said(how)));
        let counts = counts.chain([
            (self.unchanged, "unchanged"),
            (self.skipped, "skipped"),
            (self.failed, failed),
        ]);
        let counts: Vec<_> = counts
            .filter(|(count, _)| *count > 0)
            .map(|(count, how)| format!("{count} {how}"))
            .collect();
        let mut text = match self.threads {
            0 => "no thread is selected".to_owned(),
            threads => format!(
                "{} on {}: {}",
                counted(threads, "thread"),
                counted(self.workers, "worker"),
                counts.join(", ")
            ),
        };
        if self.refused > 0 {
            text += &format!("; {} refused", counted(self.refused, "worker"));
        }
        text
    }

    /// Whether to go on: `Resume 12 threads on 3 workers?`
    pub(super) fn question(&self, verb: &str) -> String {
        let (first, rest) = verb.split_at(1);
        format!(
            "{}{rest} {} on {}?",
            first.to_uppercase(),
            counted(self.changed(), "thread"),
            counted(self.changing_workers, "worker")
        )
    }
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

impl Report {
    /// What came of this request.
    pub(super) fn new(verb: Verb, request: &CommandRequest, gathered: Gathered) -> Report {
        let summary = Summary::of(verb, &gathered);
        Report { verb, summary, dry_run: request.dry_run, request_id: request.request_id, gathered }
    }

    /// Prints it, and returns how the command ended: with what each worker did.
    pub(super) fn finish(
        self,
        output: ReplyOutput,
        look: LookArgs,
    ) -> Result<Vec<BulkReply>, CliError> {
        show(&self.shown(output)?, look)?;
        self.notes().iter().for_each(|text| note(text));
        self.whole()?;
        note(&self.said());
        Ok(self.gathered.replies)
    }

    /// An error unless it went well everywhere.
    pub(super) fn whole(&self) -> Result<(), CliError> {
        match self.exit() {
            None => Ok(()),
            Some(exit) => Err(self.hinted(CliError::new(exit, self.said()))),
        }
    }

    /// An error unless every worker has said what it does: whoever is silent now may give up later
    /// what nobody was asked about.
    pub(super) fn knows_all(&self) -> Result<(), CliError> {
        let Gathered { complete, unlisted, .. } = &self.gathered;
        if *complete && unlisted.is_empty() && self.summary.refused == 0 {
            return Ok(());
        }
        let message = format!("{}; what would be lost is not known of all workers", self.said());
        Err(CliError::new(Exit::NoAnswer, message).hint("select fewer workers; -f does not ask"))
    }

    /// Shows somebody who is asked what would be done.
    pub(super) fn show(&self) {
        let table = self.table().text(&Look::default());
        say(&format!("{table}{}\n", printable(&self.said())));
    }

    /// The sectors that are given up.
    pub(super) fn lost(&self) -> Vec<String> {
        verbs::lost(self.threads().map(|(_, thread)| thread))
    }

    // The threads, or the whole.
    fn shown(&self, output: ReplyOutput) -> Result<Shown, CliError> {
        Ok(match output {
            ReplyOutput::Plain => self.table().into(),
            ReplyOutput::Json => json(&Document {
                dry_run: self.dry_run,
                request_id: self.request_id,
                complete: self.gathered.complete,
                workers: &self.gathered.replies,
                refused: self.refusals().collect(),
                missing: self.gathered.missing.iter().map(WorkerName::as_str).collect(),
                conflicts: self
                    .gathered
                    .conflicts
                    .iter()
                    .map(|(worker, instance)| Conflict {
                        worker: worker.to_string(),
                        instance_id: *instance,
                    })
                    .collect(),
                unlisted: &self.gathered.unlisted,
                summary: &self.summary,
            })?
            .into(),
            ReplyOutput::Jsonl => {
                let lines: Vec<_> =
                    self.threads().map(|(worker, thread)| Line { worker, thread }).collect();
                let refusals: Vec<_> = self.refusals().collect();
                (jsonl(&lines)? + &jsonl(&refusals)?).into()
            }
        })
    }

    /// A line for each thread, and for each worker that refused.
    fn table(&self) -> Table {
        let thread = |(worker, thread): (&str, &ThreadResult)| {
            let sector = thread.sector_id.clone().unwrap_or_else(|| "-".into());
            let cells = vec![
                worker.to_owned(),
                thread.index.to_string(),
                sector,
                result(self.verb, thread, self.dry_run),
            ];
            Row::new(cells).failing(fate(self.verb, thread) == Fate::Failed)
        };
        let refusal = |refusal: Refusal<'_>| {
            let worker = refusal.worker.unwrap_or("?").to_owned();
            let refused = format!("refused: {}", refusal.error.message);
            Row::new(vec![worker, "-".into(), "-".into(), refused]).failing(true)
        };
        Table::new(
            &COLUMNS,
            self.threads().map(thread).chain(self.refusals().map(refusal)).collect(),
        )
    }

    fn threads(&self) -> impl Iterator<Item = (&str, &ThreadResult)> {
        self.gathered
            .replies
            .iter()
            .flat_map(|reply| reply.threads.iter().map(|thread| (reply.worker.as_str(), thread)))
    }

    fn refusals(&self) -> impl Iterator<Item = Refusal<'_>> {
        let named = self
            .gathered
            .refused
            .iter()
            .map(|(worker, error)| Refusal { worker: Some(worker.as_str()), error });
        named.chain(self.gathered.unnamed.iter().map(|error| Refusal { worker: None, error }))
    }

    /// The whole in a sentence.
    fn said(&self) -> String {
        let dry_run = if self.dry_run { "dry run, nothing was done: " } else { "" };
        let unknown = if self.dry_run { "" } else { ", their outcome is unknown" };
        let named = match self.gathered.missing.as_slice() {
            [] => String::new(),
            missing => format!(": {}", listed(missing)),
        };
        let missing = match self.summary.missing {
            0 => String::new(),
            missing => {
                format!("; {} did not answer{unknown}{named}", counted(missing, "worker"))
            }
        };
        format!("{dry_run}{}{missing}", self.summary.text(self.dry_run))
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (worker, instance) in &self.gathered.conflicts {
            notes.push(format!(
                "an answer in the name of {worker} was not believed: process {instance} does not own the name, or has told two things; `util worker list` shows second processes"
            ));
        }
        if self.gathered.unreadable > 0 {
            notes.push(format!("{} cannot be read", counted(self.gathered.unreadable, "answer")));
        }
        let Unlisted { workers, refused, missing, conflicts, .. } = self.gathered.unlisted;
        if !self.gathered.unlisted.is_empty() {
            let unlisted = counted(size(workers + refused + missing + conflicts), "worker");
            notes.push(format!(
                "the answer of {unlisted} is counted and not listed: together they are larger than NATS carries; select fewer workers, or raise max_payload in the nats-server's configuration"
            ));
        }
        notes
    }

    /// An error if there are threads that only a manager knows by name.
    pub(super) fn names_all(&self) -> Result<(), CliError> {
        if self.gathered.unlisted.workers == 0 {
            return Ok(());
        }
        let unlisted = counted(size(self.gathered.unlisted.workers), "worker");
        let message = format!(
            "the threads of {unlisted} are cordoned, and not waited for: the manager's answer has no room for them"
        );
        Err(CliError::new(Exit::NotYet, message).hint("drain fewer workers at once"))
    }

    fn exit(&self) -> Option<Exit> {
        let Summary { failed, refused, missing, .. } = &self.summary;
        let Gathered { conflicts, unlisted, .. } = &self.gathered;
        let conflicts = conflicts.len() + size(unlisted.conflicts);
        match (failed + refused + conflicts, *missing) {
            (0, 0) if self.summary.threads == 0 => Some(Exit::NotFound),
            (0, 0) => None,
            (0, _) => Some(Exit::NoAnswer),
            _ => Some(Exit::Failed),
        }
    }

    fn hinted(&self, error: CliError) -> CliError {
        match error.exit {
            Exit::NotFound if self.gathered.replies.is_empty() => {
                CliError { message: "no worker answered that fits".into(), ..error }.hint("is a worker running, and does it reach NATS?")
            }
            Exit::NoAnswer => {
                error.hint("look at them with `util worker info`; the command may be repeated, threads that have changed no longer fit")
            }
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared_msgs::error::ErrorKind;

    use super::*;

    fn threads(worker: &str, instance: Id, threads: Value) -> BulkReply {
        serde_json::from_value(
            json!({"worker": worker, "instance_id": instance, "threads": threads}),
        )
        .unwrap()
    }

    fn nothing() -> Gathered {
        Gathered {
            replies: vec![],
            refused: vec![],
            unnamed: vec![],
            missing: vec![],
            unreadable: 0,
            conflicts: vec![],
            unlisted: Unlisted::default(),
            complete: true,
        }
    }

    fn sample() -> Gathered {
        let resumed = json!({"kind": "resumed", "from": "C1Done", "to": "TreeDBuilt"});
        let replies = vec![
            threads(
                "w1",
                Id::NIL,
                json!([
                    {"index": 0, "sector_id": "s-t010000-1", "outcome": resumed},
                    {"index": 1, "error": {"kind": "not_paused", "status": "running", "message": "the thread is not paused, it is running"}},
                ]),
            ),
            threads(
                "w2",
                Id::NIL,
                json!([{"index": 0, "sector_id": "s-t010000-2", "outcome": resumed}]),
            ),
            threads("w3", Id::NIL, json!([])),
        ];
        Gathered { replies, ..nothing() }
    }

    fn report(gathered: Gathered) -> Report {
        Report::new(
            Verb::Resume,
            &CommandRequest { request_id: Some(Id::NIL), ..CommandRequest::default() },
            gathered,
        )
    }

    #[test]
    fn there_is_a_line_for_each_thread_and_a_summary() {
        let report = report(sample());
        let expected = "\
Worker  Index  SectorID     Result
w1      0      s-t010000-1  resumed C1Done -> TreeDBuilt
w1      1      -            unchanged: the thread is not paused, it is running
w2      0      s-t010000-2  resumed C1Done -> TreeDBuilt
";
        assert_eq!(report.shown(ReplyOutput::Plain).unwrap().text(&Look::default()), expected);
        assert_eq!(report.said(), "3 threads on 2 workers: 2 resumed, 1 unchanged");
        assert_eq!((report.exit(), report.summary.changed()), (None, 2));
    }

    #[test]
    fn a_dry_run_says_what_would_be_and_nothing_that_has_happened() {
        let request = CommandRequest { dry_run: true, ..CommandRequest::default() };
        let report = Report::new(Verb::Resume, &request, sample());
        let expected = "\
Worker  Index  SectorID     Result
w1      0      s-t010000-1  would resume C1Done -> TreeDBuilt
w1      1      -            unchanged: the thread is not paused, it is running
w2      0      s-t010000-2  would resume C1Done -> TreeDBuilt
";
        assert_eq!(report.table().text(&Look::default()), expected);
        assert_eq!(
            report.said(),
            "dry run, nothing was done: 3 threads on 2 workers: 2 would resume, 1 unchanged"
        );
        assert_eq!(report.summary.question("resume"), "Resume 2 threads on 2 workers?");
    }

    #[test]
    fn the_sectors_that_are_lost_are_those_of_threads_that_go_to_their_end() {
        let to = |state: &str| json!({"kind": "resumed", "from": "C1Done", "to": state});
        let replies = vec![threads(
            "w1",
            Id::NIL,
            json!([
                {"index": 0, "sector_id": "s-t010000-1", "outcome": to("Aborted")},
                {"index": 1, "outcome": to("Aborted")},
                {"index": 2, "sector_id": "s-t010000-3", "outcome": to("C1Done")},
                {"index": 3, "sector_id": "s-t010000-4", "error": {"kind": "not_paused", "status": "running", "message": "no"}},
            ]),
        )];
        assert_eq!(report(Gathered { replies, ..nothing() }).lost(), ["s-t010000-1"]);
    }

    #[test]
    fn what_is_lost_is_known_when_every_worker_has_answered() {
        assert!(report(sample()).knows_all().is_ok());
        let refused = vec![("w4".parse().unwrap(), ErrorKind::LeaseUnconfirmed.into())];
        for unknown in [Gathered { complete: false, ..sample() }, Gathered { refused, ..sample() }]
        {
            assert_eq!(report(unknown).knows_all().unwrap_err().exit, Exit::NoAnswer);
        }
    }

    #[test]
    fn a_thread_that_failed_and_a_worker_that_refused_are_exit_1() {
        let mut failed = sample();
        let missing = json!({"kind": "state_unreachable", "state": "C2Done", "missing": ["proof"], "message": "no proof"});
        failed.replies.push(threads("w4", Id::NIL, json!([{"index": 0, "error": missing}])));
        failed.missing.push("w5".parse().unwrap());
        let failed = report(failed);
        assert_eq!(failed.exit(), Some(Exit::Failed));
        let expected = "4 threads on 3 workers: 2 resumed, 1 unchanged, 1 failed; 1 worker did not answer, their outcome is unknown: w5";
        assert_eq!(failed.said(), expected);

        let refused = report(Gathered {
            refused: vec![("w4".parse().unwrap(), ErrorKind::LeaseUnconfirmed.into())],
            ..sample()
        });
        assert_eq!(refused.exit(), Some(Exit::Failed));
        assert!(refused.said().ends_with("; 1 worker refused"), "{}", refused.said());
        assert!(
            refused
                .table()
                .text(&Look::default())
                .contains("w4      -      -            refused: "),
            "{}",
            refused.table().text(&Look::default())
        );
    }

    #[test]
    fn on_a_terminal_lines_fit_and_what_failed_stands_first() {
        let refused = report(Gathered {
            refused: vec![("w4".parse().unwrap(), ErrorKind::LeaseUnconfirmed.into())],
            ..sample()
        });
        let look = Look { for_people: true, room: Some(40), color: false };
        let text = refused.table().text(&look);
        assert!(text.lines().nth(1).unwrap().starts_with("w4"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
    }

    #[test]
    fn a_worker_that_did_not_answer_is_named_and_exit_4() {
        let missing: Vec<WorkerName> =
            (10..40).map(|number| format!("w{number}").parse().unwrap()).collect();
        let report = report(Gathered { missing, complete: false, ..sample() });
        assert_eq!(report.exit(), Some(Exit::NoAnswer));
        assert!(
            report.said().contains("30 workers") && report.said().ends_with("w29 and 10 more"),
            "{}",
            report.said()
        );
    }

    #[test]
    fn a_selector_that_hits_nothing_is_exit_3() {
        let none_fits =
            report(Gathered { replies: vec![threads("w1", Id::NIL, json!([]))], ..nothing() });
        let nobody = report(Gathered { complete: false, ..nothing() });
        for (report, said) in
            [(none_fits, "no thread is selected"), (nobody, "no worker answered that fits")]
        {
            let error = report.whole().unwrap_err();
            assert_eq!((error.exit, error.message.as_str()), (Exit::NotFound, said));
        }
    }

    #[test]
    fn an_answer_that_was_not_believed_is_noted_and_exit_1() {
        let liar = Id::generate();
        let report =
            report(Gathered { conflicts: vec![("w1".parse().unwrap(), liar)], ..sample() });
        assert_eq!(report.exit(), Some(Exit::Failed));
        assert!(report.notes()[0].contains(&format!("process {liar}")), "{:?}", report.notes());
        let document: Value =
            serde_json::from_str(&report.shown(ReplyOutput::Json).unwrap().text(&Look::default()))
                .unwrap();
        assert_eq!(document["conflicts"], json!([{"worker": "w1", "instance_id": liar}]));
    }

    #[test]
    fn what_a_manager_has_counted_only_counts_and_is_said() {
        let alike = |count: u64, more: Value| {
            let mut alike = json!({"count": count});
            alike.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(alike).unwrap()
        };
        let not_paused =
            json!({"error": {"kind": "not_paused", "status": "running", "message": "no"}});
        let unlisted = Unlisted {
            workers: 7,
            threads: vec![alike(8, json!({"outcome": {"kind": "resumed"}})), alike(2, not_paused)],
            missing: 1,
            ..Unlisted::default()
        };
        let report = report(Gathered { unlisted, ..sample() });
        assert_eq!(
            report.said(),
            "13 threads on 9 workers: 10 resumed, 3 unchanged; 1 worker did not answer, their outcome is unknown"
        );
        assert_eq!(report.exit(), Some(Exit::NoAnswer));
        assert!(
            report.notes()[0].starts_with("the answer of 8 workers is counted"),
            "{:?}",
            report.notes()
        );
        assert_eq!(report.names_all().unwrap_err().exit, Exit::NotYet);
        assert!(report.knows_all().is_err(), "what they would lose is not known");
    }

    #[test]
    fn json_is_one_document_and_jsonl_a_thread_a_line() {
        let report = report(sample());
        let document: Value =
            serde_json::from_str(&report.shown(ReplyOutput::Json).unwrap().text(&Look::default()))
                .unwrap();
        assert_eq!(document["workers"].as_array().unwrap().len(), 3);
        let expected = json!({
            "threads": 3, "workers": 2, "changed": {"resumed": 2}, "unchanged": 1, "skipped": 0, "failed": 0, "refused": 0, "missing": 0,
        });
        assert_eq!(document["summary"], expected);
        assert_eq!(
            (&document["dry_run"], &document["complete"], &document["missing"]),
            (&json!(false), &json!(true), &json!([]))
        );
        assert_eq!(document["request_id"], json!(Id::NIL));
        let lines = report.shown(ReplyOutput::Jsonl).unwrap().text(&Look::default());
        let lines: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            (lines.len(), &lines[2]["worker"], &lines[2]["outcome"]["to"]),
            (3, &json!("w2"), &json!("TreeDBuilt"))
        );
    }

    #[test]
    fn ten_thousand_workers_are_reported_at_once() {
        let replies = (0..10_000).map(|number| {
            threads(
                &format!("w{number:05}"),
                Id::NIL,
                json!([{"index": 0, "outcome": {"kind": "paused"}}]),
            )
        });
        let report = report(Gathered { replies: replies.collect(), ..nothing() });
        let began = tokio::time::Instant::now();
        assert_eq!(report.table().text(&Look::default()).lines().count(), 10_001);
        assert!(began.elapsed() < std::time::Duration::from_secs(10));
    }
}
