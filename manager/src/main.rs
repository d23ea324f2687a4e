//! `damocles-manager`: see [`damocles_manager`] for the tour.

use std::process::ExitCode;

use damocles_manager::cli::{Cli, run};
use damocles_terminal::{Logging, Tool};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let (cli, given): (Cli, _) =
        match (Tool { features: &[], local: &["decode"], short_s: &[] }).parse() {
            Ok(read) => read,
            Err(exit) => return exit,
        };
    // The link's state is logged by us.
    let log = if cli.is_daemon() { "info,async_nats=off" } else { "warn,async_nats=off" };
    // One thread carries thousands of workers: a snapshot takes 16 µs.
    let logging = Logging { by_default: log, format: cli.log.log_format.into() };
    damocles_terminal::run(logging, &mut Builder::new_current_thread(), || run(cli, given))
}
