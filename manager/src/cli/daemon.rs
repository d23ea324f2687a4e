//! `daemon` and `mock`: run until SIGINT, SIGTERM or SIGHUP.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use damocles_client::connect::NatsSettings;
use damocles_terminal::{CliError, Stop, sector_size};
use damocles_wire::address::Address;
use shared_msgs::sector_manager::SectorSize;
use tracing::info;

use crate::{
    config::SectorManagerOptions,
    daemon::SectorManager,
    mock::{JOB_EXPIRATION, Offer, PiecesOffer},
    relay::RelayTo,
};

/// Who answers the workers' questions.
#[derive(Args, Debug)]
pub struct DaemonArgs {
    /// Answer the workers by the damocles sector manager that runs there, as a URL or a multiaddr:
    /// http://10.0.0.1:1789 or /ip4/10.0.0.1/tcp/1789 [file: sector_manager.address]
    #[arg(long, env = "DAMOCLES_SECTOR_MANAGER", value_name = "ADDRESS")]
    pub sector_manager: Option<Address>,
}

/// What the mock sector manager offers.
#[derive(Args, Debug)]
pub struct MockArgs {
    /// Actor id of a miner to hand out sectors for, e.g. 10000 for t010000; may be given several
    /// times
    #[arg(long = "miner", required = true, value_name = "ACTOR_ID")]
    pub miners: Vec<u64>,
    /// Size of the sectors
    #[arg(
        long,
        value_parser = sector_size(),
        ignore_case = true,
        default_value = SectorSize::S2KiB.name()
    )]
    pub sector_size: SectorSize,
    /// Prefer synthetic proofs for workers that take several kinds
    #[arg(long)]
    pub synthetic: bool,
    /// Offer each file in this directory as a deal, once; put files there by renaming, so that they
    /// are whole
    #[arg(long, value_name = "DIR")]
    pub pieces: Option<PathBuf>,
    /// Where the pieces are served by HTTP; a worker that fetches one after this manager was
    /// restarted needs a fixed port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", requires = "pieces")]
    pub http_listen: SocketAddr,
    /// The URL of that address as workers on other machines reach it [default: http://<address>]
    #[expect(rustdoc::invalid_html_tags, reason = "clap shows it as it is")]
    #[arg(long, value_name = "URL", requires = "pieces", value_parser = base_url)]
    pub http_url: Option<String>,
    /// After what silence of its worker a job is handed out again
    #[arg(long, hide = true, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub job_expiration: Option<Duration>,
}

fn base_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host.is_some_and(|host| !host.is_empty())
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => {
            Err("it begins with http:// or https:// and has no blanks, e.g. http://10.0.0.5:8080"
                .into())
        }
    }
}

impl From<MockArgs> for Offer {
    fn from(args: MockArgs) -> Offer {
        let MockArgs {
            miners,
            sector_size,
            synthetic,
            pieces,
            http_listen,
            http_url,
            job_expiration,
        } = args;
        let pieces =
            pieces.map(|directory| PiecesOffer { directory, listen: http_listen, url: http_url });
        let job_expiration = job_expiration.unwrap_or(JOB_EXPIRATION);
        Offer { miners, pieces, job_expiration, ..Offer::of_size(sector_size, synthetic) }
    }
}

/// The sector manager that the command line names, or else the file.
pub(crate) fn sector_manager(args: DaemonArgs, file: SectorManagerOptions) -> SectorManager {
    let SectorManagerOptions { address, adopt_after } = file;
    match args.sector_manager.or(address) {
        Some(address) => SectorManager::Relay(RelayTo { address, adopt_after }),
        None => SectorManager::Elsewhere,
    }
}

pub(crate) async fn run(
    settings: &NatsSettings,
    sector_manager: SectorManager,
) -> Result<(), CliError> {
    let mut stop = Stop::listen()?;
    let shutdown = async move {
        let signal = stop.asked().await;
        info!(signal, "stopping");
    };
    crate::daemon::run(settings, sector_manager, shutdown).await
}
