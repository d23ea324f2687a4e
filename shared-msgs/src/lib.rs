//! What goes over the bus between workers, managers and tools. A tour:
//!
//! - [`name`], [`subject`]: worker names as subject tokens, and every subject, bucket and stream
//!   name
//! - [`id`], [`codec`]: ids; payloads that say themselves whether they are JSON or MessagePack
//! - [`snapshot`]: what a worker says about its threads; [`event`]: what happened to them;
//!   [`lease`]: which process owns a worker's name
//! - [`command`]: the verbs, their requests and replies; [`selector`]: which threads they are for;
//!   [`error`]: what a refusal looks like; [`api`]: what managers answer; [`sector_manager`]: what a worker
//!   asks of the sector manager
//! - [`plan`]: the plans with their states and stages, as data
//! - [`duration`]: durations for people; [`text`]: texts that have to fit, and texts of others
//!   that are shown
//! - [`keys`]: which keys a type reads, and which one a misspelt one was meant to be
//!
//! Nothing here reads, writes, waits or prints: whoever reaches NATS does so by `damocles-client`.

pub mod api;
pub mod codec;
pub mod command;
pub mod duration;
pub mod error;
pub mod event;
pub mod id;
pub mod keys;
pub mod lease;
pub mod name;
pub mod plan;
pub mod sector_manager;
pub mod sectors;
pub mod selector;
pub mod snapshot;
pub mod subject;
pub mod text;
