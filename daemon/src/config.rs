//! Reading configuration files strictly: an unknown key is refused with its name and the nearest
//! known one; a key that is known but has no effect yet, or none any more, is named in a warning.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// What a known key means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It works.
    Works,
    /// It is accepted, and ignored with a warning.
    NotYet,
    /// The bus has replaced what it was for; accepted with a warning.
    Replaced,
}

/// A known key: its path, with `[]` after an array of tables and `*` for any name.
pub type KnownKey = (&'static str, Effect);

/// The keys of the `[nats]` section, for [`load`].
pub const KNOWN_NATS_KEYS: &[KnownKey] = &[
    ("nats.server", Effect::Works),
    ("nats.creds", Effect::Works),
    ("nats.nkey", Effect::Works),
    ("nats.user", Effect::Works),
    ("nats.password", Effect::Works),
    ("nats.tlsca", Effect::Works),
    ("nats.tlscert", Effect::Works),
    ("nats.tlskey", Effect::Works),
    ("nats.timeout", Effect::Works),
    ("nats.prefix", Effect::Works),
    ("nats.encoding", Effect::Works),
    ("nats.lease_ttl", Effect::Works),
    ("nats.store_patience", Effect::Works),
];

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration file {path}: {error}")]
    Read {
        /// Path as it was given.
        path: String,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// The file is no TOML, or a value has the wrong type.
    #[error("configuration file {path}: {error}")]
    Parse {
        /// Path as it was given.
        path: String,
        /// Where and what.
        error: String,
    },
    /// A key that nobody knows.
    #[error("configuration file {path}: unknown key `{key}`{}", nearest.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownKey {
        /// Path as it was given.
        path: String,
        /// The key.
        key: String,
        /// The nearest known key.
        nearest: Option<String>,
    },
    /// The values do not make sense together.
    #[error("configuration file {path}: {error}")]
    Invalid {
        /// Path as it was given.
        path: String,
        /// What is wrong, and the way out.
        error: String,
    },
}

/// Reads a file, refuses unknown keys, and returns the configuration with the warnings to log.
pub fn load<T: DeserializeOwned>(
    path: &Path,
    known: &[KnownKey],
) -> Result<(T, Vec<String>), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Read { path: path.display().to_string(), error })?;
    parse(&text, &path.display().to_string(), known)
}

/// Like [`load`], from a text; `path` is for messages.
pub fn parse<T: DeserializeOwned>(
    text: &str,
    path: &str,
    known: &[KnownKey],
) -> Result<(T, Vec<String>), ConfigError> {
    let broken = |error: toml::de::Error| ConfigError::Parse {
        path: path.to_owned(),
        error: error.to_string(),
    };
    let table: Table = toml::from_str(text).map_err(broken)?;
    let mut warnings = Vec::new();
    check_table(&table, "", "", path, known, &mut warnings)?;
    let config = toml::from_str(text).map_err(broken)?;
    Ok((config, warnings))
}

// `shown` is the path as the user wrote it, `pattern` the same in the form of the known keys.
fn check_table(
    table: &Table,
    shown: &str,
    pattern: &str,
    path: &str,
    known: &[KnownKey],
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    for (key, value) in table {
        let join = |prefix: &str, key: &str| {
            if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
        };
        let shown = join(shown, key);
        let exact = join(pattern, key);
        let wild = join(pattern, "*");
        let tables: Vec<&Table> = match value {
            Value::Table(inner) => vec![inner],
            Value::Array(items) => items.iter().filter_map(Value::as_table).collect(),
            _ => vec![],
        };
        let suffix = if value.is_array() && !tables.is_empty() { "[]" } else { "" };
        let effect = [&exact, &wild].into_iter().find_map(|candidate| {
            known
                .iter()
                .find(|(name, _)| *name == format!("{candidate}{suffix}"))
                .map(|(_, effect)| *effect)
        });
        match effect {
            Some(Effect::Works) => continue,
            Some(Effect::NotYet) => warnings.push(format!("{path}: `{shown}` has no effect yet")),
            Some(Effect::Replaced) => warnings.push(format!(
                "{path}: `{shown}` has no effect: the bus has replaced it, see [nats]"
            )),
            None => {
                let candidates = [exact, wild].map(|candidate| format!("{candidate}{suffix}"));
                let inner = candidates.iter().find(|candidate| {
                    known.iter().any(|(name, _)| {
                        name.strip_prefix(candidate.as_str())
                            .is_some_and(|rest| rest.starts_with('.'))
                    })
                });
                match inner {
                    Some(inner) if !tables.is_empty() => {
                        for table in tables {
                            check_table(table, &shown, inner, path, known, warnings)?;
                        }
                    }
                    _ => return Err(unknown(key, shown, pattern, path, known)),
                }
            }
        }
    }
    Ok(())
}

fn unknown(key: &str, shown: String, pattern: &str, path: &str, known: &[KnownKey]) -> ConfigError {
    let prefix = if pattern.is_empty() { String::new() } else { format!("{pattern}.") };
    let siblings = known.iter().filter_map(|(name, _)| name.strip_prefix(&prefix));
    let names =
        siblings.filter_map(|rest| rest.split(['.', '[']).next()).filter(|name| *name != "*");
    let scored = names.map(|name| (strsim::jaro_winkler(name, key), name));
    let best = scored.filter(|(score, _)| *score > 0.7).max_by(|a, b| a.0.total_cmp(&b.0));
    let parent = shown.strip_suffix(key).unwrap_or_default().to_owned();
    ConfigError::UnknownKey {
        path: path.to_owned(),
        key: shown,
        nearest: best.map(|(_, name)| parent + name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[KnownKey] = &[
        ("worker.name", Effect::Works),
        ("worker.rpc_server", Effect::Replaced),
        ("thread[].location", Effect::Works),
        ("thread[].sealing.max_retries", Effect::Works),
        ("limits.*", Effect::NotYet),
        ("processors.*[].bin", Effect::Works),
    ];

    fn check(text: &str) -> Result<Vec<String>, String> {
        parse::<Table>(text, "w.toml", KNOWN)
            .map(|(_, warnings)| warnings)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn known_keys_pass_in_silence() {
        let text = "[worker]\nname='a'\n[[thread]]\nlocation='x'\nsealing.max_retries=3\n[[processors.c2]]\nbin='x'";
        assert_eq!(check(text), Ok(vec![]));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_name_and_the_nearest_known_one() {
        assert_eq!(
            check("[worker]\nnmae='a'").unwrap_err(),
            "configuration file w.toml: unknown key `worker.nmae`; did you mean `worker.name`?"
        );
        assert_eq!(
            check("[wroker]\nname='a'").unwrap_err(),
            "configuration file w.toml: unknown key `wroker`; did you mean `worker`?"
        );
        let nested = check("[[thread]]\nlocation='x'\nsealing.max_retrys=3").unwrap_err();
        assert!(
            nested.contains(
                "`thread.sealing.max_retrys`; did you mean `thread.sealing.max_retries`?"
            ),
            "{nested}"
        );
        assert_eq!(
            check("[worker]\nzzz=1").unwrap_err(),
            "configuration file w.toml: unknown key `worker.zzz`"
        );
    }

    #[test]
    fn keys_without_effect_are_named_in_warnings() {
        assert_eq!(check("[limits]\npc1=1").unwrap(), ["w.toml: `limits.pc1` has no effect yet"]);
        assert!(check("[worker]\nrpc_server.port=1").unwrap()[0].contains("`worker.rpc_server`"));
    }

    #[test]
    fn broken_toml_says_where() {
        assert!(check("[worker\nname=1").unwrap_err().contains("line 1"));
    }
}
