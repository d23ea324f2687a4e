//! What a NATS server does not let a connection do. It says so once for each refused message, to the
//! connection as a whole and not to whoever has sent it: a request just stays without an answer.

use std::collections::BTreeSet;

use tokio::sync::watch;

// What is said of more subjects is of no use.
const MAX_SUBJECTS: usize = 256;
const PUBLISH: &str = "publish to \"";
const SUBSCRIBE: &str = "subscription to \"";

/// Notes what a server refuses.
#[derive(Debug, Default)]
pub(crate) struct Denials(watch::Sender<BTreeSet<Denial>>);

/// Waits for a refusal.
#[derive(Clone, Debug)]
pub(crate) struct Denied(watch::Receiver<BTreeSet<Denial>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Denial {
    Publish(String),
    Subscribe(String),
}

impl Denials {
    /// A server's error, as it words it: `Permissions Violation for Publish to "a.b"`.
    pub(crate) fn note(&self, error: &str) {
        if let Some(denial) = read(error) {
            self.0.send_if_modified(|known| known.len() < MAX_SUBJECTS && known.insert(denial));
        }
    }

    /// Whoever waits for one.
    pub(crate) fn denied(&self) -> Denied {
        Denied(self.0.subscribe())
    }
}

impl Denied {
    /// Waits until a request on that subject cannot be sent, or its answer not be heard in inboxes
    /// of this prefix; returns what is not allowed.
    pub(crate) async fn request(mut self, subject: &str, inbox_prefix: &str) -> String {
        let concerns = |denial: &Denial| match denial {
            Denial::Publish(refused) => refused == subject,
            Denial::Subscribe(refused) => refused.starts_with(inbox_prefix),
        };
        let found = self.0.wait_for(|known| known.iter().any(concerns)).await;
        let what = found.ok().and_then(|known| {
            known.iter().find(|denial| concerns(denial)).map(|denial| match denial {
                Denial::Publish(subject) => {
                    format!("NATS lets this login not publish on {subject}")
                }
                Denial::Subscribe(subject) => {
                    format!("NATS lets this login not subscribe {subject}")
                }
            })
        });
        match what {
            Some(what) => what,
            // The connection is gone, and with it whoever could refuse.
            None => std::future::pending().await,
        }
    }
}

fn read(error: &str) -> Option<Denial> {
    let error = error.to_owned();
    let lower = error.to_ascii_lowercase();
    let behind = |what: &str| {
        let at = lower.find(what)? + what.len();
        error[at..].split('"').next().map(str::to_owned)
    };
    behind(PUBLISH).map(Denial::Publish).or_else(|| behind(SUBSCRIBE).map(Denial::Subscribe))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

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

    #[tokio::test(start_paused = true)]
    async fn only_what_concerns_a_request_ends_it() {
        let denials = Denials::default();
        denials.note("Permissions Violation for Publish to \"a.b\"");
        let waits =
            |subject| timeout(Duration::from_secs(1), denials.denied().request(subject, "_INBOX."));
        assert_eq!(waits("a.b").await.unwrap(), "NATS lets this login not publish on a.b");
        assert!(waits("a.c").await.is_err());
        denials.note("Permissions Violation for Subscription to \"_INBOX.x.*\"");
        assert!(waits("a.c").await.unwrap().contains("subscribe _INBOX.x.*"));
    }
}
