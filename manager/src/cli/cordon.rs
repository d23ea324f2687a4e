//! `util worker cordon`, `uncordon` and `drain`: whether threads take new sectors.

use clap::Args;
use damocles_client::connect::NatsSettings;
use damocles_terminal::{
    CliError,
    verbs::{self, OrderArgs, WaitArgs},
};
use shared_msgs::command::{CommandRequest, Verb};

use super::{
    bulk::BulkOrder,
    selectors::{ManyArgs, ThreadsArgs},
    session::{Session, Target},
};

#[derive(Args, Debug)]
pub struct CordonArgs {
    #[command(flatten)]
    pub some: ThreadsArgs,
    /// Why, and what to print.
    #[command(flatten)]
    pub order: OrderArgs,
    #[command(flatten)]
    pub many: ManyArgs,
}

#[derive(Args, Debug)]
pub struct DrainArgs {
    #[command(flatten)]
    pub target: Target,
    /// Threads' indexes, as `info` shows them [default: all threads of the worker]
    #[arg(value_name = "INDEX")]
    pub indexes: Vec<u32>,
    /// Until they are empty.
    #[command(flatten)]
    pub wait: WaitArgs,
    /// Why, and what to print.
    #[command(flatten)]
    pub order: OrderArgs,
}

pub(super) async fn run(
    settings: NatsSettings,
    verb: Verb,
    args: CordonArgs,
) -> Result<(), CliError> {
    let CordonArgs { some, order, many } = args;
    let request = CommandRequest { reason: order.reason.clone(), ..CommandRequest::default() };
    if let Some(bulk) = BulkOrder::new(verb, &many, request, order.output)? {
        return bulk.run(&Session::connect(settings).await?).await;
    }
    let worker = some.worker()?;
    let worker = Session::connect(settings).await?.worker(&worker)?;
    verbs::cordon(&worker, verb, &some.indexes, order).await
}

pub(super) async fn drain(settings: NatsSettings, args: DrainArgs) -> Result<(), CliError> {
    let DrainArgs { target, indexes, wait, order } = args;
    let worker = Session::connect(settings).await?.worker(&target.worker)?;
    verbs::drain(&worker, &indexes, wait, order).await
}
