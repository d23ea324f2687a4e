//! The state of a daemon's connection, and what is logged of it.
//!
//! ```text
//!  the client's events ------------------------> Link: Down, Up(n), Closed
//!  its servers' errors, before each attempt ----> Outage: is this news?  --> the log
//! ```
//! Each outage is said, why no connection comes about as soon as that changes, and all of it again
//! after a while.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{ClientError, ConnectErrorKind, Event, Server};
use tokio::{sync::watch, time::Instant};
use tracing::{info, warn};

use super::error::{Cause, who, without_kind};

// How soon the same is said again.
const SAID_AGAIN: Duration = Duration::from_secs(5 * 60);

/// The state of a daemon's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// No connection yet, or it was lost.
    Down,
    /// Connected; the number counts connections, so that a fresh one is told from the one before.
    Up(u64),
    /// Closed by this process, for good.
    Closed,
}

/// Follows a connection and logs it.
pub(super) struct LinkLog {
    link: watch::Sender<Link>,
    // As they were configured.
    servers: String,
    login: Option<String>,
    outage: Mutex<Outage>,
}

impl LinkLog {
    pub(super) fn new(link: watch::Sender<Link>, servers: String, login: Option<String>) -> Self {
        LinkLog { link, servers, login, outage: Mutex::default() }
    }

    /// Something has happened to the connection.
    pub(super) fn note(&self, event: Event) {
        let servers = &self.servers[..];
        match event {
            Event::Connected => {
                self.outage().end();
                info!(servers, "connected to NATS");
                self.link.send_modify(|link| {
                    *link = Link::Up(if let Link::Up(count) = *link { count + 1 } else { next() })
                });
            }
            Event::Disconnected => {
                self.outage().begin(Instant::now());
                warn!(servers, "lost the connection to NATS; going on without it until it is back");
                self.link.send_replace(Link::Down);
            }
            Event::Closed => {
                self.link.send_replace(Link::Closed);
            }
            Event::LameDuckMode | Event::Draining => info!(%event, "NATS connection"),
            Event::SlowConsumer(_) => warn!(%event, "NATS messages were dropped"),
            Event::ServerError(_) => warn!(%event, "NATS refuses"),
            // Failed attempts to connect come here too, by their kinds.
            Event::ClientError(ClientError::Other(error)) if *self.link.borrow() == Link::Down => {
                self.outage().ended(Cause::of(&error));
            }
            Event::ClientError(error) => warn!(%error, "NATS client"),
        }
    }

    /// Another attempt to connect begins; these are the servers, with what came of those before.
    pub(super) fn note_attempts(&self, servers: &[Server]) {
        let attempts = servers.iter().map(|server| server.failed_attempts).sum();
        let errors = servers.iter().map(|server| {
            let place = format!("{}:{}", server.addr.host(), server.addr.port());
            (place, server.last_error.clone())
        });
        let news = self.outage().attempts(attempts, errors.collect(), Instant::now());
        let Some(Reason { cause, error }) = news else { return };
        let servers = &self.servers[..];
        match cause {
            Cause::Unreachable => {
                warn!(servers, error, "NATS is not reachable; going on without it until it is");
            }
            Cause::NoSuchHost => {
                warn!(
                    servers,
                    error, "the host of NATS is not found; going on without it until it is"
                );
            }
            Cause::Refused => {
                let login = who(self.login.as_deref());
                warn!(
                    servers,
                    error, "NATS refuses {login}; going on without it until it does not"
                );
            }
            Cause::File => {
                warn!(servers, error, "no login to NATS; going on without it until there is one");
            }
            Cause::Tls => {
                warn!(
                    servers,
                    error, "no TLS connection to NATS; going on without it until there is one"
                );
            }
            Cause::Other => {
                warn!(
                    servers,
                    error, "no connection to NATS; going on without it until there is one"
                );
            }
        }
    }

    fn outage(&self) -> MutexGuard<'_, Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn next() -> u64 {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(1);
    CONNECTIONS.fetch_add(1, Ordering::SeqCst)
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reason {
    cause: Cause,
    error: String,
}

/// What was said of an outage.
#[derive(Debug, Default)]
struct Outage {
    // Of all servers, failed since they were last connected.
    failed_attempts: usize,
    // Those that found no host, which servers do not count; and whether the last one did not.
    unresolved: usize,
    is_unresolved: bool,
    said: Option<(Said, Instant)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// That the connection is lost, which servers that cannot be reached explain.
    Lost,
    /// Why there is none: for each server the cause, and where it makes a difference, the error.
    Why(Vec<(String, Cause, String)>),
}

impl Outage {
    fn begin(&mut self, now: Instant) {
        self.said = Some((Said::Lost, now));
    }

    fn end(&mut self) {
        self.said = None;
    }

    /// An attempt has ended so.
    fn ended(&mut self, cause: Cause) {
        self.is_unresolved = cause == Cause::NoSuchHost;
        self.unresolved += usize::from(self.is_unresolved);
    }

    /// So many attempts have failed, with these last errors of servers. Returns what is to be said.
    fn attempts(
        &mut self,
        failed: usize,
        servers: Vec<(String, Option<String>)>,
        now: Instant,
    ) -> Option<Reason> {
        let failed = failed + self.unresolved;
        let unresolved = self.is_unresolved.then(|| ConnectErrorKind::Dns.to_string());
        let errors = servers
            .into_iter()
            .filter_map(|(server, error)| Some((server, error.or_else(|| unresolved.clone())?)));
        let errors: Vec<(String, String)> = errors.collect();
        // Before the first attempt after a connection the errors are those of an earlier outage.
        let failed_before = mem::replace(&mut self.failed_attempts, failed);
        if failed <= failed_before {
            return None;
        }
        let causes = errors.iter().map(|(server, error)| {
            let cause = Cause::of(error);
            // Whoever comes and goes is refused, reset and timed out by turns.
            let told_apart = if cause == Cause::Unreachable { "" } else { error };
            (server.clone(), cause, told_apart.to_owned())
        });
        let why: Vec<_> = causes.collect();
        let cause = why.iter().map(|(_, cause, _)| *cause).min()?;
        let is_known = match &self.said {
            None => false,
            Some((said, at)) => {
                let explains = *said == Said::Lost && cause == Cause::Unreachable;
                now.duration_since(*at) < SAID_AGAIN
                    && (explains || *said == Said::Why(why.clone()))
            }
        };
        if is_known {
            return None;
        }
        self.said = Some((Said::Why(why), now));
        let one = |(server, error): &(String, String)| format!("{server}: {}", without_kind(error));
        let error = match &errors[..] {
            [(_, error)] => without_kind(error).to_owned(),
            several => several.iter().map(one).collect::<Vec<_>>().join("; "),
        };
        Some(Reason { cause, error })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const REFUSED: &str = "IO error: Connection refused (os error 111)";
    const RESET: &str = "IO error: Connection reset by peer (os error 104)";
    const VIOLATION: &str = "authorization violation: nats: authorization violation";

    /// An outage, and how many attempts have failed.
    #[derive(Default)]
    struct Story(Outage, usize);

    impl Story {
        // One attempt more has failed. Returns the cause that is said.
        fn fails(&mut self, errors: &[(&str, &str)]) -> Option<Cause> {
            self.1 += 1;
            self.looks(errors).map(|reason| reason.cause)
        }

        fn looks(&mut self, errors: &[(&str, &str)]) -> Option<Reason> {
            let errors =
                errors.iter().map(|(server, error)| ((*server).into(), Some((*error).into())));
            self.0.attempts(self.1, errors.collect(), Instant::now())
        }

        // A connection that is lost again; these errors are left of the time before it.
        fn connects_and_loses(&mut self, errors: &[(&str, &str)]) {
            self.1 = errors.len();
            self.0.end();
            self.0.begin(Instant::now());
            assert_eq!(self.looks(errors), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn why_there_is_no_connection_is_said_once_and_when_it_changes() {
        let mut story = Story::default();
        assert_eq!(story.looks(&[]), None);
        assert_eq!(story.fails(&[("a", REFUSED)]), Some(Cause::Unreachable));
        assert_eq!(story.fails(&[("a", REFUSED)]), None);
        assert_eq!(story.fails(&[("a", RESET)]), None);
        assert_eq!(story.fails(&[("a", VIOLATION)]), Some(Cause::Refused));
        assert_eq!(story.fails(&[("a", VIOLATION)]), None);
        let missing = "failed signing nonce: cannot use nkey file /k: No such file";
        assert_eq!(story.fails(&[("a", missing)]), Some(Cause::File));
        let empty = "failed signing nonce: cannot use nkey file /k: it holds no user seed";
        assert_eq!(story.fails(&[("a", empty)]), Some(Cause::File));
        assert_eq!(story.fails(&[("a", REFUSED)]), Some(Cause::Unreachable));
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_is_said_again_every_few_minutes() {
        let mut story = Story::default();
        let mut said = 0;
        for _ in 0..3600 {
            advance(Duration::from_secs(1)).await;
            said += usize::from(story.fails(&[("a", VIOLATION)]).is_some());
        }
        assert_eq!(said, 12);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_explains_itself_unless_something_else_is_behind_it() {
        let mut story = Story::default();
        story.connects_and_loses(&[]);
        assert_eq!(story.fails(&[("a", REFUSED)]), None);
        assert_eq!(story.fails(&[("a", RESET)]), None);
        assert_eq!(story.fails(&[("a", VIOLATION)]), Some(Cause::Refused));
        assert_eq!(story.fails(&[("a", REFUSED)]), Some(Cause::Unreachable));
        story.connects_and_loses(&[]);
        assert_eq!(story.fails(&[("a", REFUSED)]), None);
        advance(SAID_AGAIN).await;
        assert_eq!(story.fails(&[("a", REFUSED)]), Some(Cause::Unreachable));
    }

    #[tokio::test(start_paused = true)]
    async fn errors_of_an_earlier_outage_are_not_taken_for_those_of_this_one() {
        let mut story = Story::default();
        story.fails(&[("a", REFUSED), ("b", VIOLATION)]);
        story.connects_and_loses(&[("b", VIOLATION)]);
        assert_eq!(story.fails(&[("a", REFUSED)]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_not_found_is_said_though_its_server_does_not_know() {
        let mut outage = Outage::default();
        let mut looks = |errors: &[(&str, Option<&str>)], ended: Cause| {
            outage.ended(ended);
            let errors =
                errors.iter().map(|(server, error)| ((*server).into(), error.map(Into::into)));
            outage.attempts(0, errors.collect(), Instant::now())
        };
        let reason = looks(&[("a:1", None)], Cause::NoSuchHost).unwrap();
        assert_eq!(reason, Reason { cause: Cause::NoSuchHost, error: "DNS error".into() });
        assert_eq!(looks(&[("a:1", None)], Cause::NoSuchHost), None);
        assert_eq!(looks(&[("a:1", None)], Cause::Unreachable), None);
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_servers_each_says_why_and_the_gravest_counts() {
        let mut story = Story(Outage::default(), 1);
        let reason = story.looks(&[("a:1", REFUSED), ("b:2", VIOLATION)]).unwrap();
        let error =
            "a:1: IO error: Connection refused (os error 111); b:2: authorization violation";
        assert_eq!(reason, Reason { cause: Cause::Refused, error: error.into() });
    }
}
