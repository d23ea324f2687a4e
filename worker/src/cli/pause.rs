//! `worker pause`: pauses one thread.

use clap::Args;
use damocles_terminal::{
    CliError,
    worker_client::{
        WorkerClient,
        verbs::{NowArgs, SteerArgs},
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
    /// How, and what to print.
    #[command(flatten)]
    pub steer: SteerArgs,
}

/// Pauses.
pub async fn run(worker: &WorkerClient, args: PauseArgs) -> Result<(), CliError> {
    worker.pause(args.index, args.now, args.steer).await
}
