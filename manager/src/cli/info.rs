//! `util worker info`: one worker, thread by thread.

use clap::Args;
use damocles_client::{
    connect::NatsSettings,
    worker_client::{Via, WorkerClient},
};
use damocles_terminal::{
    CliError, Exit, Output, json, jsonl, note,
    said::silent_behind_a_sidecar,
    table::{LookArgs, Shown, show},
    threads,
    unanswered::unanswered,
    watch::watch,
};
use shared_msgs::{duration::human_secs, snapshot::WorkerSnapshot};

use super::session::{CLIENT_NAME, Session, Target};

/// Which worker to show, and how.
#[derive(Args, Debug)]
pub struct InfoArgs {
    #[command(flatten)]
    pub target: Target,
    /// Whom to ask: for whoever may ask managers only
    #[arg(
        long,
        value_enum,
        default_value_t,
        conflicts_with = "watch",
        hide_possible_values = true,
        value_name = "worker|manager"
    )]
    pub via: Via,
    /// Show it again whenever it changes, until Ctrl-C or q
    #[arg(long)]
    pub watch: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    pub look: LookArgs,
}

pub(super) async fn run(settings: NatsSettings, args: &InfoArgs) -> Result<(), CliError> {
    if args.watch {
        let worker = settings.prefix.worker_named(&args.target.worker);
        let worker = worker.map_err(|error| CliError::new(Exit::Usage, error))?;
        return watch(settings, CLIENT_NAME, worker, (args.output, args.look), shown).await;
    }
    let session = Session::connect(settings).await?.via(args.via);
    once(&session.worker(&args.target.worker)?, args).await
}

async fn once(worker: &WorkerClient, args: &InfoArgs) -> Result<(), CliError> {
    match worker.list().await {
        Ok(snapshot) => {
            show(&shown(&snapshot, args.output)?, args.look)?;
            if let Some(silent) = &snapshot.unreachable {
                note(&silent_behind_a_sidecar(worker.worker.as_str(), silent));
            }
            Ok(())
        }
        Err(error) => {
            if let Some(last) = error.last_report() {
                show(&shown(&last.snapshot, args.output)?, args.look)?;
                note(&format!(
                    "this is the last report of {}, as it was {} ago",
                    worker.worker,
                    human_secs(last.age)
                ));
            }
            Err(unanswered(&worker.worker, &error))
        }
    }
}

fn shown(snapshot: &WorkerSnapshot, output: Output) -> Result<Shown, CliError> {
    Ok(match output {
        Output::Json => json(snapshot)?.into(),
        Output::Jsonl => jsonl(&snapshot.threads)?.into(),
        Output::Plain | Output::Table => threads::plain(&snapshot.threads).into(),
        Output::Wide => threads::wide(&snapshot.threads).into(),
    })
}

#[cfg(test)]
mod tests {
    use damocles_terminal::table::Look;
    use serde_json::{Value, json};
    use shared_msgs::{id::Id, snapshot::ThreadSnapshot};

    use super::*;

    fn text(snapshot: &WorkerSnapshot, output: Output) -> String {
        shown(snapshot, output).unwrap().text(&Look::default())
    }

    fn snapshot(threads: Value) -> WorkerSnapshot {
        serde_json::from_value(json!({"instance_id": Id::NIL, "seq": 1, "threads": threads}))
            .unwrap()
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
        assert_eq!(text(&sample(), Output::Plain), expected);
        assert_eq!(text(&sample(), Output::Table), expected);
    }

    #[test]
    fn wide_says_how_far_a_stage_is() {
        let running = json!({"kind": "running", "elapsed_ms": 5_000, "processor": "pc1 (pid 7)", "progress": "layer 7 of 11"});
        let threads = json!([{"index": 0, "stage": "PC1", "status": running}]);
        let shown = text(&snapshot(threads), Output::Wide);
        assert!(shown.contains("  PC1    running 5s in pc1 (pid 7), layer 7 of 11  "), "{shown}");
    }

    #[test]
    fn wide_adds_plan_stage_status_retries_revision_and_whether_it_is_cordoned() {
        let expected = "\
Index  Loc      SectorID     Plan    Paused  PausedElapsed  State   Stage  Status                    Retry  Revision  Cordoned  LastErr
0      /store1  s-t010000-2  sealer  true    13m42s         C1Done  C2     paused 13m42s by an error  0  14        false     permanent: No\\nparameters
1      /store2  -            sealer  false   -              Empty   -      idle                      0   0         false     -
";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&text(&sample(), Output::Wide)), squeezed(expected));
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
        assert_eq!(text(&cordoned, Output::Plain), expected);
    }

    #[test]
    fn an_abort_that_waits_for_a_running_stage_is_shown() {
        let mut waiting = sample();
        waiting.threads[0].end_pending =
            Some("given up, ended by the sector manager: bad disk".into());
        let plain = text(&waiting, Output::Plain);
        let cells = |line: usize| {
            plain
                .lines()
                .nth(line)
                .unwrap()
                .split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (cells(0)[6], cells(1)[6], cells(2)[6]),
            ("EndPending", "given up, ended by the sector manager: bad disk", "-")
        );
        let wide = text(&waiting, Output::Wide);
        assert!(
            wide.contains(
                "paused 13m42s by an error (to be given up, ended by the sector manager: bad disk)"
            ),
            "{wide}"
        );
    }

    #[test]
    fn json_is_the_whole_snapshot_and_jsonl_a_thread_a_line() {
        let whole: WorkerSnapshot = serde_json::from_str(&text(&sample(), Output::Json)).unwrap();
        assert_eq!(whole, sample());
        let lines = text(&sample(), Output::Jsonl);
        let threads: Vec<ThreadSnapshot> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(threads, sample().threads);
    }
}
