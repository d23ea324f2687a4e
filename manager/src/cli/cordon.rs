//! `util worker cordon`, `uncordon` and `drain`: whether threads take new sectors.

use clap::Args;
use damocles_client::connect::NatsSettings;
use damocles_terminal::{
    CliError,
    drain::{self, Cordoned, DrainWaitArgs},
    verbs::{self, OrderArgs},
};
use shared_msgs::command::{BulkReply, CommandRequest, Verb};

use super::{
    bulk::BulkOrder,
    selectors::{ManyArgs, ThreadsArgs},
    session::Session,
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
    pub wait: DrainWaitArgs,
    /// Which, and how.
    #[command(flatten)]
    pub cordon: CordonArgs,
}

pub(super) async fn run(
    settings: NatsSettings,
    verb: Verb,
    args: CordonArgs,
) -> Result<(), CliError> {
    let CordonArgs { some, order, many } = args;
    if let Some(bulk) = BulkOrder::new(verb, &many, CommandRequest::default(), &order)? {
        return bulk.run(&Session::connect(settings).await?.via(order.via)).await.map(drop);
    }
    let (worker, threads) = some.threads()?;
    let worker = Session::connect(settings).await?.via(order.via).worker(&worker)?;
    verbs::cordon(&worker, verb, &threads, order).await
}

pub(super) async fn drain(settings: NatsSettings, args: DrainArgs) -> Result<(), CliError> {
    let DrainArgs { wait, cordon: CordonArgs { some, order, many } } = args;
    let dry_run = order.dry_run;
    if let Some(bulk) = BulkOrder::new(Verb::Cordon, &many, CommandRequest::default(), &order)? {
        let session = Session::connect(settings).await?.via(order.via);
        let replies = BulkOrder { drains: true, waits: !dry_run && !wait.detach, ..bulk }
            .run(&session)
            .await?;
        return match dry_run {
            true => Ok(()),
            false => wait.until_empty(cordoned(&session, replies)?).await,
        };
    }
    let (worker, threads) = some.threads()?;
    let worker = Session::connect(settings).await?.via(order.via).worker(&worker)?;
    drain::drain(&worker, &threads, wait, order).await
}

fn cordoned(session: &Session, replies: Vec<BulkReply>) -> Result<Vec<Cordoned>, CliError> {
    replies.into_iter().map(|reply| Ok((session.worker(&reply.worker)?, reply.threads))).collect()
}
