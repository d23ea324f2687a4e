//! Which damocles-workers a process speaks for: a file with `[[sidecar]]` tables, or one that the
//! command line names.

use std::path::{Path, PathBuf};

use damocles_client::connect::NatsOptions;
use damocles_daemon::config::{ConfigError, Document, Fault, KeyPath, Step};
use damocles_wire::address::Address;
use serde::Deserialize;

/// The configuration of a process with sidecars, checked.
#[derive(Debug, Default)]
pub struct Config {
    /// Where what must not be forgotten is kept.
    pub state: Option<PathBuf>,
    /// At least one; no two of them have one name or one address.
    pub sidecars: Vec<SidecarConfig>,
    /// How to reach NATS.
    pub nats: NatsOptions,
}

/// One damocles-worker, `[[sidecar]]`.
#[derive(Clone, Debug, Deserialize)]
pub struct SidecarConfig {
    /// The worker's own socket, e.g. `http://127.0.0.1:17890`.
    pub rpc: Address,
    /// The name on the bus; needed where there are several.
    pub name: Option<String>,
}

// The file as it is written.
#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    state: Option<PathBuf>,
    sidecar: Vec<SidecarConfig>,
    nats: NatsOptions,
}

impl Config {
    /// Reads a file, strictly.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let document = Document::load(path)?;
        let (File { state, sidecar: sidecars, nats }, _) = document.read::<File>(&[])?;
        let config = Config { state, sidecars, nats };
        config.check().map_err(|fault| document.refuse(fault))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Fault> {
        let all = KeyPath::of(&["sidecar"]);
        if self.sidecars.is_empty() {
            let what = "there is none: add a [[sidecar]] with the rpc of a damocles-worker";
            return Err(Fault::at(all, what));
        }
        let at = |number: usize, key: &str| {
            let steps = [Step::Key("sidecar".into()), Step::Index(number), Step::Key(key.into())];
            KeyPath::from(&steps[..])
        };
        for (number, one) in self.sidecars.iter().enumerate() {
            let before = &self.sidecars[..number];
            if one.name.is_none() && self.sidecars.len() > 1 {
                let what = "it is missing: each of several needs one of its own";
                return Err(Fault::at(at(number, "name"), what));
            }
            if before.iter().any(|other| other.name == one.name) {
                let what = "another [[sidecar]] has this name: give each its own";
                return Err(Fault::at(at(number, "name"), what));
            }
            if before.iter().any(|other| other.rpc.url("/") == one.rpc.url("/")) {
                let what =
                    "another [[sidecar]] speaks for this damocles-worker: remove one of them";
                return Err(Fault::at(at(number, "rpc"), what));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn one_may_have_no_name_and_several_have_their_own() {
        let one = read("[[sidecar]]\nrpc = 'http://127.0.0.1:17890'").unwrap();
        assert_eq!((one.sidecars.len(), one.state), (1, None));
        let text = "state = '/s'\n[nats]\nserver = 'nats://h'\n[[sidecar]]\nrpc = 'http://a:17890'\nname = 'a'\n[[sidecar]]\nrpc = '/ip4/10.0.0.1/tcp/17890'\nname = 'b'";
        let two = read(text).unwrap();
        assert_eq!(two.sidecars[1].name.as_deref(), Some("b"));
        assert_eq!(two.sidecars[1].rpc.to_string(), "http://10.0.0.1:17890/");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let a = "[[sidecar]]\nrpc = 'http://a:17890'\nname = 'a'\n";
        for (text, named) in [
            ("".to_owned(), "add a [[sidecar]]"),
            ("[[sidecar]]\nname = 'a'".to_owned(), "rpc"),
            ("[[sidecar]]\nrpc = 'a:17890'".to_owned(), "write it as http://"),
            (format!("{a}[[sidecar]]\nrpc = 'http://b:17890'"), "each of several needs one"),
            (format!("{a}[[sidecar]]\nrpc = 'http://b:17890'\nname = 'a'"), "line 6"),
            (format!("{a}[[sidecar]]\nrpc = 'http://a:17890/'\nname = 'b'"), "remove one of them"),
            (format!("{a}interval = '1s'"), "interval"),
            (format!("{a}[sealing]"), "sealing"),
        ] {
            let said = read(&text).unwrap_err();
            assert!(said.contains(named), "{text}: {said}");
        }
    }
}
