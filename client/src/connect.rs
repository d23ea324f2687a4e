//! How both programs reach NATS: the options, where they come from, and the two ways to connect.
//!
//! ```text
//!  flag  >  environment  >  [nats] in the configuration file  >  default      -> NatsSettings
//!  NatsSettings::connect_once()    a command-line tool: connects now or fails
//!  NatsSettings::connect_daemon()  a daemon: starts without NATS, reconnects for ever, reports the link's state
//! ```
//!
//! Decision 026 in `docs/decisions`.

use std::{path::PathBuf, time::Duration};

use async_nats::{Client, ConnectOptions, ServerAddr};
use serde::Deserialize;
use shared_msgs::{codec::Encoding, lease, subject::Prefix};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::backoff::Backoff;

const DEFAULT_SERVER: &str = "nats://127.0.0.1:4222";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long JetStream may store nothing before it is said, where nothing else is configured.
pub const DEFAULT_STORE_PATIENCE: Duration = Duration::from_secs(60);
const MIN_STORE_PATIENCE: Duration = Duration::from_secs(1);
// With several servers, one that accepts connections and says nothing has its part of the time-out,
// but no less than this.
const SHORTEST_CONNECT: Duration = Duration::from_millis(500);
// With jitter 100 ms to 1 s.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(150), Duration::from_millis(800));
// A dead link is noticed after two unanswered pings.
const LINK_PING_INTERVAL: Duration = Duration::from_secs(5);

/// How to reach NATS, as far as it is said: what is `None` is as [`NatsSection`] says, else as by
/// default.
#[derive(Clone, Debug, Default)]
pub struct NatsOptions {
    /// NATS server URLs, separated by commas; `nats://127.0.0.1:4222` by default.
    pub server: Option<String>,
    /// File with user credentials (JWT and nkey seed).
    pub creds: Option<PathBuf>,
    /// File with an nkey seed.
    pub nkey: Option<PathBuf>,
    /// User name; goes with `password`.
    pub user: Option<String>,
    /// Password; goes with `user`.
    pub password: Option<String>,
    /// File with the certificate authorities to trust (PEM).
    pub tlsca: Option<PathBuf>,
    /// File with the client certificate (PEM); goes with `tlskey`.
    pub tlscert: Option<PathBuf>,
    /// File with the client certificate's key (PEM); goes with `tlscert`.
    pub tlskey: Option<PathBuf>,
    /// How long to wait for an answer; 5 s by default.
    pub timeout: Option<Duration>,
    /// First part of every subject; `damocles` by default.
    pub prefix: Option<Prefix>,
}

/// The `[nats]` section of a configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NatsSection {
    /// Server URLs, separated by commas; `--server` or `NATS_URL` wins.
    pub server: Option<String>,
    /// File with user credentials (JWT and nkey seed); `--creds` wins.
    pub creds: Option<PathBuf>,
    /// File with an nkey seed; `--nkey` wins.
    pub nkey: Option<PathBuf>,
    /// User name, which goes with `password`; `--user` wins.
    pub user: Option<String>,
    /// Password, which goes with `user`; `NATS_PASSWORD` wins.
    pub password: Option<String>,
    /// File with certificate authorities to trust (PEM); `--tlsca` wins.
    pub tlsca: Option<PathBuf>,
    /// File with the client certificate (PEM), which goes with `tlskey`; `--tlscert` wins.
    pub tlscert: Option<PathBuf>,
    /// File with that certificate's key (PEM), which goes with `tlscert`; `--tlskey` wins.
    pub tlskey: Option<PathBuf>,
    /// How long to wait for an answer; `--timeout` wins.
    #[serde(with = "humantime_serde")]
    pub timeout: Option<Duration>,
    /// First part of every subject, the same for all programs of a system; `--prefix` wins.
    pub prefix: Option<Prefix>,
    /// How state is published; requests are answered in their own encoding.
    pub encoding: Encoding,
    /// How long the lease of a worker's name lasts without being renewed, at least a second. For
    /// whoever makes the lease bucket: one that is there already says itself.
    #[serde(with = "humantime_serde")]
    pub lease_ttl: Option<Duration>,
    /// How long JetStream may store nothing, at least a second, before a worker warns that its
    /// history stands still and a manager that workers' states are not kept.
    #[serde(with = "humantime_serde")]
    pub store_patience: Option<Duration>,
}

/// Everything needed to reach NATS.
#[derive(Clone)]
pub struct NatsSettings {
    servers: Vec<ServerAddr>,
    creds: Option<PathBuf>,
    nkey: Option<PathBuf>,
    user: Option<String>,
    password: Option<String>,
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

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The options do not make sense.
    #[error("{0}")]
    Settings(String),
    /// A file cannot be read or used.
    #[error("cannot use {what} {path}: {error}")]
    File {
        /// What the file is for.
        what: &'static str,
        /// Path as it was given.
        path: String,
        /// What the operating system or the parser says.
        error: String,
    },
    /// Nobody answers, or the server refuses.
    #[error("cannot reach NATS at {servers}: {error}")]
    Unreachable {
        /// The servers tried, without passwords.
        servers: String,
        /// What the operating system or the parser says.
        error: String,
    },
}

impl NatsSettings {
    /// Puts the options together: those of the command line and environment win over the file's.
    pub fn new(options: &NatsOptions, file: &NatsSection) -> Result<Self, ConnectError> {
        let server = options.server.as_deref().or(file.server.as_deref()).unwrap_or(DEFAULT_SERVER);
        let mut servers = Vec::new();
        for url in server.split(',').map(str::trim).filter(|url| !url.is_empty()) {
            let parsed: ServerAddr = url.parse().map_err(|error| {
                ConnectError::Settings(format!(
                    "server {:?} is no NATS URL ({error}): write it as nats://host:4222",
                    without_password(url)
                ))
            })?;
            servers.push(parsed);
        }
        if servers.is_empty() {
            return Err(ConnectError::Settings(
                "no NATS server is named: write --server nats://host:4222".into(),
            ));
        }
        let pick = |a: &Option<PathBuf>, b: &Option<PathBuf>| a.clone().or_else(|| b.clone());
        let tls_client =
            match (pick(&options.tlscert, &file.tlscert), pick(&options.tlskey, &file.tlskey)) {
                (Some(cert), Some(key)) => Some((cert, key)),
                (None, None) => None,
                _ => {
                    return Err(ConnectError::Settings(
                        "--tlscert and --tlskey go together".into(),
                    ));
                }
            };
        let user = options.user.clone().or_else(|| file.user.clone());
        let password = options.password.clone().or_else(|| file.password.clone());
        if user.is_some() != password.is_some() {
            return Err(ConnectError::Settings("--user and --password go together".into()));
        }
        let lease_ttl = file.lease_ttl.unwrap_or(lease::DEFAULT_TTL);
        if lease_ttl < lease::MIN_TTL {
            return Err(ConnectError::Settings("nats.lease_ttl must be at least 1s".into()));
        }
        let store_patience = file.store_patience.unwrap_or(DEFAULT_STORE_PATIENCE);
        if store_patience < MIN_STORE_PATIENCE {
            return Err(ConnectError::Settings("nats.store_patience must be at least 1s".into()));
        }
        Ok(NatsSettings {
            servers,
            creds: pick(&options.creds, &file.creds),
            nkey: pick(&options.nkey, &file.nkey),
            user,
            password,
            tlsca: pick(&options.tlsca, &file.tlsca),
            tls_client,
            timeout: options.timeout.or(file.timeout).unwrap_or(DEFAULT_TIMEOUT),
            prefix: options.prefix.clone().or_else(|| file.prefix.clone()).unwrap_or_default(),
            encoding: file.encoding,
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
    pub async fn connect_once(&self, client_name: &str) -> Result<Client, ConnectError> {
        let options = self.options(client_name).await?;
        let connecting =
            tokio::time::timeout(self.timeout, options.connect(self.servers.as_slice()));
        match connecting.await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(self.unreachable(error)),
            Err(_) => Err(self.unreachable(format!(
                "no answer within {}",
                shared_msgs::duration::human(self.timeout)
            ))),
        }
    }

    /// Connects in the background, now or whenever NATS is there, again after every loss; says so
    /// once per outage in the log. Fails only on options that can never work.
    pub async fn connect_daemon(
        &self,
        client_name: &str,
    ) -> Result<(Client, watch::Receiver<Link>), ConnectError> {
        let (link, watcher) = watch::channel(Link::Down);
        let servers = self.servers();
        let reported = std::sync::atomic::AtomicBool::new(false);
        let state = std::sync::Arc::new((link, reported));
        let options = self
            .options(client_name)
            .await?
            .retry_on_initial_connect()
            .reconnect_delay_callback({
                // The callback is asked before the very first attempt too.
                let first = std::sync::atomic::AtomicBool::new(true);
                move |attempt| {
                    if first.swap(false, std::sync::atomic::Ordering::SeqCst) {
                        Duration::ZERO
                    } else {
                        reconnect_delay(attempt)
                    }
                }
            })
            .event_callback(move |event| {
                let (state, servers) = (state.clone(), servers.clone());
                async move { note_event(&state.0, &state.1, &servers, event) }
            });
        let client = options
            .connect(self.servers.as_slice())
            .await
            .map_err(|error| self.unreachable(error))?;
        Ok((client, watcher))
    }

    // The client gives each server that it tries so long.
    fn time_for_one_server(&self) -> Duration {
        let servers = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        (self.timeout / servers).max(SHORTEST_CONNECT).min(self.timeout)
    }

    fn unreachable(&self, error: impl ToString) -> ConnectError {
        ConnectError::Unreachable { servers: self.servers(), error: error.to_string() }
    }

    async fn options(&self, client_name: &str) -> Result<ConnectOptions, ConnectError> {
        // Requests are bounded by our own deadlines.
        let mut options = ConnectOptions::new()
            .name(client_name)
            .request_timeout(None)
            .ping_interval(LINK_PING_INTERVAL);
        options = options.connection_timeout(self.time_for_one_server());
        if let Some(path) = &self.creds {
            let refused = |error: std::io::Error| file_error("credentials file", path, error);
            options = options.credentials_file(path).await.map_err(refused)?;
        }
        if let Some(path) = &self.nkey {
            let refused = |error: std::io::Error| file_error("nkey file", path, error);
            let text = tokio::fs::read_to_string(path).await.map_err(refused)?;
            let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
            let seed = seed.ok_or_else(|| {
                file_error("nkey file", path, "it holds no user seed (a line SU…)")
            })?;
            options = options.nkey(seed.to_owned());
        }
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            options = options.user_and_password(user.clone(), password.clone());
        }
        for (what, path) in [
            ("CA file", self.tlsca.as_ref()),
            ("certificate", self.tls_client.as_ref().map(|c| &c.0)),
            ("key", self.tls_client.as_ref().map(|c| &c.1)),
        ] {
            if let Some(path) = path {
                tokio::fs::metadata(path).await.map_err(|error| file_error(what, path, error))?;
            }
        }
        if let Some(path) = &self.tlsca {
            options = options.add_root_certificates(path.clone()).require_tls(true);
        }
        if let Some((cert, key)) = &self.tls_client {
            options = options.add_client_certificate(cert.clone(), key.clone()).require_tls(true);
        }
        Ok(options)
    }
}

fn file_error(what: &'static str, path: &std::path::Path, error: impl ToString) -> ConnectError {
    ConnectError::File { what, path: path.display().to_string(), error: error.to_string() }
}

fn without_password(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => url.to_owned(),
    }
}

fn reconnect_delay(attempt: usize) -> Duration {
    // The first attempt is number 1.
    RECONNECT.after(u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX)).pause()
}

fn note_event(
    link: &watch::Sender<Link>,
    reported: &std::sync::atomic::AtomicBool,
    servers: &str,
    event: async_nats::Event,
) {
    use std::sync::atomic::Ordering::SeqCst;

    use async_nats::Event;
    match event {
        Event::Connected => {
            reported.store(false, SeqCst);
            info!(servers, "connected to NATS");
            link.send_modify(|state| {
                *state =
                    Link::Up(if let Link::Up(count) = *state { count + 1 } else { next_count() })
            });
        }
        Event::Disconnected => {
            if !reported.swap(true, SeqCst) {
                warn!(servers, "lost the connection to NATS; going on without it until it is back");
            }
            link.send_replace(Link::Down);
        }
        Event::Closed => {
            link.send_replace(Link::Closed);
        }
        Event::LameDuckMode | Event::Draining => info!(%event, "NATS connection"),
        Event::SlowConsumer(_) => warn!(%event, "NATS messages were dropped"),
        Event::ServerError(_) => warn!(%event, "NATS refuses"),
        Event::ClientError(error) => {
            // Failed attempts to connect come here, one after another.
            if *link.borrow() == Link::Down {
                if !reported.swap(true, SeqCst) {
                    warn!(servers, %error, "NATS is not reachable; going on without it until it is");
                }
            } else {
                warn!(%error, "NATS client");
            }
        }
    }
}

fn next_count() -> u64 {
    static CONNECTIONS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    CONNECTIONS.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(server: &str) -> NatsOptions {
        NatsOptions { server: Some(server.into()), ..NatsOptions::default() }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file: NatsSection = toml::from_str(
            "server = 'nats://file:1'\ntimeout = '2s'\nprefix = 'pool'\nencoding = 'json'",
        )
        .unwrap();
        let both = NatsSettings::new(&options("nats://flag:2"), &file).unwrap();
        assert_eq!((both.servers(), both.timeout), ("flag:2".into(), Duration::from_secs(2)));
        assert_eq!((both.prefix.to_string(), both.encoding), ("pool".into(), Encoding::Json));
        assert_eq!(NatsSettings::new(&NatsOptions::default(), &file).unwrap().servers(), "file:1");
        let neither = NatsSettings::new(&NatsOptions::default(), &NatsSection::default()).unwrap();
        assert_eq!(
            (neither.servers(), neither.timeout),
            ("127.0.0.1:4222".into(), DEFAULT_TIMEOUT)
        );
    }

    #[test]
    fn several_servers_are_separated_by_commas_and_shown_without_secrets() {
        let settings =
            NatsSettings::new(&options("nats://u:secret@a:1, nats://b:2"), &NatsSection::default())
                .unwrap();
        assert_eq!(settings.servers(), "a:1, b:2");
    }

    #[test]
    fn the_time_out_is_divided_among_the_servers() {
        let of_one = |server, timeout| {
            let options = NatsOptions { timeout: Some(timeout), ..self::options(server) };
            NatsSettings::new(&options, &NatsSection::default()).unwrap().time_for_one_server()
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
            NatsSettings::new(&options, &NatsSection::default())
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
