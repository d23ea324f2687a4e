//! Which worker a command is for: the configuration's, the one named, or the one of this machine.

use std::sync::Arc;

use damocles_client::{
    connect::{NatsOptions, NatsSettings},
    worker_client::WorkerClient,
};
use damocles_terminal::{CliError, Exit};
use shared_msgs::name::WorkerName;

use super::WorkerArgs;
use crate::{config::Config, identity};

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
}

/// Finds out which worker is meant. Nothing is connected yet.
pub(super) fn find(nats: &NatsOptions, args: &WorkerArgs) -> Result<Target, CliError> {
    let config = args
        .config
        .as_deref()
        .map(Config::load)
        .transpose()
        .map_err(|error| CliError::new(Exit::Failed, error))?;
    let config = config.map(|(config, _)| config);
    let section = config.as_ref().map_or_else(NatsOptions::default, |config| config.nats.clone());
    let settings = NatsSettings::new(nats, &section)?;
    let worker = name(
        args.name.as_deref(),
        config.as_ref().and_then(|config| config.name.as_deref()),
        &settings,
    )?;
    Ok(Target { settings, worker })
}

impl Target {
    /// Somebody who commands that worker.
    pub(crate) async fn connect(self) -> Result<WorkerClient, CliError> {
        let Target { settings, worker } = self;
        let client = settings.connect_once(CLIENT_NAME).await?;
        let NatsSettings { prefix, timeout, .. } = settings;
        Ok(WorkerClient { bus: Arc::new(client), prefix, worker, timeout })
    }
}
