//! `util worker info`.

use std::time::Duration;

use clap::Args;
use shared_msgs::{
    cli::{CliError, Output, human_secs, json, jsonl, note, print, table},
    snapshot::{ThreadSnapshot, WorkerSnapshot},
    worker_client::{WorkerClient, said::status},
};

use super::worker::Target;

pub(super) mod watch;

const COLUMNS: [&str; 7] = ["Index", "Loc", "SectorID", "Paused", "PausedElapsed", "State", "LastErr"];
const COLUMNS_WITH_CORDONED: [&str; 8] = ["Index", "Loc", "SectorID", "Paused", "PausedElapsed", "State", "Cordoned", "LastErr"];
const WIDE_COLUMNS: [&str; 12] =
    ["Index", "Loc", "SectorID", "Plan", "Paused", "PausedElapsed", "State", "Stage", "Status", "Revision", "Cordoned", "LastErr"];

/// Which worker to show, and how.
#[derive(Args, Debug)]
pub struct InfoArgs {
    /// Which worker.
    #[command(flatten)]
    pub target: Target,
    /// Show it again whenever it changes, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

pub(super) async fn run(worker: &WorkerClient, output: Output) -> Result<(), CliError> {
    match worker.list().await {
        Ok(snapshot) => print(&shown(&snapshot, output)?),
        Err(unanswered) => {
            if let Some(last) = &unanswered.last {
                print(&shown(&last.snapshot, output)?)?;
                note(&format!("this is the last report of {}, as it was {} ago", worker.worker, human_secs(last.age)));
            }
            Err(unanswered.into())
        }
    }
}

fn shown(snapshot: &WorkerSnapshot, output: Output) -> Result<String, CliError> {
    Ok(match output {
        Output::Json => json(snapshot)?,
        Output::Jsonl => jsonl(&snapshot.threads)?,
        Output::Plain | Output::Table if snapshot.threads.iter().any(|thread| thread.cordoned) => {
            table(&COLUMNS_WITH_CORDONED, snapshot.threads.iter().map(row_with_cordoned).collect())
        }
        Output::Plain | Output::Table => table(&COLUMNS, snapshot.threads.iter().map(row).collect()),
        Output::Wide => table(&WIDE_COLUMNS, snapshot.threads.iter().map(wide_row).collect()),
    })
}

fn row(thread: &ThreadSnapshot) -> Vec<String> {
    let paused = thread.status.paused_for();
    vec![
        thread.index.to_string(),
        or_dash(Some(&thread.location)),
        or_dash(thread.sector_id.as_deref()),
        paused.is_some().to_string(),
        or_dash(paused.map(human_secs).as_deref()),
        or_dash(Some(&thread.state)),
        or_dash(thread.last_err.as_deref()),
    ]
}

// Before the error, which is as long as it likes.
fn row_with_cordoned(thread: &ThreadSnapshot) -> Vec<String> {
    let mut row = row(thread);
    row.insert(row.len() - 1, thread.cordoned.to_string());
    row
}

fn wide_row(thread: &ThreadSnapshot) -> Vec<String> {
    let mut row = row_with_cordoned(thread);
    let (plan, stage) = (or_dash(Some(&thread.plan)), or_dash(thread.stage.as_deref()));
    row.insert(3, plan);
    row.splice(7..7, [stage, status(&thread.status, Duration::ZERO), thread.revision.to_string()]);
    row
}

// An empty cell would be lost between two columns.
fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared_msgs::id::Id;

    use super::*;

    fn snapshot(threads: Value) -> WorkerSnapshot {
        serde_json::from_value(json!({"instance_id": Id::NIL, "seq": 1, "threads": threads})).unwrap()
    }

    fn sample() -> WorkerSnapshot {
        snapshot(json!([
            {"index": 0, "location": "/store1", "plan": "sealer", "sector_id": "s-t010000-2", "state": "C1Done", "stage": "C2",
             "status": {"kind": "paused", "elapsed_ms": 822_345, "by": "error"}, "revision": 14, "last_err": "permanent: No\nparameters"},
            {"index": 1, "location": "/store2", "plan": "sealer", "state": "Empty", "status": {"kind": "idle"}},
        ]))
    }

    #[test]
    fn the_table_is_the_specs() {
        let expected = "\
Index  Loc      SectorID     Paused  PausedElapsed  State   LastErr
0      /store1  s-t010000-2  true    13m42s         C1Done  permanent: No\\nparameters
1      /store2  -            false   -              Empty   -
";
        assert_eq!(shown(&sample(), Output::Plain).unwrap(), expected);
        assert_eq!(shown(&sample(), Output::Table).unwrap(), expected);
    }

    #[test]
    fn wide_says_how_far_a_stage_is() {
        let running = json!({"kind": "running", "elapsed_ms": 5_000, "processor": "pc1 (pid 7)", "progress": "layer 7 of 11"});
        let shown = shown(&snapshot(json!([{"index": 0, "stage": "PC1", "status": running}])), Output::Wide).unwrap();
        assert!(shown.contains("  PC1    running 5s in pc1 (pid 7), layer 7 of 11  "), "{shown}");
    }

    #[test]
    fn wide_adds_plan_stage_status_revision_and_whether_it_is_cordoned() {
        let expected = "\
Index  Loc      SectorID     Plan    Paused  PausedElapsed  State   Stage  Status                    Revision  Cordoned  LastErr
0      /store1  s-t010000-2  sealer  true    13m42s         C1Done  C2     paused 13m42s by an error  14        false     permanent: No\\nparameters
1      /store2  -            sealer  false   -              Empty   -      idle                      0         false     -
";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&shown(&sample(), Output::Wide).unwrap()), squeezed(expected));
    }

    #[test]
    fn a_cordoned_thread_adds_a_column() {
        let mut cordoned = sample();
        cordoned.threads[1].cordoned = true;
        let expected = "\
Index  Loc      SectorID     Paused  PausedElapsed  State   Cordoned  LastErr
0      /store1  s-t010000-2  true    13m42s         C1Done  false     permanent: No\\nparameters
1      /store2  -            false   -              Empty   true      -
";
        assert_eq!(shown(&cordoned, Output::Plain).unwrap(), expected);
    }

    #[test]
    fn json_is_the_whole_snapshot_and_jsonl_a_thread_a_line() {
        let whole: WorkerSnapshot = serde_json::from_str(&shown(&sample(), Output::Json).unwrap()).unwrap();
        assert_eq!(whole, sample());
        let lines = shown(&sample(), Output::Jsonl).unwrap();
        let threads: Vec<ThreadSnapshot> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(threads, sample().threads);
    }
}
