//! `worker resume`: resumes threads.

use clap::Args;
use damocles_terminal::{
    CliError,
    selectors::{state, usage},
    verbs::{self, NextState, SteerArgs},
};

use super::{target::Target, threads::ThreadsArgs};

/// Which threads to resume, and from where.
#[derive(Args, Debug)]
pub struct ResumeArgs {
    #[command(flatten)]
    pub threads: ThreadsArgs,
    /// The state to go on from [default: the current one]
    #[arg(long, visible_alias = "to")]
    pub state: Option<String>,
    /// How, and what to print.
    #[command(flatten)]
    pub steer: SteerArgs,
}

pub(crate) async fn run(target: Target, args: ResumeArgs) -> Result<(), CliError> {
    let ResumeArgs { threads: of, state: to, steer } = args;
    let threads = of.some(&steer.order)?;
    steer.check(&threads)?;
    // What one thread can go on from, its worker knows best.
    if let Some(to) = to.as_deref().filter(|_| threads.one().is_none()) {
        let to = state(to).map_err(|error| usage(format!("--state: {error}")))?;
        of.selectors.check_state("--state", to)?;
    }
    let next = NextState::new(to, of.force, &steer.order)?;
    verbs::resume(&target.command(steer.order.via).await?, &threads, next, steer).await
}
