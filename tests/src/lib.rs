//! The harness of the end-to-end tests and of the demo: real programs, a real nats-server for each
//! test. A tour:
//!
//! - [`testbed`]: a test's own NATS server, directory and connection; everything else is started
//!   from it
//! - [`nats_server`], [`worker`], [`manager`]: the programs under test, started, stopped, killed
//!   and frozen
//! - [`nats_cluster`]: three servers that replicate, of which one dies or freezes
//! - [`state_watch`], [`sector_manager_requests`]: waiting for what the bus says; [`bus`]: asking over it
//! - [`event_log`], [`leases`]: what the bus keeps; [`scatter`]: asking every worker at once;
//!   [`proxy`]: a network that fails
//! - [`parameters`]: for proofs that are real; [`credentials`]: what clients log in to NATS with
//! - [`cli`]: running a command-line tool to its end; [`terminal`]: a tool on a terminal of its own; [`nats_client`]: the `nats` client, where
//!   there is one
//! - [`gate`]: holding an external processor until the test lets it go on; [`fake_sector_manager`]:
//!   one that says what a test wants to hear; [`played_worker`]: a worker that only talks to the
//!   mock sector manager; [`played_commands`]: one that only takes commands; [`played_damocles`]: a
//!   damocles-worker as others have it, for sidecars
//! - [`contract`]: what others rely on, as files
//! - [`simulation`]: whole systems in memory, by seed
//! - [`tmpfs`]: a disk that can be full; [`outputs`]: what a log cannot be written to
//! - [`children`]: the processes that a worker starts; [`damocles_tasks`]: what damocles's own
//!   processors are given
//! - [`process`], [`log`], [`watchdog`], [`scratch`], [`binaries`]: children that never outlive a
//!   test, their output, a directory that stays when the test fails, and where the programs are
//!
//! Nothing here sleeps to wait: each wait is for one thing, and gives up after [`DEADLINE`].
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a harness says what went wrong by failing the test"
)]

use std::time::Duration;

pub mod binaries;
pub mod bus;
pub mod children;
pub mod cli;
pub mod contract;
pub mod credentials;
pub mod damocles;
pub mod damocles_tasks;
pub mod event_log;
pub mod fake_sector_manager;
pub mod gate;
pub mod leases;
pub mod log;
pub mod manager;
pub mod nats_client;
pub mod nats_cluster;
pub mod nats_server;
pub mod outputs;
pub mod parameters;
pub mod played_commands;
pub mod played_damocles;
pub mod played_worker;
pub mod process;
pub mod proxy;
pub mod scatter;
pub mod scratch;
pub mod sector_manager_requests;
pub mod simulation;
pub mod state_watch;
pub mod terminal;
pub mod testbed;
pub mod tmpfs;
pub mod watchdog;
pub mod worker;

/// How long to wait for anything before the test fails. Far above what anything takes, for machines
/// that are busy.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The repository's top directory.
pub fn repository() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
