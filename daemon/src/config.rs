//! Reading configuration files strictly: a key that nobody reads is refused with its name and the
//! nearest known one, and one that is known but has no effect is named in a warning. The types that
//! are read say which keys there are: `serde_ignored` tells which of a file's keys they passed over.

use std::{fmt, path::Path};

use serde::{Deserializer, de::DeserializeOwned};
use shared_msgs::keys;

/// Why a key has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It will have one.
    NotYet,
    /// The bus has replaced what it was for.
    Replaced,
}

/// A key without effect: its path, without the positions in arrays.
pub type WithoutEffect = (&'static str, Effect);

/// A key of a file that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Its path, without positions in arrays: `sealing_thread.plan`.
    pub key: String,
    /// Why it has none, for the warning.
    pub effect: Effect,
}

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
        /// Where in the file, and what is expected there.
        error: String,
    },
    /// A key that nobody knows.
    #[error("configuration file {path}: {error}")]
    UnknownKey {
        /// Path as it was given.
        path: String,
        /// The key, and the nearest one that there is.
        error: UnknownKey,
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

/// A key that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown key `{key}`{}", nearest.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
pub struct UnknownKey {
    /// Its path, without positions in arrays: `sealing_thread.plan`.
    pub key: String,
    /// The path of the nearest known one.
    pub nearest: Option<String>,
}

/// Why a part of a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// A key that nobody knows.
    #[error(transparent)]
    UnknownKey(#[from] UnknownKey),
    /// A value has the wrong type.
    #[error("{at}: {}", error.message())]
    Value {
        /// The part's path in the file.
        at: String,
        /// What the parser expects there.
        error: toml::de::Error,
    },
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.effect {
            Effect::NotYet => write!(f, "`{}` has no effect yet", self.key),
            Effect::Replaced => {
                write!(f, "`{}` has no effect: the bus has replaced it, see [nats]", self.key)
            }
        }
    }
}

/// Reads a file, refuses unknown keys, and returns the configuration with the warnings to log.
pub fn load<T: DeserializeOwned>(
    path: &Path,
    without_effect: &[WithoutEffect],
) -> Result<(T, Vec<String>), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Read { path: path.display().to_string(), error })?;
    parse(&text, &path.display().to_string(), without_effect)
}

/// Like [`load`], from a text; `path` is for messages.
pub fn parse<T: DeserializeOwned>(
    text: &str,
    path: &str,
    without_effect: &[WithoutEffect],
) -> Result<(T, Vec<String>), ConfigError> {
    let path = path.to_owned();
    let read =
        toml::Deserializer::parse(text).map(|document| read_strictly(document, "", without_effect));
    match read {
        Ok(Ok((Ok(config), ignored))) => {
            let warnings = ignored.iter().map(|ignored| format!("{path}: {ignored}")).collect();
            Ok((config, warnings))
        }
        Ok(Err(error)) => Err(ConfigError::UnknownKey { path, error }),
        Err(error) | Ok(Ok((Err(error), _))) => {
            Err(ConfigError::Parse { path, error: error.to_string() })
        }
    }
}

/// Reads a part of a file that was read as a value first. Paths begin with `at`.
pub fn read<T: DeserializeOwned>(
    value: impl Into<toml::Value>,
    at: &str,
    without_effect: &[WithoutEffect],
) -> Result<(T, Vec<Ignored>), PartError> {
    let (read, ignored) = read_strictly(value.into(), at, without_effect)?;
    match read {
        Ok(value) => Ok((value, ignored)),
        Err(error) => Err(PartError::Value { at: at.to_owned(), error }),
    }
}

type Read<T> = (Result<T, toml::de::Error>, Vec<Ignored>);

// An unknown key comes before any other error: a value may be missing because its key is misspelt.
fn read_strictly<'de, T: DeserializeOwned>(
    from: impl Deserializer<'de, Error = toml::de::Error>,
    at: &str,
    without_effect: &[WithoutEffect],
) -> Result<Read<T>, UnknownKey> {
    let mut passed_over = vec![];
    let read = serde_ignored::deserialize(from, |path| passed_over.push(keys::on_path(&path)));
    let mut ignored = vec![];
    for keys in passed_over {
        let key = join(at, &keys);
        match without_effect.iter().find(|(known, _)| *known == key) {
            Some((_, effect)) => ignored.push(Ignored { key, effect: *effect }),
            None => return Err(unknown::<T>(&keys, at, without_effect)),
        }
    }
    Ok((read, ignored))
}

fn unknown<T: DeserializeOwned>(
    keys: &[String],
    at: &str,
    without_effect: &[WithoutEffect],
) -> UnknownKey {
    let (key, parents) = match keys {
        [parents @ .., key] => (key.as_str(), parents),
        [] => ("", keys),
    };
    let parent = join(at, parents);
    let without_effect = without_effect.iter().filter_map(|(known, _)| match &parent[..] {
        "" => Some(*known),
        parent => known.strip_prefix(parent)?.strip_prefix('.'),
    });
    let names = keys::of::<T>(parents)
        .iter()
        .copied()
        .chain(without_effect.filter(|name| !name.contains('.')));
    let best = keys::nearest(key, names);
    UnknownKey { key: join(at, keys), nearest: best.map(|name| join(&parent, &[name.to_owned()])) }
}

fn join(at: &str, keys: &[String]) -> String {
    let parts = Option::Some(at).filter(|at| !at.is_empty()).into_iter();
    parts.chain(keys.iter().map(String::as_str)).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct File {
        worker: Worker,
        thread: Vec<Thread>,
        limits: Limits,
        processors: BTreeMap<String, Vec<Processor>>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[expect(dead_code, reason = "only its keys matter")]
    struct Worker {
        name: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its keys matter")]
    struct Thread {
        location: String,
        #[serde(default)]
        sealing: Option<Sealing>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[expect(dead_code, reason = "only its keys matter")]
    struct Sealing {
        max_retries: u32,
    }

    #[derive(Debug, Default, Deserialize)]
    struct Limits {}

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its keys matter")]
    struct Processor {
        bin: String,
    }

    const WITHOUT_EFFECT: &[WithoutEffect] =
        &[("worker.rpc_server", Effect::Replaced), ("limits.pc1", Effect::NotYet)];

    fn check(text: &str) -> Result<Vec<String>, String> {
        parse::<File>(text, "w.toml", WITHOUT_EFFECT)
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
    fn an_unknown_key_is_found_in_every_table_and_before_the_value_that_it_hides() {
        let unknown = |text: &str, key: &str, nearest: &str| {
            let error = check(text).unwrap_err();
            let words = format!("unknown key `{key}`; did you mean `{nearest}`?");
            assert!(error.contains(&words), "{error}");
        };
        unknown("[[processors.c2]]\nbinn='x'", "processors.c2.binn", "processors.c2.bin");
        unknown(
            "[[thread]]\nlocation='x'\n[[thread]]\nloaction='x'",
            "thread.loaction",
            "thread.location",
        );
        unknown("[worker]\nrpc_sever.port=1", "worker.rpc_sever", "worker.rpc_server");
        unknown("[limits]\npc=1", "limits.pc", "limits.pc1");
    }

    #[test]
    fn a_part_says_where_it_stands() {
        let part = |text: &str| {
            let table: toml::Table = text.parse().unwrap();
            read::<Worker>(table, "worker", WITHOUT_EFFECT).map(|(_, ignored)| ignored)
        };
        let ignored = Ignored { key: "worker.rpc_server".into(), effect: Effect::Replaced };
        assert_eq!(part("name='a'\nrpc_server.port=1").unwrap(), [ignored]);
        let error = part("nmae='a'").unwrap_err().to_string();
        assert_eq!(error, "unknown key `worker.nmae`; did you mean `worker.name`?");
        let error = part("name=1").unwrap_err().to_string();
        assert!(error.starts_with("worker: invalid type"), "{error}");
    }

    #[test]
    fn keys_without_effect_are_named_in_warnings() {
        assert_eq!(check("[limits]\npc1=1").unwrap(), ["w.toml: `limits.pc1` has no effect yet"]);
        assert!(check("[worker]\nrpc_server.port=1").unwrap()[0].contains("`worker.rpc_server`"));
    }

    #[test]
    fn broken_toml_says_where() {
        assert!(check("[worker\nname=1").unwrap_err().contains("line 1"));
        assert!(check("[worker]\nname=1").unwrap_err().contains("line 2"));
    }
}
