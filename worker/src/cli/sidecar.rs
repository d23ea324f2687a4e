//! `sidecar`: speaks for unmodified damocles-workers until SIGINT, SIGTERM or SIGHUP.

use std::path::{Path, PathBuf};

use clap::Args;
use damocles_client::connect::{NatsOptions, NatsSettings};
use damocles_terminal::{CliError, Exit, Stop, selectors::usage};
use damocles_wire::address::Address;

use crate::{
    open_files,
    sidecar::{
        Sidecar, SidecarError,
        config::{Config, SidecarConfig},
        run_all,
    },
    store::place::state_directory,
};

/// Which damocles-workers a process speaks for.
#[derive(Args, Debug)]
pub struct SidecarArgs {
    /// The socket of the damocles-worker, as a URL or a multiaddr
    #[arg(long, value_name = "ADDRESS")]
    pub rpc: Option<Address>,
    /// The worker's name on the bus [default: this machine's address]
    #[arg(long, requires = "rpc")]
    pub name: Option<String>,
    /// Where it keeps what it must not forget [default: that of the file, else the worker's state
    /// directory]
    #[arg(long, value_name = "DIRECTORY")]
    pub state: Option<PathBuf>,
}

impl From<SidecarError> for CliError {
    fn from(error: SidecarError) -> Self {
        match error {
            SidecarError::Connect(error) => error.into(),
            error => CliError::new(Exit::Failed, error),
        }
    }
}

/// Speaks for the damocles-worker that is named, or for those of the file.
pub(crate) async fn run(
    nats: &NatsOptions,
    file: Option<&Path>,
    args: SidecarArgs,
) -> Result<(), CliError> {
    open_files::raise_limit();
    let config = match (file, args.rpc) {
        (Some(file), None) => Config::load(file)?,
        (None, Some(rpc)) => {
            let sidecars = vec![SidecarConfig { rpc, name: args.name }];
            Config { sidecars, ..Config::default() }
        }
        (Some(_), Some(_)) => {
            return Err(usage(
                "--rpc and a file (-c) are both given: one of them says for whom it speaks",
            ));
        }
        (None, None) => {
            return Err(usage(
                "nobody to speak for is named: write --rpc ADDRESS, or -c FILE with a [[sidecar]]",
            ));
        }
    };
    let settings = NatsSettings::new(nats, &config.nats)?;
    let state = args.state.or(config.state).unwrap_or_else(state_directory);
    let mut sidecars = vec![];
    for SidecarConfig { rpc, name } in config.sidecars {
        let name = super::target::name(None, name.as_deref(), &settings)?;
        sidecars.push(Sidecar::open(name, rpc, &state, settings.clone())?);
    }
    let mut stop = Stop::listen()?;
    Ok(run_all(sidecars, stop.asked()).await?)
}
