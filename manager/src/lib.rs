//! The manager: sees every worker, answers operators, and can stand in for a sector manager. It
//! owns no state, so any number of managers run beside each other. A tour:
//!
//! - [`registry`]: the read model; pure
//! - [`bus`]: how the registry is fed and asked over NATS
//! - [`mock`]: the mock sector manager; [`relay`]: a damocles sector manager that already runs
//! - [`daemon`]: the order of start and stop
//! - [`cli`]: the command-line tool, one file a verb; [`config`]: its configuration file

pub(crate) mod bus;
pub mod cli;
pub(crate) mod config;
pub(crate) mod daemon;
pub(crate) mod mock;
pub mod registry;
pub(crate) mod relay;
