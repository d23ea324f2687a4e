//! `util worker list`: the workers that the managers know, once or as they change.

use std::time::Duration;

use clap::Args;
use damocles_client::system::ListError;
use damocles_terminal::{
    CliError, Exit, Output, counted, json, jsonl, note,
    said::silent_behind_a_sidecar,
    table::{LookArgs, Row, Shown, Table, show},
};
use serde::Serialize;
use shared_msgs::{
    api::WorkerView,
    duration::{human, human_secs},
    snapshot::{Standstill, WorkerStatus, is_expired},
};

use super::session::{Session, no_manager};

pub(super) mod watch;

const COLUMNS: [&str; 7] =
    ["Name", "Dest", "Threads", "Empty", "Paused", "Errors", "LastPing(with ! if expired)"];
// Beside those of the table that scripts know, only when there is something to say.
const CORDONED_COLUMN: &str = "Cordoned";
// So many workers are named that have the same trouble.
const MAX_NOTES: usize = 3;
const WIDE_COLUMNS: [&str; 5] = ["Version", "Running", "Waiting", CORDONED_COLUMN, "Status"];

#[derive(Args, Debug)]
pub struct ListArgs {
    /// A worker is expired when its last report is older than this [default: three of its own ping
    /// intervals]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub expiration: Option<Duration>,
    /// Show the list again whenever it changes, until Ctrl-C or q
    #[arg(long)]
    pub watch: bool,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    pub look: LookArgs,
}

// A worker as it is printed.
#[derive(Clone, Serialize)]
struct Line {
    #[serde(flatten)]
    worker: WorkerView,
    expired: bool,
}

// All of them, and what a reader should know beside.
struct Listing {
    lines: Vec<Line>,
    notes: Vec<String>,
}

pub(super) async fn run(session: &Session, args: &ListArgs) -> Result<(), CliError> {
    let Listing { lines, notes } = list(session, args).await?;
    show(&shown(&lines, args.output)?, args.look)?;
    notes.iter().for_each(|text| note(text));
    Ok(())
}

async fn list(session: &Session, args: &ListArgs) -> Result<Listing, CliError> {
    let (workers, said) = all(session).await?;
    let lines: Vec<Line> =
        workers.into_iter().map(|worker| Line::new(worker, args.expiration)).collect();
    let notes = [said, notes(&lines)].concat();
    Ok(Listing { lines, notes })
}

fn shown(lines: &[Line], output: Output) -> Result<Shown, CliError> {
    let is_cordoned = lines.iter().any(|line| line.worker.report.summary.cordoned > 0);
    let table = |more: &[&'static str], row: fn(&Line) -> Vec<String>| {
        let rows = lines.iter().map(|line| Row::new(row(line)).failing(line.fails()));
        Table::new(&[&COLUMNS[..], more].concat(), rows.collect())
    };
    Ok(match output {
        Output::Json => json(&lines)?.into(),
        Output::Jsonl => jsonl(lines)?.into(),
        // People copy names; the Dest is for scripts and other programs.
        Output::Plain | Output::Table if is_cordoned => {
            table(&[CORDONED_COLUMN], Line::row_with_cordoned).for_scripts("Dest").into()
        }
        Output::Plain | Output::Table => table(&[], Line::row).for_scripts("Dest").into(),
        Output::Wide => table(&WIDE_COLUMNS, Line::wide_row).into(),
    })
}

// What to do about names that several processes use, and about what JetStream does not store.
fn notes(lines: &[Line]) -> Vec<String> {
    let mut notes = Vec::new();
    let since = |elapsed_ms| human_secs(Duration::from_millis(elapsed_ms));
    let still = lines.iter().filter_map(|line| {
        Some((&line.worker.name, line.worker.report.history_stands_still.as_ref()?))
    });
    notes.extend(first_ones(still.map(|(name, Standstill { elapsed_ms, why })| {
        format!("the history of {name} stands still since {}: {why}", since(*elapsed_ms))
    })));
    let behind = lines
        .iter()
        .filter_map(|line| Some((&line.worker.name, line.worker.report.unreachable.as_ref()?)));
    notes.extend(first_ones(behind.map(|(name, silent)| silent_behind_a_sidecar(name, silent))));
    let silent = lines.iter().filter(|line| line.worker.report.history_stands_still.is_none());
    let unstored = silent.filter_map(|line| Some((&line.worker.name, line.worker.unstored_ms?)));
    notes.extend(first_ones(unstored.map(|(name, elapsed_ms)| {
        format!(
            "the history of {name} stands still: JetStream has stored none of its reports for {}; see the storage of its servers",
            since(elapsed_ms)
        )
    })));
    for WorkerView { name, standing_by, duplicate, report, .. } in
        lines.iter().map(|line| &line.worker)
    {
        for other in standing_by {
            notes.push(format!(
                "{name}: held by host {} pid {}; a second process stands by on host {} pid {}: stop one of them, or give it another name",
                report.host, report.pid, other.host, other.pid
            ));
        }
        if *duplicate && standing_by.is_empty() {
            notes.push(format!(
                "a second worker reports as {name}: stop one of them, or give it another name"
            ));
        }
    }
    notes
}

// A trouble that a whole fleet has is not said a thousand times.
fn first_ones(notes: impl Iterator<Item = String>) -> Vec<String> {
    let mut notes: Vec<_> = notes.collect();
    let more = notes.len().saturating_sub(MAX_NOTES);
    if more > 0 {
        notes.truncate(MAX_NOTES);
        notes.push(format!("and so it is with {}", counted(more, "more worker")));
    }
    notes
}

async fn all(session: &Session) -> Result<(Vec<WorkerView>, Vec<String>), CliError> {
    session.system.workers().await.map_err(|error| match error {
        ListError::Call(error) => no_manager(error),
        ListError::GoesBack(_) => CliError::new(Exit::Failed, error),
    })
}

impl Line {
    fn new(worker: WorkerView, expiration: Option<Duration>) -> Self {
        let age = Duration::from_millis(worker.last_ping_ms);
        let expired = expiration
            .map_or_else(|| is_expired(age, worker.report.ping_interval_ms), |limit| age > limit);
        Line { worker, expired }
    }

    // Whether somebody has to look after it.
    fn fails(&self) -> bool {
        let WorkerView { lost, unstored_ms, report, .. } = &self.worker;
        let silent = self.expired && report.status != WorkerStatus::Stopped;
        let stands_still = report.history_stands_still.is_some() || unstored_ms.is_some();
        silent || *lost || stands_still || report.unreachable.is_some() || report.summary.errors > 0
    }

    fn row(&self) -> Vec<String> {
        let WorkerView { name, report, .. } = &self.worker;
        let counts = [
            report.summary.threads,
            report.summary.empty,
            report.summary.paused,
            report.summary.errors,
        ];
        let mut row = vec![name.clone(), report.dest.clone()];
        row.extend(counts.map(|count| count.to_string()));
        row.push(self.last_ping());
        row
    }

    fn last_ping(&self) -> String {
        let WorkerView { last_ping_ms, lost, report, .. } = &self.worker;
        let mut marks = Vec::new();
        marks.extend(self.expired.then_some("!"));
        marks.extend((report.status == WorkerStatus::Stopped).then_some("stopped"));
        marks.extend(lost.then_some("lost"));
        let age = human(Duration::from_millis(*last_ping_ms));
        if marks.is_empty() { age } else { format!("{age} ({})", marks.join(" ")) }
    }

    fn row_with_cordoned(&self) -> Vec<String> {
        let mut row = self.row();
        row.push(self.worker.report.summary.cordoned.to_string());
        row
    }

    fn wide_row(&self) -> Vec<String> {
        let report = &self.worker.report;
        let status = if self.worker.lost { "lost" } else { report.status.into() };
        let version = if report.version.is_empty() { "-" } else { &report.version };
        let counts = [report.summary.running, report.summary.waiting, report.summary.cordoned];
        let mut row = self.row();
        row.push(version.into());
        row.extend(counts.map(|count| count.to_string()));
        row.push(status.into());
        row
    }
}

#[cfg(test)]
mod tests {
    use damocles_terminal::table::Look;
    use serde_json::json;
    use shared_msgs::id::Id;

    use super::*;

    fn text(lines: &[Line], output: Output) -> String {
        shown(lines, output).unwrap().text(&Look::default())
    }

    fn worker(name: &str, last_ping_ms: u64) -> WorkerView {
        serde_json::from_value(json!({
            "name": name, "last_ping_ms": last_ping_ms, "instance_id": Id::NIL, "ping_interval_ms": 10_000,
            "dest": "damocles.v1.cmd.127=2E0=2E0=2E1", "version": "0.1.0", "status": "running",
            "summary": {"threads": 3, "empty": 0, "paused": 2, "running": 1, "waiting": 0, "errors": 3},
        }))
        .unwrap()
    }

    #[test]
    fn the_table_is_the_specs() {
        let rows = vec![
            Line::new(worker("127.0.0.1", 2_756), None).row(),
            Line::new(worker("127.0.0.1", 3_600_000), None).row(),
        ];
        let expected = "\
Name       Dest                             Threads  Empty  Paused  Errors  LastPing(with ! if expired)
127.0.0.1  damocles.v1.cmd.127=2E0=2E0=2E1  3        0      2       3       2.756s
127.0.0.1  damocles.v1.cmd.127=2E0=2E0=2E1  3        0      2       3       1h (!)
";
        assert_eq!(damocles_terminal::table(&COLUMNS, rows), expected);
    }

    #[test]
    fn wide_adds_columns() {
        let row = Line::new(worker("w", 0), None).wide_row();
        assert_eq!(row.len(), COLUMNS.len() + WIDE_COLUMNS.len());
        assert_eq!(row[7..], ["0.1.0", "1", "0", "0", "running"]);
        let lost = WorkerView { lost: true, ..worker("w", 0) };
        assert_eq!(Line::new(lost, None).wide_row()[11], "lost");
    }

    #[test]
    fn marks_stand_beside_the_age_of_the_last_report() {
        let cell = |age, status, lost| {
            let mut worker = WorkerView { lost, ..worker("w", age) };
            worker.report.status = status;
            Line::new(worker, None).last_ping()
        };
        assert_eq!(cell(2_700, WorkerStatus::Running, false), "2.700s");
        assert_eq!(cell(40_000, WorkerStatus::Running, false), "40s (!)");
        assert_eq!(cell(2_000, WorkerStatus::Running, true), "2s (lost)");
        assert_eq!(cell(40_000, WorkerStatus::Running, true), "40s (! lost)");
        assert_eq!(cell(2_000, WorkerStatus::Stopped, false), "2s (stopped)");
        assert_eq!(cell(40_000, WorkerStatus::Stopped, false), "40s (! stopped)");
    }

    #[test]
    fn cordoned_threads_are_counted_where_there_are_some() {
        let cordoned = |count| {
            let mut worker = worker("w", 0);
            worker.report.summary.cordoned = count;
            Line::new(worker, None)
        };
        let header = |lines: &[Line]| text(lines, Output::Plain).lines().next().unwrap().to_owned();
        assert!(!header(&[cordoned(0)]).contains(CORDONED_COLUMN));
        assert!(header(&[cordoned(0), cordoned(2)]).ends_with("(with ! if expired)  Cordoned"));
        assert_eq!(cordoned(2).row_with_cordoned()[7], "2");
        assert!(header(&[]).ends_with("(with ! if expired)"));
    }

    #[test]
    fn both_processes_of_one_name_are_named() {
        let mut twin = WorkerView { duplicate: true, ..worker("twin", 0) };
        (twin.report.host, twin.report.pid) = ("h1".into(), 55);
        assert_eq!(
            notes(&[Line::new(twin.clone(), None)]),
            ["a second worker reports as twin: stop one of them, or give it another name"]
        );
        let other = json!({"worker_id": Id::NIL, "instance_id": Id::NIL, "host": "h2", "pid": 77});
        twin.standing_by = vec![serde_json::from_value(other).unwrap()];
        assert_eq!(
            notes(&[Line::new(twin, None), Line::new(worker("w", 0), None)]),
            [
                "twin: held by host h1 pid 55; a second process stands by on host h2 pid 77: stop one of them, or give it another name"
            ]
        );
    }

    #[test]
    fn a_worker_that_does_not_answer_its_sidecar_is_said_and_fails() {
        let mut silent = worker("w1", 0);
        silent.report.unreachable =
            Some(Standstill { elapsed_ms: 125_000, why: "it cannot be reached: refused".into() });
        let line = Line::new(silent, None);
        assert!(line.fails());
        assert_eq!(
            notes(&[line]),
            [
                "the damocles-worker w1 does not answer its sidecar since 2m5s: it cannot be reached: refused"
            ]
        );
    }

    #[test]
    fn a_history_that_stands_still_is_said_and_a_fleets_once() {
        let mut still = worker("w1", 0);
        still.report.history_stands_still =
            Some(Standstill { elapsed_ms: 125_000, why: "no answer".into() });
        assert_eq!(
            notes(&[Line::new(still, None)]),
            ["the history of w1 stands still since 2m5s: no answer"]
        );
        let fleet: Vec<_> = (0..10)
            .map(|n| WorkerView { unstored_ms: Some(60_000), ..worker(&format!("w{n}"), 0) })
            .collect();
        let notes =
            notes(&fleet.into_iter().map(|worker| Line::new(worker, None)).collect::<Vec<_>>());
        assert!(
            notes[2].starts_with(
                "the history of w2 stands still: JetStream has stored none of its reports for 1m;"
            ),
            "{notes:?}"
        );
        assert_eq!(notes[3..], ["and so it is with 7 more workers"]);
    }

    #[test]
    fn three_silent_ping_intervals_or_the_given_time_expire_a_worker() {
        let expired = |millis, limit: Option<u64>| {
            Line::new(worker("w", millis), limit.map(Duration::from_millis)).expired
        };
        assert!(!expired(30_000, None) && expired(30_001, None));
        assert!(!expired(50, Some(50)) && expired(51, Some(50)) && !expired(30_001, Some(60_000)));
    }

    #[test]
    fn json_lines_carry_the_report_and_whether_it_is_expired() {
        let line = serde_json::to_value(Line::new(worker("w", 30_001), None)).unwrap();
        assert_eq!(
            (&line["name"], &line["expired"], &line["summary"]["errors"]),
            (&json!("w"), &json!(true), &json!(3))
        );
    }
}
