//! Where a sealing thread keeps things: its record (redb), its sector's files, and the attached stores that finished
//! sectors go to.
//!
//! ```text
//!  <location>/store.redb            database.rs  one transaction a change:
//!                                     record.rs    what the thread is doing, and what the stages yielded
//!                                     results.rs   what commands were answered, by their request ids
//!                                     outbox.rs    what has happened and is not published yet
//!  <location>/data/<kind>/<sector>  location.rs  the sector's files while it is worked on
//!  <location>/data/aside/…          aside.rs     files of sectors that are not this thread's any more
//!  <attached>/{sealed,cache}/…      attached.rs  the sector's files for good
//! ```
//! What must outlive a loss of power is written by [`durable`].

pub mod aside;
pub mod attached;
pub mod database;
pub mod durable;
pub mod location;
pub mod outbox;
pub mod record;
pub mod results;
