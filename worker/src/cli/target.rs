//! Which worker a command is for: the configuration's, the one named, or the one of this machine.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use damocles_client::{
    connect::{NatsOptions, NatsSettings},
    worker_client::{Via, WorkerClient},
};
use damocles_terminal::{CliError, Exit};
use shared_msgs::{id::Id, name::WorkerName, snapshot::WorkerSnapshot};

use crate::{config::Config, identity, store::place};

/// What NATS shows of a tool's connection.
pub(crate) const CLIENT_NAME: &str = "damocles-worker worker";

/// The worker's name: the given one, else the configured one, else this machine's address on the
/// way to NATS.
pub(super) fn name(
    given: Option<&str>,
    configured: Option<&str>,
    settings: &NatsSettings,
) -> Result<WorkerName, CliError> {
    match given.or(configured) {
        Some(name) => settings
            .prefix
            .worker_named(name)
            .map_err(|error| CliError::new(Exit::Usage, format!("worker name {name:?}: {error}"))),
        None => identity::default_name(settings.first_server())
            .map_err(|error| CliError::new(Exit::Failed, error)),
    }
}

/// The worker that a command is for, and how it is reached.
pub(crate) struct Target {
    pub(crate) settings: NatsSettings,
    pub(crate) worker: WorkerName,
    /// The location of the first thread, where a configuration names the worker.
    first_location: Option<PathBuf>,
}

/// Finds out which worker is meant. Nothing is connected yet.
pub(super) fn find(
    nats: &NatsOptions,
    file: Option<&Path>,
    named: Option<&str>,
) -> Result<Target, CliError> {
    let config = file.map(Config::load).transpose()?;
    let config = config.map(|(config, _)| config);
    let section = config.as_ref().map_or_else(NatsOptions::default, |config| config.nats.clone());
    let settings = NatsSettings::new(nats, &section)?;
    let worker = name(named, config.as_ref().and_then(|config| config.name.as_deref()), &settings)?;
    let first = config.iter().find_map(|config| config.threads.first());
    // The state directory may be another one for this program than for the worker.
    let first = first.filter(|thread| named.is_none() && !thread.in_state_directory);
    let first_location = first.map(|thread| thread.location.clone());
    Ok(Target { settings, worker, first_location })
}

impl Target {
    /// Somebody who commands that worker.
    pub(crate) async fn connect(self) -> Result<WorkerClient, CliError> {
        let Target { settings, worker, .. } = self;
        let client = settings.connect_once(CLIENT_NAME).await?;
        let NatsSettings { prefix, timeout, .. } = settings;
        let bus = Arc::new(client);
        Ok(WorkerClient { bus, prefix, worker, via: Via::Worker, timeout })
    }

    /// Like [`Target::connect`], for what changes something: refuses a worker that is not the
    /// configuration's. Two machines may have one default name, and one of them owns it.
    pub(crate) async fn command(self, via: Via) -> Result<WorkerClient, CliError> {
        let first_location = self.first_location.clone();
        let worker = WorkerClient { via, ..self.connect().await? };
        let Some(location) = first_location else { return Ok(worker) };
        // Who does not answer is told apart by the command itself.
        let Ok(answer) = worker.list().await else { return Ok(worker) };
        match not_its_own(&location, place::id_of(&location), &answer) {
            None => Ok(worker),
            Some(why) => Err(CliError::new(
                Exit::Refused,
                format!(
                    "worker {} is another one than this configuration's: it runs on host {:?} as pid {}, and {why}; nothing was done",
                    worker.worker, answer.host, answer.pid
                ),
            )
            .hint("give this worker a name of its own ([worker] name), or say with --name which worker is meant")),
        }
    }
}

// Why a worker that answers is not the one with this location; `here` is the id in the location's
// marker, if the location is on this machine. What a relative path means depends on where a program
// was started.
fn not_its_own(location: &Path, here: Option<Id>, answer: &WorkerSnapshot) -> Option<String> {
    let there = answer.threads.first().map(|thread| thread.location.as_str());
    let configured = location.display().to_string();
    match (there, here.zip(answer.location_id)) {
        (Some(there), _) if location.is_absolute() && there != configured => {
            Some(format!("its first location is {there}"))
        }
        (_, Some((here, there))) if here != there => {
            Some(format!("its {configured} is another directory than the one here"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_worker_is_told_by_its_first_location_and_the_marker_in_it() {
        let (one, other) = (Id::generate(), Id::generate());
        let answer = |id: Option<Id>| -> WorkerSnapshot {
            serde_json::from_value(json!({
                "instance_id": Id::NIL, "seq": 1, "location_id": id,
                "threads": [{"index": 0, "location": "/data/t0"}],
            }))
            .unwrap()
        };
        let said =
            |location: &str, here, there| not_its_own(Path::new(location), here, &answer(there));
        assert_eq!(said("/data/t0", Some(one), Some(one)), None);
        assert_eq!(said("/data/t0", None, Some(one)), None, "it is not on this machine");
        assert_eq!(said("t0", Some(one), Some(one)), None);
        assert_eq!(said("t0", None, None), None);
        assert_eq!(said("/data/t1", None, None).unwrap(), "its first location is /data/t0");
        assert!(said("/data/t0", Some(one), Some(other)).unwrap().contains("another directory"));
        assert!(said("t0", Some(one), Some(other)).unwrap().contains("another directory"));
    }
}
