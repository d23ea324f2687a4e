//! The effective configuration: every value that a program works with, and where it comes from.
//! It is the configuration's own types, serialised, so a key that is added there is shown here.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::key::KeyPath;

// In place of what nobody may read.
const HIDDEN: &str = "(hidden)";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// Nobody has said anything.
    Default,
    /// A line of a file.
    File {
        /// The file's path, as it was given.
        file: String,
        /// The line, from 1.
        line: usize,
    },
    /// A context of the `nats` client.
    Context {
        /// As it was named.
        context: String,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// An option of the command line.
    Option {
        /// As it is written, `--server`.
        option: String,
    },
}

/// One value of the effective configuration. Secrets are hidden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its key, `sealing_thread[0].location`.
    pub key: String,
    /// The value as a file would have it; null where there is none.
    pub value: Value,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// Every value of a configuration, in the order of its types.
pub fn settings(
    config: &impl Serialize,
    origin: impl Fn(&KeyPath) -> Origin,
) -> Result<Vec<Setting>, serde_json::Error> {
    let mut settings = vec![];
    collect(serde_json::to_value(config)?, KeyPath::root(), &origin, &mut settings);
    Ok(settings)
}

/// One value, whatever it is a part of.
pub fn setting(key: &KeyPath, value: Value, origin: Origin) -> Setting {
    Setting { key: key.with_positions(), value: masked(key, value), origin }
}

fn collect(
    value: Value,
    at: KeyPath,
    origin: &impl Fn(&KeyPath) -> Origin,
    settings: &mut Vec<Setting>,
) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                collect(value, at.clone().key(&key), origin, settings);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for (index, value) in list.into_iter().enumerate() {
                collect(value, at.clone().index(index), origin, settings);
            }
        }
        value => settings.push(setting(&at, value, origin(&at))),
    }
}

fn masked(at: &KeyPath, value: Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) if at.is_secret() && !(names_file(at) && is_path(&text)) => {
            HIDDEN.into()
        }
        Value::String(text) => without_password(&text).into(),
        Value::Array(list) if !at.is_secret() => without_secret_options(list),
        _ if at.is_secret() => HIDDEN.into(),
        value => value,
    }
}

// Keys of NATS and TLS are named by their files; a password may look like a path.
fn names_file(at: &KeyPath) -> bool {
    let key = at.keys().last().unwrap_or_default();
    ["creds", "nkey", "tlskey"].contains(&key) || key.ends_with("_file")
}

// Whatever else stands there, as the seed itself, is no path.
fn is_path(text: &str) -> bool {
    !text.contains('\n') && (text.contains('/') || Path::new(text).is_file())
}

// What stands before the host of a URL.
fn without_password(text: &str) -> String {
    let urls = text.split(',').map(|url| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{HIDDEN}@{host}"),
        _ => url.to_owned(),
    });
    urls.collect::<Vec<_>>().join(",")
}

// `--token=x`, and what stands behind `--token`.
fn without_secret_options(list: Vec<Value>) -> Value {
    let mut follows = false;
    let shown = list.into_iter().map(|value| {
        let hidden = std::mem::take(&mut follows);
        let Value::String(text) = value else { return value };
        let (option, given) = text.split_once('=').unwrap_or((&text, ""));
        let is_secret = option.starts_with('-') && KeyPath::of(&[option]).is_secret();
        follows = is_secret && given.is_empty();
        match (hidden, is_secret && !given.is_empty()) {
            (true, _) => HIDDEN.into(),
            (_, true) => format!("{option}={HIDDEN}").into(),
            _ => without_password(&text).into(),
        }
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(key: &str, value: Value) -> Value {
        let keys: Vec<_> = key.split('.').collect();
        setting(&KeyPath::of(&keys), value, Origin::Default).value
    }

    #[test]
    fn secrets_are_hidden_and_the_paths_of_their_files_are_not() {
        for key in ["nats.password", "nats.token", "nats.nkey", "processors.c2.envs.API_KEY"] {
            assert_eq!(shown(key, "SUAHUNTER2".into()), json!(HIDDEN), "{key}");
            assert_eq!(shown(key, 42.into()), json!(HIDDEN), "{key}");
            let is_file = key == "nats.nkey";
            assert_eq!(shown(key, "a/b".into()), json!(if is_file { "a/b" } else { HIDDEN }));
            assert_eq!(shown(key, Value::Null), Value::Null, "{key}");
        }
        assert_eq!(shown("nats.nkey", "/etc/nats/w.nk".into()), json!("/etc/nats/w.nk"));
        assert_eq!(shown("nats.creds", "-----BEGIN\n/x".into()), json!(HIDDEN));
        assert_eq!(shown("worker.name", "w1".into()), json!("w1"));
    }

    #[test]
    fn what_a_url_or_an_option_says_of_a_password_is_hidden() {
        let servers = "nats://u:p@a:4222, nats://t@b,nats://c";
        assert_eq!(
            shown("nats.server", servers.into()),
            json!("nats://(hidden)@a:4222, nats://(hidden)@b,nats://c")
        );
        let args = json!(["--verbose", "--token=x", "--password", "y", "z", "http://u:p@h/"]);
        assert_eq!(
            shown("processors.c2.args", args),
            json!([
                "--verbose",
                "--token=(hidden)",
                "--password",
                "(hidden)",
                "z",
                "http://(hidden)@h/"
            ])
        );
    }
}
