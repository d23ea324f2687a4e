//! The NATS server's clock, read once: with the time that has passed since, by this machine's
//! monotonic clock, it says what the server's clock shows. No wall clock of this machine is in it,
//! so a tool and a worker agree on a moment without comparing theirs.
//!
//! Decision 047 in `docs/decisions`.

use std::time::Duration;

use shared_msgs::subject::Prefix;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::bus::Bus;

// Whoever wants to send something does not wait for longer.
const PATIENCE: Duration = Duration::from_millis(500);

/// The server's clock, as it was read.
#[derive(Clone, Copy, Debug)]
pub struct ServerClock {
    asked: Instant,
    heard: Instant,
    // Unix milliseconds, at some moment between the two.
    shown: i64,
}

impl ServerClock {
    /// A clock that was asked for at one moment, and heard of at another; `shown` are Unix
    /// milliseconds.
    pub fn new(asked: Instant, heard: Instant, shown: i64) -> Self {
        ServerClock { asked, heard, shown }
    }

    /// Reads it; `None` if nobody tells it soon, as where there is no JetStream.
    pub async fn read(bus: &dyn Bus, prefix: &Prefix) -> Option<ServerClock> {
        ServerClock::told(bus.server_time_ms(prefix)).await
    }

    /// Reads it by asking now for what it shows; `None` as above, and for an answer that comes so
    /// late that it says too little.
    pub async fn told(asking: impl Future<Output = Result<i64, String>>) -> Option<ServerClock> {
        let asked = Instant::now();
        match timeout(PATIENCE, asking).await.ok()? {
            Ok(shown) => Some(ServerClock::new(asked, Instant::now(), shown)),
            Err(error) => {
                debug!(error, "the server's clock cannot be read");
                None
            }
        }
    }

    /// What it shows at this moment, or less; Unix milliseconds.
    pub fn at_least(&self, now: Instant) -> i64 {
        self.shown.saturating_add(millis(now.saturating_duration_since(self.heard)))
    }

    /// What it shows at this moment, or more; Unix milliseconds.
    pub fn at_most(&self, now: Instant) -> i64 {
        self.shown.saturating_add(millis(now.saturating_duration_since(self.asked)))
    }

    /// How exactly it is known.
    pub fn doubt(&self) -> Duration {
        self.heard.saturating_duration_since(self.asked)
    }

    /// How long ago it was read.
    pub fn age(&self) -> Duration {
        self.heard.elapsed()
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_shows_lies_between_what_it_can_have_shown() {
        let asked = Instant::now();
        let heard = asked + Duration::from_millis(30);
        let clock = ServerClock::new(asked, heard, 1_000);
        let now = heard + Duration::from_secs(1);
        assert_eq!((clock.at_least(now), clock.at_most(now)), (2_000, 2_030));
        assert_eq!(clock.at_least(asked), 1_000, "it does not go back");
        assert_eq!(clock.doubt(), Duration::from_millis(30));
    }
}
