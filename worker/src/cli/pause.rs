//! `worker pause`: pauses one thread.

use clap::Args;
use shared_msgs::{
    cli::CliError,
    worker_client::{
        WorkerClient,
        verbs::{NowArgs, OrderArgs, RevisionArgs, WaitArgs},
    },
};

/// Which thread to pause, and how.
#[derive(Args, Debug)]
pub struct PauseArgs {
    /// The thread's index, as in `list`
    #[arg(short, long)]
    pub index: u32,
    /// At once.
    #[command(flatten)]
    pub now: NowArgs,
    /// Unless it has changed.
    #[command(flatten)]
    pub revision: RevisionArgs,
    /// Until it is paused.
    #[command(flatten)]
    pub wait: WaitArgs,
    /// Why, and what to print.
    #[command(flatten)]
    pub order: OrderArgs,
}

/// Pauses.
pub async fn run(worker: &WorkerClient, args: PauseArgs) -> Result<(), CliError> {
    worker.pause(args.index, args.now, args.revision, args.wait, args.order).await
}
