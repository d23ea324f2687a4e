//! `util worker history`: what happened to the workers and their threads.

use clap::Args;
use damocles_client::connect::NatsSettings;
use damocles_terminal::{
    CliError, Exit,
    history::{self, Of, print_history},
};

use super::session::CLIENT_NAME;

/// Which events to show, and how.
#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// The worker's name or Dest, as `list` shows them [default: all workers]
    #[arg(value_name = "WORKER")]
    pub worker: Option<String>,
    /// Only what happened to this sealing thread
    #[arg(value_name = "INDEX")]
    pub index: Option<u32>,
    #[command(flatten)]
    pub events: history::HistoryArgs,
}

pub(super) async fn run(settings: NatsSettings, args: &HistoryArgs) -> Result<(), CliError> {
    let worker = args.worker.as_deref().map(|worker| settings.prefix.worker_named(worker));
    let worker = worker.transpose().map_err(|error| CliError::new(Exit::Usage, error))?;
    let of = Of { worker, index: args.index };
    print_history(settings, CLIENT_NAME, of, &args.events).await
}
