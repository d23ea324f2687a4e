//! `daemon`: runs the worker until SIGINT, SIGTERM or SIGHUP.

use std::{path::PathBuf, pin::pin};

use clap::Args;
use damocles_client::connect::{NatsOptions, NatsSettings};
use damocles_terminal::{CliError, Exit, Stop};
use futures::stream;
use tracing::warn;

use crate::{
    config::Config,
    daemon::{Opened, StartError},
    open_files,
    store::place::state_directory,
};

/// What a worker is started with.
#[derive(Args, Debug)]
pub struct DaemonArgs {
    /// The worker's configuration file
    #[arg(short, long, env = "DAMOCLES_WORKER_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Connect(error) => error.into(),
            error => CliError::new(Exit::Failed, error),
        }
    }
}

pub(crate) async fn run(nats: &NatsOptions, args: &DaemonArgs) -> Result<(), CliError> {
    open_files::raise_limit();
    let (config, warnings) =
        Config::load(&args.config).map_err(|error| CliError::new(Exit::Failed, error))?;
    for warning in warnings {
        warn!("{warning}");
    }
    let settings = NatsSettings::new(nats, &config.nats)?;
    let name = super::target::name(None, config.name.as_deref(), &settings)?;
    let asked = stream::unfold(Stop::listen()?, async |mut stop| {
        let signal = stop.asked().await;
        Some((signal, stop))
    });
    Ok(Opened::open(config, &state_directory())?
        .connect(name, settings)
        .await?
        .run(pin!(asked))
        .await?)
}
