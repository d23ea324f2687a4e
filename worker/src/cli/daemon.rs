//! `daemon`: runs the worker until SIGINT, SIGTERM or SIGHUP.

use std::{path::Path, pin::pin};

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

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Connect(error) => error.into(),
            error => CliError::new(Exit::Failed, error),
        }
    }
}

pub(crate) async fn run(nats: &NatsOptions, file: &Path) -> Result<(), CliError> {
    open_files::raise_limit();
    let (config, warnings) = Config::load(file)?;
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
