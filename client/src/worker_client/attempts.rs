//! How often a command is sent. Pure.
//!
//! ```text
//!  no answer in time                 -> again, with the same request id: the worker acts once
//!  nobody there, and none was lost   -> not delivered
//!  nobody there, after one was lost  -> unknown: again, for whoever had it may come back
//!  the lease is not confirmed        -> again: whoever says so has done nothing, but another process
//!                                       of the name may have, unheard; nobody there is unknown then
//!  anything else                     -> that is the answer
//! ```

use std::time::Duration;

use shared_msgs::error::ErrorKind;

use crate::call::CallError;

// An attempt gets a part of the whole time, and time enough for a busy machine.
const PARTS: u32 = 4;
const SHORTEST: Duration = ANSWER_TIME;
// A worker waits so long for its lease to be confirmed, and answers then.
const ANSWER_TIME: Duration = Duration::from_millis(1_200);
// Before the next attempt where the answer came at once.
const PAUSE: Duration = Duration::from_millis(200);
// An attempt shorter than this is not worth making.
const TOO_SHORT: Duration = Duration::from_millis(20);

/// How long one attempt of several waits for its answer.
pub fn patience_of_one(whole: Duration) -> Duration {
    (whole / PARTS).max(SHORTEST).min(whole)
}

/// One command's way to its worker.
#[derive(Debug)]
pub struct Attempts {
    whole: Duration,
    lost: bool,
    unconfirmed: bool,
}

/// What to do after an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send it again after this pause.
    Again(Duration),
    /// That is how it ends.
    End,
    /// It ends here, and nobody knows whether the command was carried out.
    Unknown,
}

impl Attempts {
    /// A command that has so long.
    pub fn new(whole: Duration) -> Self {
        Attempts { whole, lost: false, unconfirmed: false }
    }

    /// How long the attempt that begins now may take.
    pub fn patience(&self, elapsed: Duration) -> Duration {
        patience_of_one(self.whole).min(self.whole.saturating_sub(elapsed)).max(TOO_SHORT)
    }

    /// What to do after this failure; `elapsed` is the time since the first attempt began.
    pub fn failed(&mut self, error: &CallError, elapsed: Duration) -> Next {
        let mut least = TOO_SHORT;
        let pause = match error {
            CallError::TimedOut { .. } => {
                self.lost = true;
                Duration::ZERO
            }
            CallError::Refused(body) if body.kind == ErrorKind::LeaseUnconfirmed => {
                self.unconfirmed = true;
                // One that could not be answered would make unknown what is known.
                least = ANSWER_TIME;
                PAUSE
            }
            CallError::NoResponders(_) | CallError::NotSent(..)
                if self.lost || self.unconfirmed =>
            {
                PAUSE
            }
            CallError::BadReply(..) => return Next::Unknown,
            CallError::Refused(_)
            | CallError::NoResponders(_)
            | CallError::NotSent(..)
            | CallError::Denied(_)
            | CallError::NotHeard(..) => return Next::End,
        };
        if elapsed + pause + least <= self.whole {
            Next::Again(pause)
        } else if self.lost || self.unconfirmed && !matches!(error, CallError::Refused(_)) {
            Next::Unknown
        } else {
            Next::End
        }
    }
}

#[cfg(test)]
mod tests {
    use shared_msgs::error::ErrorBody;

    use super::*;

    const WHOLE: Duration = Duration::from_secs(5);

    fn timed_out() -> CallError {
        CallError::TimedOut { subject: "s".into(), deadline: WHOLE }
    }

    fn nobody() -> CallError {
        CallError::NoResponders("s".into())
    }

    fn refused(kind: ErrorKind) -> CallError {
        CallError::Refused(ErrorBody::from(kind))
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn an_attempt_gets_a_part_of_the_time_and_never_more_than_is_left() {
        let attempts = Attempts::new(WHOLE);
        assert_eq!((attempts.patience(at(0)), attempts.patience(at(4_800))), (at(1_250), at(200)));
        assert_eq!(Attempts::new(at(2_000)).patience(at(0)), at(1_200));
        assert_eq!(Attempts::new(at(1_000)).patience(at(0)), at(1_000));
        assert_eq!(Attempts::new(at(300)).patience(at(0)), at(300));
    }

    #[test]
    fn silence_is_asked_again_until_the_time_is_up_and_is_unknown_then() {
        let mut attempts = Attempts::new(WHOLE);
        assert_eq!(attempts.failed(&timed_out(), at(1_250)), Next::Again(at(0)));
        assert_eq!(attempts.failed(&timed_out(), at(5_000)), Next::Unknown);
    }

    #[test]
    fn nobody_there_is_not_delivered_at_first_and_unknown_after_an_attempt_was_lost() {
        let mut attempts = Attempts::new(WHOLE);
        assert_eq!(attempts.failed(&nobody(), at(1)), Next::End);
        assert_eq!(attempts.failed(&timed_out(), at(1_250)), Next::Again(at(0)));
        assert_eq!(attempts.failed(&nobody(), at(1_251)), Next::Again(PAUSE));
        assert_eq!(attempts.failed(&nobody(), at(4_900)), Next::Unknown);
    }

    #[test]
    fn a_lease_that_is_not_confirmed_is_asked_again_and_a_refusal_in_the_end() {
        let mut attempts = Attempts::new(WHOLE);
        assert_eq!(
            attempts.failed(&refused(ErrorKind::LeaseUnconfirmed), at(1)),
            Next::Again(PAUSE)
        );
        assert_eq!(attempts.failed(&refused(ErrorKind::LeaseUnconfirmed), at(3_601)), Next::End);
    }

    #[test]
    fn nobody_there_is_unknown_after_a_lease_was_not_confirmed() {
        let mut attempts = Attempts::new(WHOLE);
        assert_eq!(
            attempts.failed(&refused(ErrorKind::LeaseUnconfirmed), at(1)),
            Next::Again(PAUSE)
        );
        assert_eq!(attempts.failed(&nobody(), at(201)), Next::Again(PAUSE));
        assert_eq!(attempts.failed(&nobody(), at(4_900)), Next::Unknown);
    }

    #[test]
    fn every_other_refusal_is_an_answer_and_one_that_cannot_be_read_tells_nothing() {
        let mut attempts = Attempts::new(WHOLE);
        assert_eq!(attempts.failed(&refused(ErrorKind::NotSelected), at(1)), Next::End);
        assert_eq!(
            attempts.failed(&CallError::BadReply("s".into(), "x".into()), at(1)),
            Next::Unknown
        );
    }
}
