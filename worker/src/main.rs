//! `damocles-worker`: see [`damocles_worker`] for the tour.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use damocles_worker::{
    cli::{Cli, Command, run},
    failpoint,
};
use shared_msgs::cli::{CliError, Exit, finish};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    failpoint::setup();
    let cli = Cli::parse();
    let daemon = matches!(cli.command, Command::Daemon(_));
    // The proofs library is talkative, and the link's state is logged by us, once per outage.
    let seals = daemon || matches!(cli.command, Command::Processor(_));
    let default = if seals { "info,filecoin_proofs=warn,storage_proofs=warn,async_nats=off" } else { "warn,async_nats=off" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal).init();

    let mut builder = if daemon { tokio::runtime::Builder::new_multi_thread() } else { tokio::runtime::Builder::new_current_thread() };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return finish(Err(CliError::new(Exit::Failed, format!("cannot start: {error}")))),
    };
    let result = runtime.block_on(run(&cli.nats, cli.command));
    // A stage that outlived the grace period runs on a blocking thread; the process does not wait for it.
    runtime.shutdown_timeout(Duration::ZERO);
    finish(result)
}
