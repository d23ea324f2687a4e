//! The sidecar: beside an unmodified damocles-worker, of any release since v0.2, it speaks for that
//! worker on the bus. It lists the threads by the worker's own socket and publishes the same
//! snapshots, events and lease as a worker of ours, and it carries commands out there, as far as
//! that is possible without loss.
//!
//! ```text
//!  damocles-worker <--VenusWorker.*-- owner --views, runs--> session --presence--> the bus
//!     (unmodified)                     |  ^                                           |
//!                                memory.rs +---------------- commands ----------------+
//! ```
//! - [`config`]: which workers; [`session`]: one sidecar from its start to its stop, with a new
//!   instance id for each run of the worker
//! - [`owner`]: the task that owns what is known of the worker; [`memory`]: what outlives a sidecar
//! - [`mirror`]: what a list says; [`kept`]: what must not be forgotten of a thread; [`release`]: when
//!   a pause may be sent; [`decision`]: what a command means; [`view`]: what is shown. These are pure,
//!   and hold the rules that keep an operator from what the worker's socket does to a sector
//!
//! What always holds:
//! - A pause is never sent while the thread does something that it would throw away.
//! - What the socket cannot do is refused (`not_supported`), never made to look as if it were done.
//! - A worker that is stuck, or not there, holds up nobody but its own sidecar.
//!
//! Tests: `traps_tests.rs`, one a trap, named after it; the scenarios `damocles::sidecar`.
//!
//! Decision 049 in `docs/decisions`.

pub mod config;
mod decision;
mod kept;
mod memory;
mod mirror;
mod owner;
mod release;
mod session;
#[cfg(test)]
mod traps_tests;
mod view;

pub use memory::MemoryError;
pub use session::{Sidecar, SidecarError, run_all};
