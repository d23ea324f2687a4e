//! `worker list`: the threads of a running worker.

use clap::Args;
use damocles_terminal::{
    CliError, Output, json, jsonl, note,
    said::silent_behind_a_sidecar,
    table::{LookArgs, Shown, show},
    threads,
    unanswered::unanswered,
    watch::watch,
};
use shared_msgs::{
    duration::human_secs,
    snapshot::{ThreadSnapshot, WorkerSnapshot},
};

use super::target::{CLIENT_NAME, Target};

#[derive(Args, Debug)]
pub struct ListArgs {
    /// Show it again whenever it changes, until Ctrl-C or q
    #[arg(long)]
    pub watch: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    pub look: LookArgs,
}

pub(crate) async fn run(target: Target, args: &ListArgs) -> Result<(), CliError> {
    if args.watch {
        return watch(
            target.settings,
            CLIENT_NAME,
            target.worker,
            (args.output, args.look),
            render,
        )
        .await;
    }
    let worker = target.connect().await?;
    let snapshot = worker.list().await.map_err(|error| unanswered(&worker.worker, &error))?;
    show(&render(&snapshot, args.output)?, args.look)?;
    if let Some(silent) = &snapshot.unreachable {
        note(&silent_behind_a_sidecar(worker.worker.as_str(), silent));
    }
    Ok(())
}

fn render(snapshot: &WorkerSnapshot, output: Output) -> Result<Shown, CliError> {
    Ok(match output {
        Output::Plain => {
            let lines = snapshot.threads.iter().map(|thread| line(thread) + "\n");
            lines.collect::<String>().into()
        }
        Output::Table => threads::plain(&snapshot.threads).into(),
        Output::Wide => threads::wide(&snapshot.threads).into(),
        Output::Json => json(snapshot)?.into(),
        Output::Jsonl => jsonl(&snapshot.threads)?.into(),
    })
}

// The form that damocles prints, and that scripts read.
fn line(thread: &ThreadSnapshot) -> String {
    let paused_for = thread.status.paused_for();
    // Only where it says something: the line is otherwise what scripts know.
    let cordoned = if thread.cordoned { ", cordoned=true" } else { "" };
    let ends =
        thread.end_pending.as_ref().map(|end| format!(", end_pending={end:?}")).unwrap_or_default();
    format!(
        "#{}: {:?}; sector_id={}, paused={}, paused_elapsed={}, state={}, last_err={:?}{cordoned}{ends}",
        thread.index,
        thread.location,
        some(thread.sector_id.as_deref().map(damocles_terminal::printable)),
        paused_for.is_some(),
        some(paused_for.map(human_secs)),
        damocles_terminal::printable(&thread.state),
        thread.last_err,
    )
}

fn some(value: Option<String>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| format!("Some({value})"))
}

#[cfg(test)]
mod tests {
    use damocles_terminal::table::Look;
    use shared_msgs::snapshot::{PausedBy, ThreadStatus};

    use super::*;

    fn thread_table(threads: &[ThreadSnapshot], wide: bool) -> String {
        let table = if wide { threads::wide(threads) } else { threads::plain(threads) };
        table.text(&Look::default())
    }

    fn thread() -> ThreadSnapshot {
        ThreadSnapshot {
            index: 0,
            location: "/abs/path/store1".into(),
            plan: "sealer".into(),
            sector_id: Some("s-t010000-2".into()),
            state: "C1Done".into(),
            stage: Some("C2".into()),
            cordoned: false,
            status: ThreadStatus::Paused { elapsed_ms: 17_250, by: PausedBy::Error },
            revision: 14,
            retry: 0,
            end_pending: None,
            last_err: Some("permanent: No cached parameters found".into()),
        }
    }

    #[test]
    fn the_table_shows_cordons_where_there_are_any() {
        let header = |threads: &[ThreadSnapshot], wide| {
            thread_table(threads, wide).lines().next().unwrap_or_default().to_owned()
        };
        assert!(!header(&[thread()], false).contains("Cordoned"));
        assert!(header(&[thread()], true).contains("Cordoned"));
        let some = [thread(), ThreadSnapshot { cordoned: true, ..thread() }];
        assert!(header(&some, false).contains("Cordoned"));
        let cells = thread_table(&some, false)
            .lines()
            .map(|line| line.split_whitespace().nth(6).map(str::to_owned))
            .collect::<Vec<_>>();
        assert_eq!(cells, [Some("Cordoned".into()), Some("false".into()), Some("true".into())]);
    }

    #[test]
    fn a_thread_prints_as_the_spec_shows() {
        let expected = "#0: \"/abs/path/store1\"; sector_id=Some(s-t010000-2), paused=true, paused_elapsed=Some(17s), \
                        state=C1Done, last_err=Some(\"permanent: No cached parameters found\")";
        assert_eq!(line(&thread()), expected);
        assert_eq!(
            line(&ThreadSnapshot { cordoned: true, ..thread() }),
            format!("{expected}, cordoned=true")
        );
        let ends = ThreadSnapshot { end_pending: Some("given up, bad disk".into()), ..thread() };
        assert_eq!(line(&ends), format!("{expected}, end_pending=\"given up, bad disk\""));
        let end = ["EndPending", "(to be given up, bad disk)"];
        let shown =
            |wide| end.map(|text| thread_table(std::slice::from_ref(&ends), wide).contains(text));
        assert_eq!((shown(false), shown(true)), ([true, false], [false, true]));
        let empty = ThreadSnapshot {
            sector_id: None,
            state: "Empty".into(),
            status: ThreadStatus::Idle,
            last_err: None,
            ..thread()
        };
        let expected = "#0: \"/abs/path/store1\"; sector_id=None, paused=false, paused_elapsed=None, state=Empty, last_err=None";
        assert_eq!(line(&empty), expected);
    }
}
