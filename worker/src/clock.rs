//! The time of day, as records and events hold it. Whoever needs it is given it: a simulation has its own.

use std::time::{SystemTime, UNIX_EPOCH};

/// Tells Unix milliseconds.
pub type Clock = fn() -> u64;

/// The machine's clock.
pub fn system() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
