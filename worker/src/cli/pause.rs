//! `worker pause`: pauses one thread.

use clap::Args;
use damocles_client::worker_client::WorkerClient;
use damocles_terminal::{
    CliError,
    verbs::{self, NowArgs, SteerArgs},
};

/// Which thread to pause, and how.
#[derive(Args, Debug)]
pub struct PauseArgs {
    /// The thread's index, as in `list`
    #[arg(short, long)]
    pub index: u32,
    #[command(flatten)]
    pub now: NowArgs,
    /// How, and what to print.
    #[command(flatten)]
    pub steer: SteerArgs,
}

pub(crate) async fn run(worker: &WorkerClient, args: PauseArgs) -> Result<(), CliError> {
    verbs::pause(worker, args.index, args.now, args.steer).await
}
