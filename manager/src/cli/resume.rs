//! `util worker resume`: one thread, or all that a selector selects.

use clap::Args;
use damocles_client::connect::NatsSettings;
use damocles_terminal::{
    CliError,
    verbs::{self, SteerArgs},
};
use shared_msgs::{
    command::{CommandRequest, Verb},
    plan::State,
};

use super::{
    bulk::BulkOrder,
    selectors::{MANY, ManyArgs, ThreadArgs, state},
    session::Session,
};

/// Which threads to resume, and where.
#[derive(Args, Debug)]
pub struct ResumeArgs {
    #[command(flatten)]
    pub one: ThreadArgs,
    /// The state to go on from [default: the one it is in]
    #[arg(id = "from_state", value_name = "STATE", conflicts_with = "selector")]
    pub state: Option<String>,
    /// How, and what to print.
    #[command(flatten)]
    pub steer: SteerArgs,
    #[command(flatten)]
    pub many: ManyArgs,
    /// The state that all of them go on from [default: the one each is in]
    #[arg(long, value_name = "STATE", requires = "selector", value_parser = state, help_heading = MANY)]
    pub to: Option<State>,
}

pub(super) async fn run(settings: NatsSettings, args: ResumeArgs) -> Result<(), CliError> {
    let ResumeArgs { one, state, steer, many, to } = args;
    let target = to.map(|state| state.name().to_owned());
    let request = CommandRequest {
        state: target,
        reason: steer.order.reason.clone(),
        ..CommandRequest::default()
    };
    if let Some(bulk) = BulkOrder::new(Verb::Resume, &many, request, steer.order.output)? {
        many.for_one_thread_only(&steer)?;
        to.map_or(Ok(()), |state| many.selectors.check_state("--to", state))?;
        return bulk.run(&Session::connect(settings).await?).await;
    }
    let (worker, index) = one.thread()?;
    let worker = Session::connect(settings).await?.worker(&worker)?;
    verbs::resume(&worker, index, state, steer).await
}
