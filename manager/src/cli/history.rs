//! `util worker history`: the stream of events, which alone has each of them exactly once.

use std::time::Duration;

use clap::Args;
use damocles_client::{
    connect::NatsSettings,
    history::{History, HistoryError, Query, Read},
};
use damocles_terminal::{CliError, Exit, Stop, note};

use super::session::Session;

mod lines;
mod words;

use lines::{HistoryOutput, Lines};

/// Which events to show, and how.
#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// The worker's name or Dest, as `list` shows them [default: all workers]
    #[arg(value_name = "WORKER")]
    pub worker: Option<String>,
    /// Only what happened to this sealing thread
    #[arg(value_name = "INDEX")]
    pub index: Option<u32>,
    /// Only what was stored in this time, e.g. 1h or 7d
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub since: Option<Duration>,
    /// Only what happened to this sector, e.g. s-t010000-2
    #[arg(long, value_name = "ID")]
    pub sector: Option<String>,
    /// Go on with what happens from now on, until Ctrl-C
    #[arg(short, long)]
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

pub(super) async fn run(settings: NatsSettings, args: &HistoryArgs) -> Result<(), CliError> {
    if args.follow && args.output == HistoryOutput::Json {
        return Err(CliError::new(Exit::Usage, "one JSON array has an end, and --follow has none")
            .hint("use -o jsonl"));
    }
    let mut stop = Stop::listen()?;
    let mut progress = Progress::default();
    let ended = tokio::select! {
        ended = show(settings, args, &mut progress) => ended,
        _ = stop.asked() => Ok(()),
    };
    if progress.unreadable > 0 {
        note(&format!("{} events could not be read", progress.unreadable));
    }
    ended
}

async fn show(
    settings: NatsSettings,
    args: &HistoryArgs,
    progress: &mut Progress,
) -> Result<(), CliError> {
    let session = match args.follow {
        true => Session::connect_to_stay(settings).await?.0,
        false => Session::connect(settings).await?,
    };
    let Session { client, settings, .. } = &session;
    let prefix = &settings.prefix;
    let worker = args.worker.as_deref().map(|worker| prefix.worker_named(worker)).transpose();
    let query = Query {
        worker: worker.map_err(|error| CliError::new(Exit::Usage, error))?,
        index: args.index,
        sector: args.sector.clone(),
        since: args.since,
    };
    let history = match args.follow {
        true => History::follow(client, prefix, query, settings.timeout).await,
        false => History::open(client, prefix, query, settings.timeout).await,
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
        HistoryError::Failed(_) => CliError::new(Exit::Failed, error),
    }
}
