//! The last resort against left-over processes: a helper that outlives this process, however that
//! ends, and then kills the process groups that are still on its list. Tests and the demo end their
//! children themselves; this is for a Ctrl-C in the middle of a test, and for kill -9.
//!
//! The list goes through a pipe: `+<group>` adds, `-<group>` takes off, and the pipe's end is this
//! process's end.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

use rustix::process::Pid;

use crate::binaries;

static HELPER: OnceLock<Mutex<Child>> = OnceLock::new();

/// Starts the helper, if it does not run yet. Before the first child, so that no child is without
/// it.
pub fn start() {
    HELPER.get_or_init(|| {
        let mut command = Command::new(binaries::watchdog());
        // In a group of its own, so that Ctrl-C does not reach it.
        Mutex::new(
            command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).spawn().unwrap(),
        )
    });
}

/// Puts a process group on the list.
pub fn add(group: Pid) {
    tell('+', group);
}

/// Takes a process group off the list, before its number can be used again.
pub fn remove(group: Pid) {
    tell('-', group);
}

// Called on the way out of a failed test too, so it never panics: a helper that was killed is no
// reason to.
fn tell(sign: char, group: Pid) {
    let Some(helper) = HELPER.get() else { return };
    if let Some(list) = &mut helper.lock().unwrap_or_else(PoisonError::into_inner).stdin {
        let _ = writeln!(list, "{sign}{}", group.as_raw_nonzero());
    }
}
