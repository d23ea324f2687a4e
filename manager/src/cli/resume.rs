//! `util worker resume`.

use clap::Args;
use shared_msgs::{cli::CliError, worker_client::WorkerClient};

use super::worker::{ReplyOutput, Target, print_reply};

/// Which thread to resume, and where.
#[derive(Args, Debug)]
pub struct ResumeArgs {
    /// Which worker.
    #[command(flatten)]
    pub target: Target,
    /// The thread's index, as `info` shows it
    pub index: u32,
    /// The state to go on from [default: the one it is in]
    pub state: Option<String>,
    /// Why, for the worker's log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

pub(super) async fn run(worker: &WorkerClient, args: ResumeArgs) -> Result<(), CliError> {
    print_reply(&worker.resume(args.index, args.state, args.reason).await?, args.output)
}
