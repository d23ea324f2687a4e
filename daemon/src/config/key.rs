//! Where a value stands in a configuration file: the keys and positions that lead to it.

use std::fmt;

/// A key of a table, or a position in a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A table's key.
    Key(String),
    /// A list's position, from 0.
    Index(usize),
}

/// The way to a value. Shown as `sealing_thread.sealing.max_retries`: a place in the file tells
/// the entries of a list apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyPath(Vec<Step>);

// Whatever is called like this holds a secret or leads to one, whoever reads it.
const SECRETS: [&str; 7] = ["pass", "token", "secret", "seed", "creds", "credential", "jwt"];

impl KeyPath {
    /// The file itself.
    pub const fn root() -> Self {
        KeyPath(Vec::new())
    }

    /// The way to a key of a table in the file.
    pub fn of(keys: &[&str]) -> Self {
        keys.iter().fold(KeyPath::root(), |path, key| path.key(key))
    }

    /// The way on to a key.
    pub fn key(mut self, key: &str) -> Self {
        self.0.push(Step::Key(key.to_owned()));
        self
    }

    /// The way on to a position.
    pub fn index(mut self, index: usize) -> Self {
        self.0.push(Step::Index(index));
        self
    }

    /// The way on from here.
    pub fn join(mut self, rest: KeyPath) -> Self {
        self.0.extend(rest.0);
        self
    }

    /// Its steps.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// What it is a part of; the file is a part of nothing.
    pub(super) fn above(&self) -> Option<&[Step]> {
        self.0.split_last().map(|(_, above)| above)
    }

    /// Whether one leads to the other.
    pub(super) fn is_related_to(&self, other: &KeyPath) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }

    /// The keys on the way.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
    }

    /// Whether what stands there may be a secret: its name, or that of what it is a part of, says
    /// so. A key is one too, be it of TLS or of NATS.
    pub fn is_secret(&self) -> bool {
        self.keys().any(|key| {
            let key = key.to_ascii_lowercase();
            key.ends_with("key")
                || key.ends_with("keys")
                || SECRETS.iter().any(|secret| key.contains(secret))
        })
    }

    /// With the positions in lists: `sealing_thread[1].location`.
    pub fn with_positions(&self) -> String {
        let mut text = String::new();
        for step in &self.0 {
            match step {
                Step::Key(key) if text.is_empty() => text += key,
                Step::Key(key) => text += &format!(".{key}"),
                Step::Index(index) => text += &format!("[{index}]"),
            }
        }
        text
    }
}

impl From<&[Step]> for KeyPath {
    fn from(steps: &[Step]) -> Self {
        KeyPath(steps.to_vec())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.keys().collect::<Vec<_>>().join("."))
    }
}
