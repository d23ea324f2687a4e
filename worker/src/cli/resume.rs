//! `worker resume`: resumes threads.

use clap::Args;
use damocles_terminal::{
    CliError,
    confirm::ForceArgs,
    indexes::{self, Indexes},
    verbs::{self, NextState, SteerArgs},
};

use super::target::Target;

/// Which threads to resume, and from where.
#[derive(Args, Debug)]
pub struct ResumeArgs {
    /// The thread's index, as in `list`, or several: 0,2-4
    #[arg(short, long, value_name = "N", required = true)]
    pub index: Vec<Indexes>,
    /// The state to go on from [default: the current one]
    #[arg(long, visible_alias = "to")]
    pub state: Option<String>,
    #[command(flatten)]
    pub force: ForceArgs,
    /// How, and what to print.
    #[command(flatten)]
    pub steer: SteerArgs,
}

pub(crate) async fn run(target: Target, args: ResumeArgs) -> Result<(), CliError> {
    let ResumeArgs { index, state, force, steer } = args;
    let indexes = indexes::all(&index);
    steer.check(&indexes)?;
    let next = NextState::new(state, force, &steer.order)?;
    verbs::resume(&target.command(steer.order.via).await?, &indexes, next, steer).await
}
