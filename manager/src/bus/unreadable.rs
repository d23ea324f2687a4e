//! Complaints about payloads that cannot be read: each sender's are counted, and said at most once
//! a minute. Senders come from the bus, so their number is bounded too.

use std::{collections::HashMap, time::Duration};

const SAY_EVERY: Duration = Duration::from_secs(60);
const MAX_SENDERS: usize = 1_000;

/// Who sent what cannot be read, and how often since it was last said.
#[derive(Default)]
pub(crate) struct Unreadable {
    senders: HashMap<String, Sender>,
}

struct Sender {
    said: Duration,
    unsaid: u64,
}

impl Unreadable {
    /// Notes one more payload. `Some` when it is time to say so: how many there were since the last
    /// time.
    pub(crate) fn note(&mut self, sender: &str, now: Duration) -> Option<u64> {
        if let Some(sender) = self.senders.get_mut(sender) {
            sender.unsaid += 1;
            if now.saturating_sub(sender.said) < SAY_EVERY {
                return None;
            }
            sender.said = now;
            return Some(std::mem::take(&mut sender.unsaid));
        }
        if self.senders.len() >= MAX_SENDERS {
            self.senders.retain(|_, sender| now.saturating_sub(sender.said) < SAY_EVERY);
        }
        if self.senders.len() >= MAX_SENDERS {
            return None;
        }
        self.senders.insert(sender.to_owned(), Sender { said: now, unsaid: 0 });
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn each_sender_is_said_once_a_minute_with_the_count_since() {
        let mut unreadable = Unreadable::default();
        assert_eq!(unreadable.note("w1", at(0)), Some(1));
        assert_eq!(unreadable.note("w1", at(1)), None);
        assert_eq!(unreadable.note("w2", at(1)), Some(1));
        assert_eq!(unreadable.note("w1", at(59)), None);
        assert_eq!(unreadable.note("w1", at(60)), Some(3));
        assert_eq!(unreadable.note("w1", at(61)), None);
    }

    #[test]
    fn a_flood_of_senders_takes_neither_memory_nor_the_log() {
        let mut unreadable = Unreadable::default();
        let said = (0..10 * MAX_SENDERS)
            .filter(|sender| unreadable.note(&format!("w{sender}"), at(0)).is_some())
            .count();
        assert_eq!((said, unreadable.senders.len()), (MAX_SENDERS, MAX_SENDERS));
        assert_eq!(unreadable.note("later", at(60)), Some(1));
        assert_eq!(unreadable.senders.len(), 1);
    }
}
