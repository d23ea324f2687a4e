//! What can be said about how to reach NATS, once for all who say it: a program's options, the
//! environment, the `[nats]` section of a configuration file, and contexts of the `nats` client.

use std::{path::PathBuf, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, IgnoredAny},
};
use shared_msgs::{codec::Encoding, lease, subject::Prefix};

use super::shown;

pub(super) const DEFAULT_SERVER: &str = "nats://127.0.0.1:4222";
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long JetStream may store nothing before it is said, where nothing else is configured.
pub const DEFAULT_STORE_PATIENCE: Duration = Duration::from_secs(60);
// In place of what nobody may read.
const HIDDEN: &str = "(hidden)";

/// How to reach NATS, as far as it is said; what is `None` is as by default. With the feature
/// `clap` these are a program's options and the `nats` client's variables, but for the last three,
/// which stand in files only. Serialised, secrets are hidden.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::Args), command(next_help_heading = "NATS"))]
#[serde(default)]
pub struct NatsOptions {
    /// NATS server URLs, separated by commas [default: nats://127.0.0.1:4222]
    #[serde(deserialize_with = "secret", serialize_with = "without_logins")]
    #[cfg_attr(
        feature = "clap",
        arg(short = 's', long, env = "NATS_URL", global = true, value_name = "URL"),
        arg(hide_env_values = true)
    )]
    pub server: Option<SecretString>,
    /// Context of the `nats` client, or its file *.json: servers, login, certificates
    #[cfg_attr(
        feature = "clap",
        arg(long, env = "NATS_CONTEXT", global = true, value_name = "NAME")
    )]
    pub context: Option<String>,
    /// File with user credentials (JWT and nkey seed)
    #[cfg_attr(
        feature = "clap",
        arg(long, env = "NATS_CREDS", global = true, value_name = "FILE")
    )]
    pub creds: Option<PathBuf>,
    /// File with an nkey seed
    #[cfg_attr(feature = "clap", arg(long, env = "NATS_NKEY", global = true, value_name = "FILE"))]
    pub nkey: Option<PathBuf>,
    /// User name
    #[cfg_attr(
        feature = "clap",
        arg(long, env = "NATS_USER", global = true, hide_env_values = true)
    )]
    pub user: Option<String>,
    /// Password, better in a file
    #[serde(deserialize_with = "secret", serialize_with = "hidden")]
    #[cfg_attr(
        feature = "clap",
        arg(long, env = "NATS_PASSWORD", global = true, hide_env_values = true)
    )]
    pub password: Option<SecretString>,
    /// File with the password
    #[cfg_attr(
        feature = "clap",
        arg(long, env = "NATS_PASSWORD_FILE", global = true, value_name = "FILE")
    )]
    pub password_file: Option<PathBuf>,
    /// Token
    #[serde(deserialize_with = "secret", serialize_with = "hidden")]
    #[cfg_attr(
        feature = "clap",
        arg(long, env = "NATS_TOKEN", global = true, hide_env_values = true)
    )]
    pub token: Option<SecretString>,
    /// File with the certificate authorities to trust (PEM)
    #[cfg_attr(feature = "clap", arg(long, env = "NATS_CA", global = true, value_name = "FILE"))]
    pub tlsca: Option<PathBuf>,
    /// File with the client certificate (PEM)
    #[cfg_attr(feature = "clap", arg(long, env = "NATS_CERT", global = true, value_name = "FILE"))]
    pub tlscert: Option<PathBuf>,
    /// File with the client certificate's key (PEM)
    #[cfg_attr(feature = "clap", arg(long, env = "NATS_KEY", global = true, value_name = "FILE"))]
    pub tlskey: Option<PathBuf>,
    /// How long to wait for an answer [default: 5s]
    #[serde(with = "humantime_serde")]
    #[cfg_attr(
        feature = "clap",
        arg(long, env = "NATS_TIMEOUT", global = true, value_name = "DURATION"),
        arg(value_parser = humantime::parse_duration)
    )]
    pub timeout: Option<Duration>,
    /// First part of every subject [default: damocles]
    #[cfg_attr(feature = "clap", arg(long, env = "DAMOCLES_PREFIX", global = true))]
    pub prefix: Option<Prefix>,
    /// How state is published, MessagePack by default; requests are answered in their own encoding.
    #[cfg_attr(feature = "clap", arg(skip))]
    pub encoding: Option<Encoding>,
    /// How long the lease of a worker's name lasts without being renewed, at least a second. For
    /// whoever makes the lease bucket: one that is there already says itself.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub lease_ttl: Option<Duration>,
    /// How long JetStream may store nothing, at least a second, before a worker warns that its
    /// history stands still and a manager that workers' states are not kept.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub store_patience: Option<Duration>,
}

impl NatsOptions {
    /// What holds where nothing is said.
    pub fn defaults() -> NatsOptions {
        NatsOptions {
            server: Some(DEFAULT_SERVER.to_owned().into()),
            timeout: Some(DEFAULT_TIMEOUT),
            prefix: Some(Prefix::default()),
            encoding: Some(Encoding::default()),
            lease_ttl: Some(lease::DEFAULT_TTL),
            store_patience: Some(DEFAULT_STORE_PATIENCE),
            ..NatsOptions::default()
        }
    }

    // What a context says nothing about.
    pub(super) fn without_way(&self) -> NatsOptions {
        NatsOptions {
            timeout: self.timeout,
            prefix: self.prefix.clone(),
            encoding: self.encoding,
            lease_ttl: self.lease_ttl,
            store_patience: self.store_patience,
            ..NatsOptions::default()
        }
    }
}

fn hidden<S: Serializer>(secret: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| HIDDEN).serialize(to)
}

fn without_logins<S: Serializer>(list: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    let list = list.as_ref().map(|list| shown::without_logins(list.expose_secret()));
    list.serialize(to)
}

// What is no text is refused without being shown.
fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Secret {
        Text(SecretString),
        Other(IgnoredAny),
    }
    match Secret::deserialize(from)? {
        Secret::Text(text) => Ok(Some(text)),
        Secret::Other(_) => Err(D::Error::custom("a text in quotes is expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_shown_by_nobody() {
        let text =
            "server = 'nats://u:hunter2@a'\npassword = 'hunter2'\ntoken = 'hunter2'\nuser = 'u'";
        let options: NatsOptions = toml::from_str(text).unwrap();
        assert!(options.password.is_some() && !format!("{options:?}").contains("hunter2"));
        let written = serde_json::to_value(&options).unwrap();
        assert!(!written.to_string().contains("hunter2"), "{written}");
        assert_eq!((&written["server"], &written["user"]), (&"…@a".into(), &"u".into()));
        for key in ["server", "password", "token"] {
            for value in ["4711", "4711.5", "[4711]", "{ x = 4711 }", "2047-11-04"] {
                let error = toml::from_str::<NatsOptions>(&format!("{key} = {value}")).unwrap_err();
                assert_eq!(error.message(), "a text in quotes is expected", "{key} = {value}");
            }
        }
    }
}
