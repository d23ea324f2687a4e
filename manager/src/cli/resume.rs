//! `util worker resume`: one thread, or all that a selector selects.

use clap::Args;
use damocles_client::connect::NatsSettings;
use damocles_terminal::{
    CliError,
    selectors::{state, usage},
    verbs::{self, NextState, SteerArgs},
};
use shared_msgs::command::{CommandRequest, Verb};

use super::{
    bulk::BulkOrder,
    selectors::{ManyArgs, ThreadArgs},
    session::Session,
};

/// Which threads to resume, and where.
#[derive(Args, Debug)]
pub struct ResumeArgs {
    #[command(flatten)]
    pub one: ThreadArgs,
    /// The state to go on from [default: the one it is in]
    #[arg(id = "next", value_name = "STATE", conflicts_with_all = ["selector", "to", "state"])]
    pub next: Option<String>,
    /// The state to go on from; of many threads, all of them [default: the one each is in]
    #[arg(id = "to", long, value_name = "STATE", conflicts_with = "state")]
    pub to: Option<String>,
    /// The same, of a thread that is named by WORKER and INDEX
    #[arg(id = "state", long, value_name = "STATE")]
    pub state: Option<String>,
    /// How, and what to print.
    #[command(flatten)]
    pub steer: SteerArgs,
    #[command(flatten)]
    pub many: ManyArgs,
}

pub(super) async fn run(settings: NatsSettings, args: ResumeArgs) -> Result<(), CliError> {
    let ResumeArgs { one, next, to, state: of_one, steer, many } = args;
    let request = CommandRequest { state: to.clone(), ..CommandRequest::default() };
    if let Some(bulk) = BulkOrder::new(Verb::Resume, &many, request, &steer.order)? {
        steer.for_many()?;
        if of_one.is_some() {
            return Err(usage(
                "--state is where a thread goes on: of many write --to STATE; those in a state are selected by --in-state STATE",
            ));
        }
        let to = to.as_deref().map(state).transpose();
        let to = to.map_err(|error| usage(format!("--to: {error}")))?;
        to.map_or(Ok(()), |to| many.fleet.threads.check_state("--to", to))?;
        return bulk.run(&Session::connect(settings).await?.via(steer.order.via)).await.map(drop);
    }
    let (worker, threads) = one.threads()?;
    steer.check(&threads)?;
    let next = NextState::new(next.or(to).or(of_one), many.force, &steer.order)?;
    let worker = Session::connect(settings).await?.via(steer.order.via).worker(&worker)?;
    verbs::resume(&worker, &threads, next, steer).await
}
