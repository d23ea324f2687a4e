//! Something that should go on and does not: after a while it is said, again now and then, and when
//! it is over.

use std::time::Duration;

use tokio::time::Instant;

/// How often it is said while it lasts.
pub const SAY_EVERY: Duration = Duration::from_secs(300);

/// What there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// It has stood still for too long, and this was not said lately.
    StandsStill,
    /// It goes on again after this was said to stand still.
    GoesOn,
}

/// Remembers what was said.
#[derive(Debug, Default)]
pub struct Announcer {
    said: Option<Instant>,
}

impl Announcer {
    /// Whether it stands still, and what is to be said of that.
    pub fn look(&mut self, stands_still: bool, now: Instant) -> Option<Say> {
        match (stands_still, self.said) {
            (true, Some(said)) if now - said < SAY_EVERY => None,
            (true, _) => {
                self.said = Some(now);
                Some(Say::StandsStill)
            }
            (false, said) => {
                self.said = None;
                said.map(|_| Say::GoesOn)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standstill_is_said_at_once_again_every_five_minutes_and_when_it_is_over() {
        let (mut announcer, began) = (Announcer::default(), Instant::now());
        let mut look =
            |stands_still, secs| announcer.look(stands_still, began + Duration::from_secs(secs));
        assert_eq!(look(false, 0), None);
        assert_eq!(
            (look(true, 1), look(true, 2), look(true, 300)),
            (Some(Say::StandsStill), None, None)
        );
        assert_eq!((look(true, 301), look(true, 302)), (Some(Say::StandsStill), None));
        assert_eq!((look(false, 303), look(false, 304)), (Some(Say::GoesOn), None));
        assert_eq!(look(true, 305), Some(Say::StandsStill));
    }
}
