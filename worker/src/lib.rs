//! The sealing worker. A tour, from the outside in:
//!
//! - [`cli`]: the command line; [`config`]: the configuration; [`daemon`]: start-up
//! - [`bus`]: the edge to NATS
//! - [`worker`]: the worker at work, whatever its bus, clock and stores are, and how it stops;
//!   [`sidecar`]: another program at work, beside which this one speaks for it
//! - [`presence`]: what speaks and listens under a worker's name
//! - [`identity`]: who the worker is, and its snapshots; [`lease`]: whether this process holds the
//!   lease of its name
//! - [`commands`]: requests in, answers out; [`snapshots`]: what is so now; [`events`]: what has
//!   happened, exactly once; [`stillness`]: whether it goes on
//! - [`thread`]: one task owns each sealing thread; what commands and failures mean for it
//! - [`plan`]: one step of a plan at a time; [`stage`]: what is done in each state
//! - [`sector_manager`]: what asking means for a thread
//! - [`processor`]: who does the heavy work: the proofs library (crate `sealing-proofs`), or an
//!   external process
//! - [`failure`]: how bad a failure is; [`activity`]: what the running step says it does
//! - [`store`]: what must not be lost; [`clock`]: the time of day; [`open_files`]: how many there
//!   may be

pub mod activity;
pub mod bus;
pub mod cli;
pub(crate) mod clock;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod events;
pub mod failpoint;
pub mod failure;
pub mod identity;
pub mod lease;
pub(crate) mod link;
pub(crate) mod open_files;
pub mod plan;
pub mod presence;
pub mod processor;
pub mod sector_manager;
pub mod server_clock;
pub mod sidecar;
pub mod snapshots;
pub(crate) mod stage;
pub(crate) mod stillness;
pub mod store;
pub mod thread;
pub mod worker;
