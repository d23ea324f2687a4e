//! `daemon` and `mock`: run until SIGINT or SIGTERM.

use clap::{Args, ValueEnum};
use shared_msgs::{cli::CliError, connect::NatsSettings, sealer::SealProofType};
use tokio::signal::unix::{SignalKind, signal};

use crate::mock::Offer;

/// What the mock sector manager offers.
#[derive(Args, Debug)]
pub struct MockArgs {
    /// Actor id of a miner to hand out sectors for, e.g. 10000 for t010000; may be given several times
    #[arg(long = "miner", required = true, value_name = "ACTOR_ID")]
    pub miners: Vec<u64>,
    /// Size of the sectors
    #[arg(long, value_enum, ignore_case = true, default_value_t = SectorSize::S2KiB)]
    pub sector_size: SectorSize,
}

/// A sector size that Filecoin has.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[allow(missing_docs, reason = "the names say it, and the help would repeat them")]
pub enum SectorSize {
    #[value(name = "2KiB")]
    S2KiB,
    #[value(name = "8MiB")]
    S8MiB,
    #[value(name = "512MiB")]
    S512MiB,
    #[value(name = "32GiB")]
    S32GiB,
    #[value(name = "64GiB")]
    S64GiB,
}

impl SectorSize {
    // The V1_1 proofs (Filecoin actors, `RegisteredSealProof`).
    fn proof_type(self) -> SealProofType {
        SealProofType(match self {
            SectorSize::S2KiB => 5,
            SectorSize::S8MiB => 6,
            SectorSize::S512MiB => 7,
            SectorSize::S32GiB => 8,
            SectorSize::S64GiB => 9,
        })
    }
}

impl From<MockArgs> for Offer {
    fn from(args: MockArgs) -> Offer {
        Offer { miners: args.miners, proof_type: args.sector_size.proof_type() }
    }
}

/// Runs a manager.
pub async fn run(settings: &NatsSettings, offer: Option<Offer>) -> Result<(), CliError> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    };
    crate::daemon::run(settings, offer, shutdown).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_names_and_proofs_of_filecoin() {
        for size in SectorSize::value_variants() {
            let name = size.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(size.proof_type().name().unwrap(), format!("StackedDrg{name}V1_1"));
        }
    }
}
