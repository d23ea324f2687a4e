//! `worker pause`: pauses one thread.

use clap::Args;
use damocles_terminal::{
    CliError,
    verbs::{self, NowArgs, SteerArgs},
};

use super::target::Target;

/// Which thread to pause, and how.
#[derive(Args, Debug)]
pub struct PauseArgs {
    /// The thread's index, as in `list`
    #[arg(short, long)]
    pub index: u32,
    #[command(flatten)]
    pub now: NowArgs,
    /// How, and what to print.
    #[command(flatten)]
    pub steer: SteerArgs,
}

pub(crate) async fn run(target: Target, args: PauseArgs) -> Result<(), CliError> {
    verbs::pause(&target.connect().await?, args.index, args.now, args.steer).await
}
