//! `damocles-manager`: see [`damocles_manager`] for the tour.

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use clap::Parser;
use damocles_manager::cli::{Cli, run};
use shared_msgs::cli::{CliError, Exit, finish};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The link's state is logged by us, once per outage.
    let default = if cli.is_daemon() { "info,async_nats=off" } else { "warn,async_nats=off" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let terminal = std::io::stderr().is_terminal();
    // A log that nobody reads any more is no reason to panic.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal);
    log.log_internal_errors(false).init();

    // One thread carries thousands of workers: a snapshot takes 16 µs.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return finish(Err(CliError::new(Exit::Failed, format!("cannot start: {error}")))),
    };
    let result = runtime.block_on(run(cli));
    runtime.shutdown_timeout(Duration::ZERO);
    finish(result)
}
