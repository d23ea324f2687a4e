//! How both programs reach NATS: what is said about it, where that comes from, and the two ways to
//! connect.
//!
//! ```text
//!  flag or environment  >  context named there                     \
//!  flag or environment  >  [nats] in a file  >  context named there  } -> NatsSettings
//!  NatsSettings::connect_once()    a command-line tool: connects now or fails
//!  NatsSettings::connect_daemon()  a daemon: starts without NATS, reconnects for ever, reports the link's state
//! ```
//! A login in a server's URL counts before any other, as it does for the `nats` client. Secrets are
//! in no error and in no log: the client never gets a URL with one in it.
//!
//! - [`options`]: what can be said; [`context`]: what a context of the `nats` client says
//! - [`wrong`]: what of it cannot work; [`servers`]: URLs; [`login`]: who one is, read anew at each login; [`tls`]: its files
//! - [`error`]: why there is no connection; [`link`]: the state of a daemon's, and its log
//!
//! Scenarios: `tests/tests/scenarios/connect`.
//!
//! Decisions 026 and 046 in `docs/decisions`.

mod context;
mod error;
mod link;
mod login;
mod options;
mod servers;
mod shown;
mod tls;
mod wrong;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{AuthError, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use secrecy::ExposeSecret;
use shared_msgs::{codec::Encoding, lease, subject::Prefix};
use tokio::{sync::watch, time::timeout};
use tracing::warn;

use self::{
    error::Cause,
    link::LinkLog,
    login::{Login, first, is_named},
    options::{DEFAULT_SERVER, DEFAULT_TIMEOUT},
    servers::Servers,
};
pub use self::{
    error::{ConnectError, NatsFile},
    link::Link,
    options::{DEFAULT_STORE_PATIENCE, NatsOptions},
};
use crate::{backoff::Backoff, denials::Denials, nats::Connection};

// With several servers, one that accepts connections and says nothing has its part of the time-out,
// but no less than this.
const SHORTEST_CONNECT: Duration = Duration::from_millis(500);
// With jitter 100 ms to 1 s.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(150), Duration::from_millis(800));
// A dead link is noticed after two unanswered pings.
const LINK_PING_INTERVAL: Duration = Duration::from_secs(5);

/// What counts behind the options of the command line and environment, in this order: of each key
/// the first one that says it.
#[derive(Clone, Debug)]
pub struct Layers {
    /// The file, without what a context replaces that the options name.
    pub file: NatsOptions,
    /// What the context says that the options name, or the file.
    pub context: NatsOptions,
}

impl Layers {
    /// Reads contexts.
    pub fn of(options: &NatsOptions, file: &NatsOptions) -> Result<Layers, ConnectError> {
        let context = |of: &NatsOptions| of.context.as_deref().map(context::load).transpose();
        Ok(match context(options)? {
            Some(context) => Layers { file: file.without_way(), context },
            None => Layers { file: file.clone(), context: context(file)?.unwrap_or_default() },
        })
    }
}

/// Everything needed to reach NATS.
#[derive(Clone)]
pub struct NatsSettings {
    servers: Vec<ServerAddr>,
    login: Option<Login>,
    tlsca: Option<PathBuf>,
    tls_client: Option<(PathBuf, PathBuf)>,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// First part of every subject.
    pub prefix: Prefix,
    /// How state is published.
    pub encoding: Encoding,
    /// How long a lease lasts in a bucket that is made; 15 s by default.
    pub lease_ttl: Duration,
    /// How long JetStream may store nothing before it is said; 60 s by default.
    pub store_patience: Duration,
}

impl NatsSettings {
    /// Puts together what is said: `options`, those of the command line and environment, win over
    /// the file's. A context that they name replaces what the file says of servers, login and
    /// certificates. Reads contexts.
    pub fn new(options: &NatsOptions, file: &NatsOptions) -> Result<Self, ConnectError> {
        let Layers { file, context } = Layers::of(options, file)?;
        let way = [options, &file, &context];
        let server = first(&way, |layer| &layer.server);
        let list = server.as_ref().map_or(DEFAULT_SERVER, |list| list.expose_secret());
        let servers = Servers::parse(list)?;
        let login = match servers.login {
            Some(login) => {
                if way.iter().any(|layer| is_named(layer)) {
                    warn!(
                        "the login in the server's URL is used, and no other, as the nats client does"
                    );
                }
                Some(login)
            }
            None => Login::choose(&way)?,
        };
        let tls_client =
            match (first(&way, |layer| &layer.tlscert), first(&way, |layer| &layer.tlskey)) {
                (Some(cert), Some(key)) => Some((cert, key)),
                (None, None) => None,
                _ => {
                    return Err(ConnectError::Settings(
                        "--tlscert and --tlskey go together".into(),
                    ));
                }
            };
        if let Some((_, why)) = way.iter().flat_map(|layer| layer.wrong_times()).next() {
            return Err(ConnectError::Settings(why));
        }
        let lease_ttl = first(&way, |layer| &layer.lease_ttl).unwrap_or(lease::DEFAULT_TTL);
        let store_patience =
            first(&way, |layer| &layer.store_patience).unwrap_or(DEFAULT_STORE_PATIENCE);
        Ok(NatsSettings {
            servers: servers.addresses,
            login,
            tlsca: first(&way, |layer| &layer.tlsca),
            tls_client,
            timeout: first(&way, |layer| &layer.timeout).unwrap_or(DEFAULT_TIMEOUT),
            prefix: first(&way, |layer| &layer.prefix).unwrap_or_default(),
            encoding: first(&way, |layer| &layer.encoding).unwrap_or_default(),
            lease_ttl,
            store_patience,
        })
    }

    /// The servers, for people: without user names and passwords.
    pub fn servers(&self) -> String {
        let shown: Vec<_> = self
            .servers
            .iter()
            .map(|server| format!("{}:{}", server.host(), server.port()))
            .collect();
        shown.join(", ")
    }

    /// Host and port of the first server.
    pub fn first_server(&self) -> (String, u16) {
        let first = &self.servers[0];
        (first.host().to_owned(), first.port())
    }

    /// Connects now, within [`NatsSettings::timeout`].
    pub async fn connect_once(&self, client_name: &str) -> Result<Connection, ConnectError> {
        let denials = Arc::new(Denials::default());
        let options = self.options(client_name).await?.event_callback({
            let denials = denials.clone();
            move |event| {
                note(&denials, &event);
                std::future::ready(())
            }
        });
        match timeout(self.timeout, options.connect(self.servers.as_slice())).await {
            Ok(Ok(client)) => Ok(Connection { client, denials }),
            Ok(Err(error)) if error.kind() != ConnectErrorKind::TimedOut => {
                Err(self.failed(&error.to_string()))
            }
            _ => Err(ConnectError::Unreachable {
                servers: self.servers(),
                error: format!("no answer within {}", shared_msgs::duration::human(self.timeout)),
            }),
        }
    }

    /// Connects in the background, now or whenever NATS is there, again after every loss, and says
    /// in the log why it cannot. Fails only on options that can never work, and on files that cannot
    /// be used now.
    pub async fn connect_daemon(
        &self,
        client_name: &str,
    ) -> Result<(Connection, watch::Receiver<Link>), ConnectError> {
        let (link, watcher) = watch::channel(Link::Down);
        let login = self.login.as_ref().map(ToString::to_string);
        let log = Arc::new(LinkLog::new(link, self.servers(), login));
        let denials = Arc::new(Denials::default());
        let options = self
            .options(client_name)
            .await?
            .retry_on_initial_connect()
            .reconnect_delay_callback({
                // The callback is asked before the very first attempt too.
                let first = AtomicBool::new(true);
                move |attempt| {
                    if first.swap(false, Ordering::SeqCst) {
                        Duration::ZERO
                    } else {
                        reconnect_delay(attempt)
                    }
                }
            })
            .reconnect_to_server_callback({
                let log = log.clone();
                move |servers, _| {
                    log.note_attempts(&servers);
                    // The client chooses.
                    std::future::ready(None)
                }
            })
            .event_callback({
                let denials = denials.clone();
                move |event| {
                    note(&denials, &event);
                    log.note(event);
                    std::future::ready(())
                }
            });
        let client = options
            .connect(self.servers.as_slice())
            .await
            .map_err(|error| self.failed(&error.to_string()))?;
        Ok((Connection { client, denials }, watcher))
    }

    // The client gives each server that it tries so long.
    fn time_for_one_server(&self) -> Duration {
        let servers = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        (self.timeout / servers).max(SHORTEST_CONNECT).min(self.timeout)
    }

    fn failed(&self, error: &str) -> ConnectError {
        let (servers, cause) = (self.servers(), Cause::of(error));
        let error = error::without_kind(error).to_owned();
        match cause {
            Cause::Unreachable => ConnectError::Unreachable { servers, error },
            Cause::NoSuchHost => ConnectError::NoSuchHost { servers, error },
            Cause::Tls => ConnectError::Tls { servers, error },
            Cause::Refused => {
                let login = self.login.as_ref().map(ToString::to_string);
                ConnectError::Refused { servers, login, error }
            }
            Cause::File | Cause::Other => ConnectError::Other { servers, error },
        }
    }

    // Looks at each file, so that one that cannot be used is said by its name.
    async fn options(&self, client_name: &str) -> Result<ConnectOptions, ConnectError> {
        let mut options = ConnectOptions::new();
        if let Some(login) = &self.login {
            login.auth(&[]).await?;
            let login = Arc::new(login.clone());
            options = ConnectOptions::with_auth_callback(move |nonce| {
                let login = login.clone();
                async move { login.auth(&nonce).await.map_err(AuthError::new) }
            });
        }
        if let Some(path) = &self.tlsca {
            tls::check_ca(path).await?;
            options = options.add_root_certificates(path.clone()).require_tls(true);
        }
        if let Some((cert, key)) = &self.tls_client {
            tls::check_client(cert, key).await?;
            options = options.add_client_certificate(cert.clone(), key.clone()).require_tls(true);
        }
        Ok(options
            .name(client_name)
            // Requests are bounded by our own deadlines.
            .request_timeout(None)
            .ping_interval(LINK_PING_INTERVAL)
            .connection_timeout(self.time_for_one_server()))
    }
}

fn note(denials: &Denials, event: &Event) {
    match event {
        // Subscriptions are made anew only behind this.
        Event::Connected => denials.connected(),
        Event::ServerError(error) => denials.note(&error.to_string()),
        _ => {}
    }
}

fn reconnect_delay(attempt: usize) -> Duration {
    // The first attempt is number 1.
    RECONNECT.after(u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX)).pause()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(server: &str) -> NatsOptions {
        NatsOptions { server: Some(server.to_owned().into()), ..NatsOptions::default() }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file: NatsOptions = toml::from_str(
            "server = 'nats://file:1'\ntimeout = '2s'\nprefix = 'pool'\nencoding = 'json'",
        )
        .unwrap();
        let both = NatsSettings::new(&options("nats://flag:2"), &file).unwrap();
        assert_eq!((both.servers(), both.timeout), ("flag:2".into(), Duration::from_secs(2)));
        assert_eq!((both.prefix.to_string(), both.encoding), ("pool".into(), Encoding::Json));
        assert_eq!(NatsSettings::new(&NatsOptions::default(), &file).unwrap().servers(), "file:1");
        let neither = NatsSettings::new(&NatsOptions::default(), &NatsOptions::default()).unwrap();
        let said = NatsSettings::new(&NatsOptions::defaults(), &NatsOptions::default()).unwrap();
        let times = |of: &NatsSettings| (of.timeout, of.lease_ttl, of.store_patience);
        assert_eq!(times(&neither), times(&said));
        assert_eq!((neither.servers(), &neither.prefix), (said.servers(), &said.prefix));
        assert_eq!(
            (neither.servers(), neither.timeout),
            ("127.0.0.1:4222".into(), DEFAULT_TIMEOUT)
        );
    }

    #[test]
    fn several_servers_are_separated_by_commas_and_shown_without_secrets() {
        let settings =
            NatsSettings::new(&options("nats://u:secret@a:1, nats://b:2"), &NatsOptions::default())
                .unwrap();
        assert_eq!(settings.servers(), "a:1, b:2");
    }

    #[test]
    fn the_time_out_is_divided_among_the_servers() {
        let of_one = |server, timeout| {
            let options = NatsOptions { timeout: Some(timeout), ..self::options(server) };
            NatsSettings::new(&options, &NatsOptions::default()).unwrap().time_for_one_server()
        };
        let three = "nats://a:1,nats://b:2,nats://c:3";
        assert_eq!(of_one("nats://a:1", Duration::from_secs(6)), Duration::from_secs(6));
        assert_eq!(of_one(three, Duration::from_secs(6)), Duration::from_secs(2));
        assert_eq!(of_one(three, Duration::from_millis(600)), SHORTEST_CONNECT);
        assert_eq!(of_one(three, Duration::from_millis(300)), Duration::from_millis(300));
    }

    #[test]
    fn options_that_cannot_work_are_named() {
        let refused = |options: NatsOptions| {
            NatsSettings::new(&options, &NatsOptions::default())
                .err()
                .expect("accepted")
                .to_string()
        };
        assert!(refused(options("nats://u:secret@ho st:x")).contains("ho st"));
        assert!(!refused(options("nats://u:secret@ho st:x")).contains("secret"));
        assert!(refused(options(" , ")).contains("--server"));
        assert!(
            refused(NatsOptions { user: Some("u".into()), ..NatsOptions::default() })
                .contains("--password")
        );
        assert!(
            refused(NatsOptions { tlskey: Some("k".into()), ..NatsOptions::default() })
                .contains("--tlscert")
        );
    }

    #[test]
    fn reconnect_delays_stay_between_100_ms_and_1_s() {
        for attempt in 0..50 {
            let delay = reconnect_delay(attempt).as_millis();
            assert!((100..=1000).contains(&delay), "attempt {attempt}: {delay} ms");
        }
    }

    #[test]
    fn the_first_attempt_comes_soonest_and_the_second_later() {
        for _ in 0..50 {
            assert!(reconnect_delay(1) < Duration::from_millis(200));
            assert!(reconnect_delay(2) > Duration::from_millis(200));
        }
    }
}
