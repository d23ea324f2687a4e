//! `history`: the stream of events, which alone has each of them exactly once.

use clap::Args;
use damocles_client::{
    connect::NatsSettings,
    history::{History, HistoryError, Query, Read, Since},
};
use shared_msgs::{name::WorkerName, sector_manager::SectorId};

mod known;
mod lines;
mod since;
mod words;

use lines::{HistoryOutput, Lines};

use crate::{CliError, Exit, Stop, nats::connect_to_stay, note};

/// Whose events are wanted: everybody's by default.
#[derive(Clone, Debug, Default)]
pub struct Of {
    /// This worker's.
    pub worker: Option<WorkerName>,
    /// Those of this thread, by its position in the configuration.
    pub index: Option<u32>,
}

/// Which events to show, and how.
#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// Only what was stored since then: so long ago (1h, 7d), or a time (2026-11-26, '2026-11-26
    /// 08:00', 2026-11-26T08:00:00+08:00, yesterday, today), in UTC unless it has an offset
    #[arg(long, value_name = "TIME", value_parser = since::since)]
    pub since: Option<Since>,
    /// Only what happened to this sector, e.g. s-t010000-2
    #[arg(long, value_name = "ID")]
    pub sector: Option<SectorId>,
    /// Go on with what happens from now on, until Ctrl-C
    #[arg(long)]
    pub follow: bool,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: HistoryOutput,
}

// What became of what was read.
#[derive(Default)]
struct Progress {
    shown: u64,
    unreadable: u64,
}

/// Prints the events; `client_name` is what NATS shows of the connection.
pub async fn print_history(
    settings: NatsSettings,
    client_name: &str,
    of: Of,
    args: &HistoryArgs,
) -> Result<(), CliError> {
    if args.follow && args.output == HistoryOutput::Json {
        return Err(CliError::new(Exit::Usage, "one JSON array has an end, and --follow has none")
            .hint("use -o jsonl"));
    }
    let mut stop = Stop::listen()?;
    let mut progress = Progress::default();
    let ended = tokio::select! {
        ended = show(settings, client_name, of, args, &mut progress) => ended,
        _ = stop.asked() => Ok(()),
    };
    if progress.unreadable > 0 {
        note(&format!("{} events could not be read", progress.unreadable));
    }
    ended
}

async fn show(
    settings: NatsSettings,
    client_name: &str,
    of: Of,
    args: &HistoryArgs,
    progress: &mut Progress,
) -> Result<(), CliError> {
    let connection = match args.follow {
        true => connect_to_stay(&settings, client_name).await?.0,
        false => settings.connect_once(client_name).await?,
    };
    let NatsSettings { prefix, timeout, .. } = &settings;
    let Of { worker, index } = of;
    let sector = args.sector.map(|sector| sector.to_string());
    let query = Query { worker, index, sector, since: args.since };
    if args.follow {
        known::note_unknown(&connection, prefix, &query, *timeout).await;
    }
    let history = match args.follow {
        true => History::follow(&connection, prefix, query.clone(), *timeout).await,
        false => History::open(&connection, prefix, query.clone(), *timeout).await,
    };
    let mut history = history.map_err(unreadable)?;
    let mut lines = Lines::new(args.output);
    lines.begin()?;
    while let Some(read) = history.next().await.map_err(unreadable)? {
        match read {
            Read::Event(recorded) => {
                progress.shown += 1;
                if !lines.print(&recorded)? {
                    return Ok(());
                }
            }
            Read::Unreadable { seq, subject, why } => {
                if progress.unreadable == 0 {
                    note(&format!("event {seq} on {subject} cannot be read: {why}"));
                }
                progress.unreadable += 1;
            }
            Read::StreamGone(why) => {
                note(&format!(
                    "the stream of events {why}; this goes on with what the new one holds"
                ));
            }
        }
    }
    lines.end()?;
    if progress.shown == 0 {
        known::check(&connection, prefix, &query, *timeout).await?;
        note("no such event is kept");
    }
    Ok(())
}

fn unreadable(error: HistoryError) -> CliError {
    match &error {
        HistoryError::NoJetStream => CliError::new(Exit::Failed, error)
            .hint("start nats-server with JetStream (-js), or name another one with --server"),
        HistoryError::NoStream(_) => CliError::new(Exit::Failed, error)
            .hint("a manager makes it: start one with `damocles-manager daemon`, or see its log for why it could not"),
        HistoryError::Silent(_) => CliError::new(Exit::NoAnswer, error),
        HistoryError::Denied(denial) => denial.clone().into(),
        HistoryError::Failed(_) => CliError::new(Exit::Failed, error),
    }
}
