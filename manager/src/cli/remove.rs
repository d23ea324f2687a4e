//! `util worker remove`: has the managers forget a worker that has gone.

use clap::Args;
use damocles_client::call::CallError;
use damocles_terminal::{CliError, ReplyOutput, print_done};
use shared_msgs::{
    api::{RemoveReply, RemoveRequest, verb},
    duration::human,
    error::ErrorKind,
};

use super::session::{Session, Target, no_manager};

/// Which worker to forget.
#[derive(Args, Debug)]
pub struct RemoveArgs {
    #[command(flatten)]
    pub target: Target,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

pub(super) async fn run(session: &Session, args: &RemoveArgs) -> Result<(), CliError> {
    let request = RemoveRequest { worker: args.target.worker.clone() };
    let reply: RemoveReply =
        session.system.ask_managers(verb::REMOVE, &request).await.map_err(refused)?;
    print_done(&reply, &format!("{}: removed", reply.removed), args.output)
}

fn refused(error: CallError) -> CliError {
    match &error {
        CallError::Refused(body) => match &body.kind {
            ErrorKind::WorkerReports { worker, last_ping_ms } => {
                let ago = human(std::time::Duration::from_millis(*last_ping_ms));
                CliError {
                    message: format!("worker {worker} still reports, last {ago} ago"),
                    ..error.into()
                }
                .hint("stop it first, or wait until it is expired")
            }
            ErrorKind::WorkerNotFound { .. } => CliError::from(error)
                .hint("`damocles-manager util worker list` shows the workers there are"),
            _ => error.into(),
        },
        CallError::TimedOut { .. } => {
            let message = format!(
                "{error}; the outcome is unknown: the worker may have been removed, or may still be"
            );
            CliError { message, ..error.into() }
                .hint("`damocles-manager util worker list` shows whether it is still there")
        }
        _ => no_manager(error),
    }
}
