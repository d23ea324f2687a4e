//! The time of day, as records and events hold it, and the boot of the machine. Whoever needs the
//! time is given it: a simulation has its own.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

/// Tells the time of day, Unix milliseconds.
pub(crate) type Clock = fn() -> u64;

#[expect(clippy::disallowed_methods, reason = "here is the clock")]
pub(crate) fn system() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Another one each time that the machine starts, if it can be told (Linux, `random(4)`).
pub(crate) fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}
