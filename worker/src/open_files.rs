//! How many files this process may have open. Tens of threads with the proofs library need more
//! than the 1,024 that a login shell grants; the hard limit is what the machine's owner has set.
//!
//! Decision 042 in `docs/decisions`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

// What Linux grants at most by default (fs.nr_open); without any limit some programs would walk
// through all of them.
const ENOUGH: u64 = 1 << 20;

/// Raises the soft limit to the hard one; the processes that are started from here have it too.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let Some(raised) = raised(&limit) else { return };
    let (from, to) = (limit.current, raised.current);
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => info!(from, to, "raised the limit of open files"),
        Err(error) => warn!(from, to, %error, "the limit of open files cannot be raised"),
    }
}

fn raised(limit: &Rlimit) -> Option<Rlimit> {
    let most = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    // No limit is the most there is.
    let is_lower = limit.current.is_some_and(|current| current < most);
    is_lower.then_some(Rlimit { current: Some(most), maximum: limit.maximum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one_and_never_lowered() {
        let raise =
            |current, maximum| raised(&Rlimit { current, maximum }).and_then(|limit| limit.current);
        assert_eq!(raise(Some(64), Some(4096)), Some(4096));
        assert_eq!(raise(Some(64), None), Some(ENOUGH));
        assert_eq!(raise(Some(64), Some(1 << 30)), Some(ENOUGH));
        assert_eq!(raise(Some(64), Some(64)), None);
        assert_eq!(raise(Some(2 << 20), Some(1 << 30)), None);
        assert_eq!(raise(None, None), None);
    }
}
