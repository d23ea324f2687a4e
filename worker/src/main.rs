//! `damocles-worker`: see [`damocles_worker`] for the tour.

use std::process::ExitCode;

use damocles_terminal::{Logging, Tool};
use damocles_worker::{
    cli::{Cli, Command, run},
    failpoint,
    processor::FEATURES,
};
use tokio::runtime::Builder;

const TOOL: Tool<'static> =
    Tool { features: FEATURES, local: &["store", "processor", "generator"], short_s: SHORT_S };
// As damocles-worker has it; anywhere else -s is a server.
const SHORT_S: &[(&[&str], &str)] =
    &[(&["worker", "resume"], "--state"), (&["generator", "tree-d"], "--sector-size")];

fn main() -> ExitCode {
    failpoint::setup();
    let (cli, given): (Cli, _) = match TOOL.parse() {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    let daemon = matches!(cli.command, Command::Daemon | Command::Sidecar(_));
    // The proofs library is talkative, and the link's state is logged by us.
    let seals = daemon || matches!(cli.command, Command::Processor(_));
    let log = if seals {
        "info,filecoin_proofs=warn,storage_proofs=warn,async_nats=off"
    } else {
        "warn,async_nats=off"
    };
    let mut runtime =
        if daemon { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    let logging = Logging { by_default: log, format: cli.log.log_format.into() };
    damocles_terminal::run(logging, &mut runtime, || run(cli, given))
}
