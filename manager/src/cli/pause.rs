//! `util worker pause`.

use clap::Args;
use shared_msgs::{
    cli::CliError,
    command::CommandRequest,
    worker_client::{WorkerClient, caller},
};

use super::worker::{ReplyOutput, Target, print_reply};

/// Which thread to pause.
#[derive(Args, Debug)]
pub struct PauseArgs {
    /// Which worker.
    #[command(flatten)]
    pub target: Target,
    /// The thread's index, as `info` shows it
    pub index: u32,
    /// Why, for the worker's log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

pub(super) async fn run(worker: &WorkerClient, args: PauseArgs) -> Result<(), CliError> {
    let request = CommandRequest { by: Some(caller()), reason: args.reason, ..CommandRequest::to(args.index) };
    print_reply(&worker.pause(&request).await?, args.output)
}
