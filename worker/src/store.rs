//! Where a sealing thread keeps things: its record (redb), its sector's files, and the attached stores that finished
//! sectors go to.
//!
//! ```text
//!  <location>/store.redb            record.rs    what the thread is doing, and what the stages yielded
//!  <location>/data/<kind>/<sector>  location.rs  the sector's files while it is worked on
//!  <attached>/{sealed,cache}/…      attached.rs  the sector's files for good
//! ```

pub mod attached;
pub mod location;
pub mod record;
