//! `worker resume`: resumes one thread.

use clap::Args;
use shared_msgs::{cli::CliError, worker_client::WorkerClient};

use super::pause::{ReplyOutput, print_reply};

/// Which thread to resume, and from where.
#[derive(Args, Debug)]
pub struct ResumeArgs {
    /// The thread's index, as in `list`
    #[arg(short, long)]
    pub index: u32,
    /// The state to go on from [default: the current one]
    #[arg(long)]
    pub state: Option<String>,
    /// Why, for the worker's log
    #[arg(long)]
    pub reason: Option<String>,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

/// Resumes.
pub async fn run(worker: &WorkerClient, args: &ResumeArgs) -> Result<(), CliError> {
    let reply = worker.resume(args.index, args.state.clone(), args.reason.clone()).await?;
    print_reply(&reply, args.output)
}
