//! `worker cordon` and `worker uncordon`: whether threads take new sectors.

use clap::Args;
use shared_msgs::{
    cli::CliError,
    command::Verb,
    worker_client::{WorkerClient, verbs::OrderArgs},
};

/// Which threads.
#[derive(Args, Debug)]
pub struct CordonArgs {
    /// A thread's index, as in `list`; may be given several times [default: all threads]
    #[arg(short, long)]
    pub index: Vec<u32>,
    /// Why, and what to print.
    #[command(flatten)]
    pub order: OrderArgs,
}

/// Cordons, or ends that.
pub async fn run(worker: &WorkerClient, verb: Verb, args: CordonArgs) -> Result<(), CliError> {
    worker.cordon(verb, &args.index, args.order).await
}
