//! `damocles-manager`: see [`damocles_manager`] for the tour.

use std::process::ExitCode;

use damocles_manager::cli::{Cli, run};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let cli: Cli = damocles_terminal::parse();
    // The link's state is logged by us, once per outage.
    let log = if cli.is_daemon() { "info,async_nats=off" } else { "warn,async_nats=off" };
    // One thread carries thousands of workers: a snapshot takes 16 µs.
    damocles_terminal::run(log, &mut Builder::new_current_thread(), || run(cli))
}
