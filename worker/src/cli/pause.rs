//! `worker pause`: pauses threads.

use clap::Args;
use damocles_terminal::{
    CliError,
    verbs::{self, NowArgs, SteerArgs},
};

use super::{target::Target, threads::ThreadsArgs};

/// Which threads to pause, and how.
#[derive(Args, Debug)]
pub struct PauseArgs {
    #[command(flatten)]
    pub threads: ThreadsArgs,
    #[command(flatten)]
    pub now: NowArgs,
    /// How, and what to print.
    #[command(flatten)]
    pub steer: SteerArgs,
}

pub(crate) async fn run(target: Target, args: PauseArgs) -> Result<(), CliError> {
    let PauseArgs { threads, now, steer } = args;
    let threads = threads.some(&steer.order)?;
    steer.check(&threads)?;
    verbs::pause(&target.command(steer.order.via).await?, &threads, now, steer).await
}
