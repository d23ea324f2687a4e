//! What is wrong with options by themselves, whatever others say: for whoever knows where they are
//! written.

use std::time::Duration;

use secrecy::ExposeSecret;
use shared_msgs::{duration::human, lease};

use super::{login, options::NatsOptions, servers::Servers};

const MIN_STORE_PATIENCE: Duration = Duration::from_secs(1);

impl NatsOptions {
    /// What cannot work, whatever is said beside it: a key of `[nats]`, and in a sentence what is
    /// wrong with it and what it takes. No secret is in it.
    pub fn wrong(&self) -> Vec<(&'static str, String)> {
        let servers = self.server.as_ref().map(|list| Servers::parse(list.expose_secret()));
        let no_server = servers.and_then(Result::err).map(|error| ("server", error.to_string()));
        let login = login::one_of_two(self);
        no_server.into_iter().chain(login).chain(self.wrong_times()).collect()
    }

    /// Of that, what only files say.
    pub(super) fn wrong_times(&self) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let times = [
            ("lease_ttl", self.lease_ttl, lease::MIN_TTL),
            ("store_patience", self.store_patience, MIN_STORE_PATIENCE),
        ];
        times.into_iter().filter_map(|(key, time, least)| {
            let time = human(time.filter(|time| *time < least)?);
            let least = human(least);
            Some((key, format!("`nats.{key}` is {time}; it takes a duration of at least {least}")))
        })
    }
}
