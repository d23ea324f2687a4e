//! Points at which tests kill the worker, or one of its tasks. Only with the feature `failpoints`;
//! otherwise nothing is left of them.
//!
//! Decision 011 in `docs/decisions`.

/// If the failpoint `<place>:<name>` is set, the process kills itself (SIGKILL) here, as in
/// `FAILPOINTS="before-commit:PC1Done=return"`, or panics, as in
/// `FAILPOINTS="task:snapshots=panic"`.
#[cfg(feature = "failpoints")]
pub fn reach(place: &str, name: &str) {
    use rustix::process::{Signal, getpid, kill_process};

    if fail::eval(&format!("{place}:{name}"), |_| ()).is_some()
        && kill_process(getpid(), Signal::KILL).is_ok()
    {
        // The signal is on its way: nothing may happen any more.
        loop {
            std::thread::park();
        }
    }
}

/// Without the feature there are no failpoints, and this costs nothing.
#[cfg(not(feature = "failpoints"))]
pub fn reach(_place: &str, _name: &str) {}

/// Reads the failpoints from the environment.
#[cfg(feature = "failpoints")]
pub fn setup() {
    // Never torn down: they are for the life of the process.
    std::mem::forget(fail::FailScenario::setup());
}

/// Without the feature there is nothing to read.
#[cfg(not(feature = "failpoints"))]
pub fn setup() {}
