//! `worker cordon`, `uncordon` and `drain`: whether threads take new sectors.

use clap::Args;
use damocles_terminal::{
    CliError,
    drain::{self, DrainWaitArgs},
    indexes::{self, Indexes},
    verbs::{self, OrderArgs},
};
use shared_msgs::command::Verb;

use super::target::Target;

#[derive(Args, Debug)]
pub struct CordonArgs {
    /// Threads' indexes, as in `list`, e.g. 0,2-4 [default: all threads]
    #[arg(short, long, value_name = "N")]
    pub index: Vec<Indexes>,
    /// Why, and what to print.
    #[command(flatten)]
    pub order: OrderArgs,
}

pub(crate) async fn run(target: Target, verb: Verb, args: CordonArgs) -> Result<(), CliError> {
    let CordonArgs { index, order } = args;
    let worker = target.command(order.via).await?;
    verbs::cordon(&worker, verb, &indexes::all(&index), order).await
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
    let DrainArgs { wait, cordon: CordonArgs { index, order } } = args;
    drain::drain(&target.command(order.via).await?, &indexes::all(&index), wait, order).await
}
