//! `worker pause`: pauses threads.

use clap::Args;
use damocles_terminal::{
    CliError,
    indexes::{self, Indexes},
    verbs::{self, NowArgs, SteerArgs},
};

use super::target::Target;

/// Which threads to pause, and how.
#[derive(Args, Debug)]
pub struct PauseArgs {
    /// The thread's index, as in `list`, or several: 0,2-4
    #[arg(short, long, value_name = "N", required = true)]
    pub index: Vec<Indexes>,
    #[command(flatten)]
    pub now: NowArgs,
    /// How, and what to print.
    #[command(flatten)]
    pub steer: SteerArgs,
}

pub(crate) async fn run(target: Target, args: PauseArgs) -> Result<(), CliError> {
    let PauseArgs { index, now, steer } = args;
    let indexes = indexes::all(&index);
    steer.check(&indexes)?;
    verbs::pause(&target.command(steer.order.via).await?, &indexes, now, steer).await
}
