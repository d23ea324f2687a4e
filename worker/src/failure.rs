//! How bad a failure is, and what follows from it.

use std::fmt;

/// Why a step has not done its work, and how bad that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What follows from it.
    pub level: Level,
    /// What went wrong, with the path or the peer it went wrong with.
    pub message: String,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Level {
    /// The stage is tried again, `max_retries` times, `recover_interval` apart; then it is
    /// permanent.
    Temporary,
    /// The thread pauses until an operator resumes it.
    Permanent,
    /// The sector is given up, the thread takes the next one.
    Abort,
    /// The job is not this thread's any more: it lets go of it and keeps its files aside.
    Lost,
    /// The thread pauses: something is wrong with the worker itself.
    Critical,
}

impl Level {
    /// The level in one word.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Failure {
    /// A failure that another try may mend.
    pub fn temporary(message: impl ToString) -> Self {
        Failure { level: Level::Temporary, message: message.to_string() }
    }

    /// Trying again would not help.
    pub fn permanent(message: impl ToString) -> Self {
        Failure { level: Level::Permanent, message: message.to_string() }
    }

    /// Whether another try is worth it.
    pub fn is_temporary(&self) -> bool {
        self.level == Level::Temporary
    }

    /// A failure of which only the words are known.
    pub fn told(message: impl ToString) -> Self {
        let message = message.to_string();
        if may_pass(&message) { Failure::temporary(message) } else { Failure::permanent(message) }
    }

    /// The sector is to be given up.
    pub fn abort(message: impl ToString) -> Self {
        Failure { level: Level::Abort, message: message.to_string() }
    }

    /// The job is somebody else's, or nobody's.
    pub fn lost(message: impl ToString) -> Self {
        Failure { level: Level::Lost, message: message.to_string() }
    }

    /// The worker itself is at fault.
    pub fn critical(message: impl ToString) -> Self {
        Failure { level: Level::Critical, message: message.to_string() }
    }
}

/// What a download that failed is said to be: its server may be back later, or have another file.
pub const NOT_DOWNLOADED: &str = "cannot be downloaded";

/// Whether trying again may help, by the system's words for it: some causes reach us as texts only.
pub fn may_pass(message: &str) -> bool {
    let signs = [
        "No space left on device",
        "Disk quota exceeded",
        "Stale file handle",
        "Input/output error",
        NOT_DOWNLOADED,
    ];
    signs.iter().any(|sign| message.contains(sign)) || lacks_resources(message)
}

/// Whether the system was short of what others give back: open files, memory, processes.
pub fn lacks_resources(message: &str) -> bool {
    let signs =
        ["Too many open files", "Cannot allocate memory", "Resource temporarily unavailable"];
    signs.iter().any(|sign| message.contains(sign))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.level.name(), self.message)
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_others_give_back_is_waited_for_wherever_it_was_missing() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN] {
            let words = std::io::Error::from(errno).to_string();
            let failure = Failure::told(format!("/store1: {words}"));
            assert_eq!(failure.level, Level::Temporary, "{words}");
        }
        assert_eq!(Failure::told("No cached parameters found").level, Level::Permanent);
    }
}
