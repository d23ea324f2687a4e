//! A sealing thread: one task owns its state, everybody else sends it a message.
//!
//! ```text
//!            commands                       ThreadView (watch)
//!  commands.rs -------> mailbox -> owner.rs -------------------> snapshots.rs
//!                                   |   ^
//!                          record.rs|   |plan::driver (one step at a time)
//! ```
//! - [`control`]: what a pause or resume means (pure); [`view`]: what the world sees
//! - [`mailbox`]: what others send it; [`owner`]: the task; [`history`]: what its changes are as
//!   events; [`own_config`]: what its own file says
//! - [`report`], [`heartbeat`]: what the sector manager is told of it; [`verdict`]: what it answers

pub(crate) mod control;
pub(crate) mod heartbeat;
pub(crate) mod history;
pub(crate) mod mailbox;
pub(crate) mod own_config;
pub mod owner;
pub mod report;
pub(crate) mod verdict;
pub mod view;

pub use mailbox::ThreadHandle;
