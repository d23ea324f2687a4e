//! `util worker list`.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use shared_msgs::{
    api::{ListWorkersReply, ListWorkersRequest, WorkerView, verb},
    cli::{CliError, Exit, Output, human, json, jsonl, note, print, table},
    snapshot::WorkerStatus,
};

use super::worker::{Session, no_manager};
use crate::registry::is_expired;

const COLUMNS: [&str; 7] = ["Name", "Dest", "Threads", "Empty", "Paused", "Errors", "LastPing(with ! if expired)"];
const WIDE_COLUMNS: [&str; 4] = ["Version", "Running", "Waiting", "Status"];

/// How to list.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// A worker is expired when its last report is older than this [default: three of its own ping intervals]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub expiration: Option<Duration>,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

// A worker as it is printed.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    worker: WorkerView,
    expired: bool,
}

pub(super) async fn run(session: &Session, args: &ListArgs) -> Result<(), CliError> {
    let lines: Vec<Line> = all(session).await?.into_iter().map(|worker| Line::new(worker, args.expiration)).collect();
    print(&match args.output {
        Output::Json => json(&lines)?,
        Output::Jsonl => jsonl(&lines)?,
        Output::Plain | Output::Table => table(&COLUMNS, lines.iter().map(Line::row).collect()),
        Output::Wide => table(&[&COLUMNS[..], &WIDE_COLUMNS].concat(), lines.iter().map(Line::wide_row).collect()),
    })?;
    for Line { worker, .. } in lines.iter().filter(|line| line.worker.duplicate) {
        note(&format!("a second worker reports as {}: stop one of them, or give it another name", worker.name));
    }
    Ok(())
}

// Page after page; each may come from another manager.
async fn all(session: &Session) -> Result<Vec<WorkerView>, CliError> {
    let mut workers: Vec<WorkerView> = Vec::new();
    let mut after = None;
    loop {
        let request = ListWorkersRequest { after: after.clone(), limit: None };
        let page: ListWorkersReply = session.ask_managers(verb::LIST, &request).await.map_err(no_manager)?;
        workers.extend(page.workers);
        match page.next {
            None => return Ok(workers),
            // Names rise from page to page, or this would never end.
            next if next > after => after = next,
            Some(next) => return Err(CliError::new(Exit::Failed, format!("a manager's list goes back to {next:?}"))),
        }
    }
}

impl Line {
    fn new(worker: WorkerView, expiration: Option<Duration>) -> Self {
        let age = Duration::from_millis(worker.last_ping_ms);
        let expired = expiration.map_or_else(|| is_expired(age, worker.report.ping_interval_ms), |limit| age > limit);
        Line { worker, expired }
    }

    fn row(&self) -> Vec<String> {
        let WorkerView { name, last_ping_ms, report, .. } = &self.worker;
        let last_ping = human(Duration::from_millis(*last_ping_ms)) + if self.expired { " (!)" } else { "" };
        let counts = [report.summary.threads, report.summary.empty, report.summary.paused, report.summary.errors];
        let mut row = vec![name.clone(), report.dest.clone()];
        row.extend(counts.map(|count| count.to_string()));
        row.push(last_ping);
        row
    }

    fn wide_row(&self) -> Vec<String> {
        let report = &self.worker.report;
        let status = match report.status {
            WorkerStatus::Running => "running",
            WorkerStatus::Stopping => "stopping",
            WorkerStatus::Stopped => "stopped",
            WorkerStatus::Other => "other",
        };
        let version = if report.version.is_empty() { "-" } else { &report.version };
        let mut row = self.row();
        row.extend([version.into(), report.summary.running.to_string(), report.summary.waiting.to_string(), status.into()]);
        row
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared_msgs::id::Id;

    use super::*;

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
        let rows = vec![Line::new(worker("127.0.0.1", 2_756), None).row(), Line::new(worker("127.0.0.1", 3_600_000), None).row()];
        let expected = "\
Name       Dest                             Threads  Empty  Paused  Errors  LastPing(with ! if expired)
127.0.0.1  damocles.v1.cmd.127=2E0=2E0=2E1  3        0      2       3       2.756s
127.0.0.1  damocles.v1.cmd.127=2E0=2E0=2E1  3        0      2       3       1h (!)
";
        assert_eq!(table(&COLUMNS, rows), expected);
    }

    #[test]
    fn wide_adds_columns() {
        let row = Line::new(worker("w", 0), None).wide_row();
        assert_eq!(row.len(), COLUMNS.len() + WIDE_COLUMNS.len());
        assert_eq!(row[7..], ["0.1.0", "1", "0", "running"]);
    }

    #[test]
    fn three_silent_ping_intervals_or_the_given_time_expire_a_worker() {
        let expired = |millis, limit: Option<u64>| Line::new(worker("w", millis), limit.map(Duration::from_millis)).expired;
        assert!(!expired(30_000, None) && expired(30_001, None));
        assert!(!expired(50, Some(50)) && expired(51, Some(50)) && !expired(30_001, Some(60_000)));
    }

    #[test]
    fn json_lines_carry_the_report_and_whether_it_is_expired() {
        let line = serde_json::to_value(Line::new(worker("w", 30_001), None)).unwrap();
        assert_eq!((&line["name"], &line["expired"], &line["summary"]["errors"]), (&json!("w"), &json!(true), &json!(3)));
    }
}
