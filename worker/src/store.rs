//! Where a sealing thread keeps things: its record (redb), its sector's files, and the attached
//! stores that finished sectors go to.
//!
//! ```text
//!  <location>/store.redb            database.rs  one transaction a change:
//!                                     record.rs    what the thread is doing, and what the stages yielded
//!                                     invariants.rs  what is true of every record
//!                                     results.rs   what commands were answered, by their request ids
//!                                     outbox.rs    what has happened and is not published yet
//!                                     handle.rs    opening it, and opening it again after it has failed
//!                                     own.rs       what concerns the whole worker, in the first store that works
//!  <location>/store.reserve         handle.rs    space for the time when the disk is full
//!  <location>/data/<kind>/<sector>  location.rs  the sector's files while it is worked on
//!  <location>/data/aside/…          aside.rs     files of sectors that are not this thread's any more
//!  <attached>/{sealed,cache}/…      attached.rs  the sector's files for good
//!  <attached>/sectorstore.json      sector_store.rs  what a store says of itself
//!                                     transfer.rs  copies into them that are whole or not there
//!  <either>/damocles.json           place.rs     which directory this is: its disk may not be mounted
//!  <state directory>/sidecar/…      mirror.rs    what a sidecar keeps of another program's threads
//! ```
//! What must outlive a loss of power is written by [`durable`]; [`files`] works on any files.

pub(crate) mod aside;
pub(crate) mod attached;
pub mod database;
pub(crate) mod durable;
#[cfg(test)]
pub(crate) mod failing_disk;
pub(crate) mod files;
mod handle;
mod invariants;
pub mod location;
pub(crate) mod mirror;
pub mod outbox;
pub mod own;
pub(crate) mod place;
pub mod record;
pub(crate) mod results;
pub(crate) mod sector_store;
pub(crate) mod transfer;
