//! What worker, manager and command-line tools have in common. A tour:
//!
//! - [`name`], [`subject`]: worker names as subject tokens, and every subject, bucket and stream
//!   name
//! - [`id`], [`codec`]: ids; payloads that say themselves whether they are JSON or MessagePack
//! - [`snapshot`]: what a worker says about its threads, [`state_bucket`] where that is kept;
//!   [`event`]: what happened to them; [`lease`]: which process owns a worker's name
//! - [`command`]: the verbs, their requests and replies; [`selector`]: which threads they are for;
//!   [`error`]: what a refusal looks like; [`api`]: what managers answer; [`sector_manager`]: what a worker
//!   asks of the sector manager
//! - [`plan`]: the plans with their states and stages, as data
//! - [`connect`], [`client`], [`jetstream`]: reaching NATS, asking over it, whether it keeps
//!   anything; [`hedged`]: asking again;
//!   [`worker_client`]: commanding one worker
//! - [`config`], [`cli`], [`log`]: strict configuration files; exit codes and output of the
//!   command-line tools; what is logged
//! - [`tasks`]: tasks that must not end while their process runs; [`standstill`]: what should go on
//!   and does not
//!
//! Nothing here depends on the worker or the manager.

pub mod api;
pub mod cli;
pub mod client;
pub mod codec;
pub mod command;
pub mod config;
pub mod connect;
pub mod error;
pub mod event;
pub mod hedged;
pub mod id;
pub mod jetstream;
pub mod lease;
pub mod log;
pub mod name;
pub mod plan;
pub mod sector_manager;
pub mod sectors;
pub mod selector;
pub mod snapshot;
pub mod standstill;
pub mod state_bucket;
pub mod subject;
pub mod tasks;
pub mod worker_client;
