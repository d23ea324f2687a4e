//! `worker resume`: resumes one thread.

use clap::Args;
use damocles_terminal::{
    CliError,
    verbs::{self, SteerArgs},
};

use super::target::Target;

/// Which thread to resume, and from where.
#[derive(Args, Debug)]
pub struct ResumeArgs {
    /// The thread's index, as in `list`
    #[arg(short, long)]
    pub index: u32,
    /// The state to go on from [default: the current one]
    #[arg(long)]
    pub state: Option<String>,
    /// How, and what to print.
    #[command(flatten)]
    pub steer: SteerArgs,
}

pub(crate) async fn run(target: Target, args: ResumeArgs) -> Result<(), CliError> {
    verbs::resume(&target.connect().await?, args.index, args.state, args.steer).await
}
