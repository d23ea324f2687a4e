//! `util worker pause`: one thread, or all that a selector selects.

use clap::Args;
use damocles_client::connect::NatsSettings;
use damocles_terminal::{
    CliError,
    verbs::{self, NowArgs, SteerArgs},
};
use shared_msgs::command::{CommandRequest, Verb};

use super::{
    bulk::BulkOrder,
    selectors::{ManyArgs, ThreadArgs},
    session::Session,
};

/// Which threads to pause, and how.
#[derive(Args, Debug)]
pub struct PauseArgs {
    #[command(flatten)]
    pub one: ThreadArgs,
    #[command(flatten)]
    pub now: NowArgs,
    /// How, and what to print.
    #[command(flatten)]
    pub steer: SteerArgs,
    #[command(flatten)]
    pub many: ManyArgs,
}

pub(super) async fn run(settings: NatsSettings, args: PauseArgs) -> Result<(), CliError> {
    let PauseArgs { one, now, steer, many } = args;
    let request = CommandRequest { now: now.now, ..CommandRequest::default() };
    if let Some(bulk) = BulkOrder::new(Verb::Pause, &many, request, &steer.order)? {
        steer.for_many()?;
        return bulk.run(&Session::connect(settings).await?.via(steer.order.via)).await.map(drop);
    }
    let (worker, threads) = one.threads()?;
    steer.check(&threads)?;
    let worker = Session::connect(settings).await?.via(steer.order.via).worker(&worker)?;
    verbs::pause(&worker, &threads, now, steer).await
}
