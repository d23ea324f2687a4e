//! The manager's configuration file: how to reach NATS, and the sector manager that it answers for;
//! nothing else, for the manager has no state.

use std::{path::Path, time::Duration};

use damocles_client::connect::{NatsOptions, NatsSettings};
use damocles_daemon::config::{ConfigError, Document, Fault, KeyPath};
use damocles_terminal::CliError;
use damocles_wire::address::Address;
use serde::Deserialize;
use tracing::warn;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    nats: NatsOptions,
    sector_manager: SectorManagerOptions,
}

/// The damocles sector manager that workers are answered by.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct SectorManagerOptions {
    /// Where it is; nobody is answered by one if absent.
    pub(crate) address: Option<Address>,
    /// See [`RelayTo::adopt_after`](crate::relay::RelayTo::adopt_after).
    #[serde(with = "humantime_serde")]
    pub(crate) adopt_after: Duration,
}

impl Default for SectorManagerOptions {
    fn default() -> Self {
        SectorManagerOptions { address: None, adopt_after: Duration::from_secs(600) }
    }
}

/// What a daemon works with: how to reach NATS, and the sector manager of the file.
pub(crate) fn of_daemon(
    options: &NatsOptions,
    file: Option<&Path>,
) -> Result<(NatsSettings, SectorManagerOptions), CliError> {
    let read = Read::file(file)?;
    read.warnings.iter().for_each(|warning| warn!("{warning}"));
    Ok((NatsSettings::new(options, &read.nats)?, read.sector_manager))
}

/// How to reach NATS: what the command line and the environment say, else the file.
pub(crate) fn settings(
    options: &NatsOptions,
    file: Option<&Path>,
) -> Result<NatsSettings, CliError> {
    of_daemon(options, file).map(|(nats, _)| nats)
}

/// A file that was read, or what holds without any.
pub(crate) struct Read {
    /// What it says of NATS.
    pub(crate) nats: NatsOptions,
    /// What it says of the sector manager.
    pub(crate) sector_manager: SectorManagerOptions,
    /// What to warn about beside it.
    pub(crate) warnings: Vec<String>,
    /// Where that stands.
    pub(crate) document: Document,
}

fn check(config: Config) -> Result<Config, Vec<Fault>> {
    let wrong = config.nats.wrong().into_iter();
    let faults: Vec<_> =
        wrong.map(|(key, why)| Fault::at(KeyPath::of(&["nats", key]), why)).collect();
    if faults.is_empty() { Ok(config) } else { Err(faults) }
}

impl Read {
    pub(crate) fn file(file: Option<&Path>) -> Result<Read, ConfigError> {
        let document = file.map_or_else(|| Ok(Document::empty(Path::new(""))), Document::load)?;
        let (Config { nats, sector_manager }, warnings) = document.read_checked(&[], check)?;
        Ok(Read { nats, sector_manager, warnings, document })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, path: &str) -> Result<(Config, Vec<String>), String> {
        let read = Document::parse(text, path).and_then(|document| document.read(&[]));
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn the_sample_is_valid() {
        let sample = include_str!("../../assets/damocles-manager.mock.toml");
        let (config, warnings) = parse(sample, "sample").unwrap();
        assert!(
            warnings.is_empty() && NatsSettings::new(&NatsOptions::default(), &config.nats).is_ok()
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let error = parse("[nats]\nservers = 'x'", "m.toml").err().unwrap();
        assert!(error.contains("`nats.servers`; did you mean `nats.server`?"), "{error}");
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_line() {
        let text = "[nats]\nlease_ttl = '1ms'\nserver = ' , '\nsrever = 'x'";
        let document = Document::parse(text, "m.toml").unwrap();
        let error = document.read_checked(&[], check).err().unwrap();
        let said = [
            "2, column 13: `nats.lease_ttl` is 1ms; it takes a duration of at least 1s",
            "3, column 10: no NATS server is named: write --server nats://host:4222",
            "4, column 1: unknown key `nats.srever`; did you mean `nats.server`?",
        ];
        assert_eq!(
            error.lines(),
            said.map(|said| format!("configuration file m.toml, line {said}"))
        );
    }
}
