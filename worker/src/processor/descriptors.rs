//! Whether file descriptors are short, which the proofs inside the worker do not say.
//!
//! Decision 042 in `docs/decisions`.

use std::fs;

use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};

/// Whether the process is about to run out of them: what fails now may have failed for that,
/// whatever it says.
pub(crate) fn are_short() -> bool {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return false };
    match fs::read_dir("/proc/self/fd") {
        Ok(open) => is_short(open.count() as u64, limit),
        // Looking needs one itself.
        Err(error) => Errno::from_io_error(&error) == Some(Errno::MFILE),
    }
}

fn is_short(open: u64, limit: u64) -> bool {
    open >= limit - limit / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_eighth_is_short() {
        assert!(is_short(56, 64) && is_short(64, 64) && is_short(1, 1));
        assert!(!is_short(55, 64) && !is_short(0, 1));
    }
}
