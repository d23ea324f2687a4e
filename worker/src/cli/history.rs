//! `worker history`: what happened to this worker and its threads.

use clap::Args;
use damocles_terminal::{
    CliError,
    history::{self, Of, print_history},
};

use super::target::{CLIENT_NAME, Target};

#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// Only what happened to the thread of this index
    #[arg(short, long, value_name = "N")]
    pub index: Option<u32>,
    #[command(flatten)]
    pub events: history::HistoryArgs,
}

pub(crate) async fn run(target: Target, args: &HistoryArgs) -> Result<(), CliError> {
    let of = Of { worker: Some(target.worker), index: args.index };
    print_history(target.settings, CLIENT_NAME, of, &args.events).await
}
