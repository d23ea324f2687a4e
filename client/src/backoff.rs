//! How long somebody pauses who tries again: one rule for every loop of ours.

use std::time::Duration;

/// Pauses that double from the first to the last. Each is drawn from three quarters to five
/// quarters of its length, so that many who failed together do not come back in step.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    pauses: u32,
}

impl Backoff {
    /// None was made so far.
    pub const fn new(first: Duration, last: Duration) -> Backoff {
        Backoff { first, last, pauses: 0 }
    }

    /// So many were made.
    pub const fn after(self, pauses: u32) -> Backoff {
        Backoff { pauses, ..self }
    }

    /// The length of the next pause, before it is drawn.
    pub fn length(&self) -> Duration {
        self.first.saturating_mul(2u32.saturating_pow(self.pauses)).min(self.last)
    }

    /// Draws the next pause, and counts it.
    pub fn pause(&mut self) -> Duration {
        let length = self.length();
        self.pauses = self.pauses.saturating_add(1);
        length.mul_f64(0.75 + 0.5 * fastrand::f64())
    }

    /// Begins with the first again.
    pub const fn reset(&mut self) {
        self.pauses = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LAST: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_last_and_begin_anew() {
        let mut backoff = Backoff::new(FIRST, LAST);
        let mut lengths = || {
            let length = backoff.length();
            backoff.pause();
            length.as_millis()
        };
        assert_eq!([(); 6].map(|()| lengths()), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.after(u32::MAX).length(), LAST);
        backoff.reset();
        assert_eq!(backoff.length(), FIRST);
    }

    #[test]
    fn no_two_wait_in_step_and_none_much_longer_or_shorter() {
        let mut drawn: Vec<_> = (0..100).map(|_| Backoff::new(FIRST, LAST).pause()).collect();
        assert!(drawn.iter().all(|pause| *pause >= FIRST * 3 / 4 && *pause <= FIRST * 5 / 4));
        drawn.sort();
        drawn.dedup();
        assert!(drawn.len() > 90, "{drawn:?}");
    }
}
