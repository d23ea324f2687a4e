//! `worker cordon` and `worker uncordon`: whether threads take new sectors.

use clap::Args;
use damocles_terminal::{
    CliError,
    verbs::{self, OrderArgs},
};
use shared_msgs::command::Verb;

use super::target::Target;

#[derive(Args, Debug)]
pub struct CordonArgs {
    /// A thread's index, as in `list`; may be given several times [default: all threads]
    #[arg(short, long)]
    pub index: Vec<u32>,
    /// Why, and what to print.
    #[command(flatten)]
    pub order: OrderArgs,
}

pub(crate) async fn run(target: Target, verb: Verb, args: CordonArgs) -> Result<(), CliError> {
    verbs::cordon(&target.connect().await?, verb, &args.index, args.order).await
}
