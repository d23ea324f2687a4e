//! What a NATS server does not let a connection do. It says so once for each refused message, to the
//! connection as a whole and not to whoever has sent it: a request just stays without an answer.
//!
//! ```text
//!  "… for Publish to …"       -> whoever waits for that very subject now; not kept, for rights are
//!                                given and taken while a connection lasts
//!  "… for Subscription to …"  -> kept as long as the connection, which lacks that subscription so
//!                                long; the next one subscribes anew, and hears it anew
//! ```

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::broadcast::{self, error::RecvError};

// Of subscriptions that a connection lacks. More of them tell nothing new.
const MAX_SUBJECTS: usize = 256;
// For whoever waits and does not come to look.
const MAX_UNREAD: usize = 256;
const PUBLISH: &str = "publish to \"";
const SUBSCRIBE: &str = "subscription to \"";

/// Something that a server does not let a connection do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Denial {
    /// To publish on this subject: nothing was sent on.
    #[error("NATS lets this login not publish on {0}")]
    Publish(String),
    /// To subscribe this subject. Where answers come to it, what was asked may have been done.
    #[error("NATS lets this login not subscribe {0}")]
    Subscribe(String),
}

/// Notes what a server refuses.
#[derive(Debug)]
pub(crate) struct Denials {
    said: broadcast::Sender<Denial>,
    unsubscribed: Mutex<BTreeSet<String>>,
}

impl Default for Denials {
    fn default() -> Self {
        let (said, _) = broadcast::channel(MAX_UNREAD);
        Denials { said, unsubscribed: Mutex::default() }
    }
}

impl Denials {
    /// A server's error, as it words it: `Permissions Violation for Publish to "a.b"`.
    pub(crate) fn note(&self, error: &str) {
        let Some(denial) = read(error) else { return };
        let mut unsubscribed = self.unsubscribed();
        if let Denial::Subscribe(subject) = &denial
            && unsubscribed.len() < MAX_SUBJECTS
        {
            unsubscribed.insert(subject.clone());
        }
        // Nobody may wait for it.
        self.said.send(denial).ok();
    }

    /// There is a new connection.
    pub(crate) fn connected(&self) {
        self.unsubscribed().clear();
    }

    /// Waits for a refusal that concerns whoever waits, from this call on.
    pub(crate) fn denied(
        &self,
        concerns: impl Fn(&Denial) -> bool + Send + 'static,
    ) -> impl Future<Output = Denial> + Send + 'static {
        let unsubscribed = self.unsubscribed();
        let mut said = self.said.subscribe();
        let known = unsubscribed.iter().cloned().map(Denial::Subscribe).find(&concerns);
        async move {
            if let Some(known) = known {
                return known;
            }
            loop {
                match said.recv().await {
                    Ok(denial) if concerns(&denial) => return denial,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    // The connection is gone, and with it whoever could refuse.
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        }
    }

    fn unsubscribed(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unsubscribed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(error: &str) -> Option<Denial> {
    let lower = error.to_ascii_lowercase();
    let behind = |what: &str| {
        let at = lower.find(what)? + what.len();
        error[at..].split('"').next().map(str::to_owned)
    };
    behind(PUBLISH).map(Denial::Publish).or_else(|| behind(SUBSCRIBE).map(Denial::Subscribe))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_subject_is_read_from_what_servers_say() {
        let subject = "damocles.v1.cmd.w1.Pause".to_owned();
        assert_eq!(
            read(&format!("Permissions Violation for Publish to \"{subject}\"")),
            Some(Denial::Publish(subject))
        );
        assert_eq!(
            read("permissions violation for subscription to \"_INBOX.x.*\" using queue \"q\""),
            Some(Denial::Subscribe("_INBOX.x.*".into()))
        );
        assert_eq!(read("maximum connections exceeded"), None);
    }

    fn of(subject: &'static str) -> impl Fn(&Denial) -> bool {
        move |(Denial::Publish(of) | Denial::Subscribe(of))| of == subject
    }

    #[test]
    fn only_what_concerns_a_request_ends_it_and_only_what_is_said_meanwhile() {
        let denials = Denials::default();
        let refuse = || denials.note("Permissions Violation for Publish to \"a.b\"");
        refuse();
        let (early, other) = (denials.denied(of("a.b")), denials.denied(of("a.c")));
        refuse();
        assert_eq!(early.now_or_never(), Some(Denial::Publish("a.b".into())));
        assert_eq!(other.now_or_never(), None);
        assert_eq!(denials.denied(of("a.b")).now_or_never(), None, "it may be allowed by now");
    }

    #[test]
    fn a_subscription_is_lacking_until_the_next_connection() {
        let denials = Denials::default();
        denials.note("Permissions Violation for Subscription to \"_INBOX.x.*\"");
        let lacks = || denials.denied(of("_INBOX.x.*")).now_or_never();
        assert_eq!(lacks(), Some(Denial::Subscribe("_INBOX.x.*".into())));
        denials.connected();
        assert_eq!(lacks(), None);
    }
}
