//! `worker cordon`, `uncordon` and `drain`: whether threads take new sectors.

use clap::Args;
use damocles_terminal::{
    CliError,
    drain::{self, DrainWaitArgs},
    verbs::{self, OrderArgs},
};
use shared_msgs::command::Verb;

use super::{target::Target, threads::ThreadsArgs};

#[derive(Args, Debug)]
pub struct CordonArgs {
    #[command(flatten)]
    pub threads: ThreadsArgs,
    /// Why, and what to print.
    #[command(flatten)]
    pub order: OrderArgs,
}

pub(crate) async fn run(target: Target, verb: Verb, args: CordonArgs) -> Result<(), CliError> {
    let CordonArgs { threads, order } = args;
    let threads = threads.some_or_all(&order)?;
    verbs::cordon(&target.command(order.via).await?, verb, &threads, order).await
}

#[derive(Args, Debug)]
pub struct DrainArgs {
    #[command(flatten)]
    pub wait: DrainWaitArgs,
    /// Which, and how.
    #[command(flatten)]
    pub cordon: CordonArgs,
}

pub(crate) async fn drain(target: Target, args: DrainArgs) -> Result<(), CliError> {
    let DrainArgs { wait, cordon: CordonArgs { threads, order } } = args;
    let threads = threads.some_or_all(&order)?;
    drain::drain(&target.command(order.via).await?, &threads, wait, order).await
}
