//! The manager's configuration file: how to reach NATS, and nothing else, for the manager has no
//! state.

use std::path::Path;

use damocles_client::connect::{NatsOptions, NatsSettings};
use damocles_daemon::config::load;
use damocles_terminal::{CliError, Exit};
use serde::Deserialize;
use tracing::warn;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    nats: NatsOptions,
}

/// How to reach NATS: what the command line and the environment say, else the file.
pub(crate) fn settings(
    options: &NatsOptions,
    file: Option<&Path>,
) -> Result<NatsSettings, CliError> {
    let config = match file {
        None => Config::default(),
        Some(path) => {
            let (config, warnings) =
                load::<Config>(path, &[]).map_err(|error| CliError::new(Exit::Failed, error))?;
            warnings.iter().for_each(|warning| warn!("{warning}"));
            config
        }
    };
    Ok(NatsSettings::new(options, &config.nats)?)
}

#[cfg(test)]
mod tests {
    use damocles_daemon::config::parse;

    use super::*;

    #[test]
    fn the_sample_is_valid() {
        let sample = include_str!("../../assets/damocles-manager.mock.toml");
        let (config, warnings) = parse::<Config>(sample, "sample", &[]).unwrap();
        assert!(
            warnings.is_empty() && NatsSettings::new(&NatsOptions::default(), &config.nats).is_ok()
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let error =
            parse::<Config>("[nats]\nservers = 'x'", "m.toml", &[]).err().unwrap().to_string();
        assert!(error.contains("`nats.servers`; did you mean `nats.server`?"), "{error}");
    }
}
