//! `generator parents-cache`: what PC1 would do first on a machine.

use damocles_terminal::{CliError, Exit, Stop};
use sealing_proofs::{
    api::RegisteredSealProof,
    parents::{self, Ensured},
};
use shared_msgs::duration::human_secs;
use tokio::{task::spawn_blocking, time::Instant};

use super::{
    ParentsCacheArgs, PorepKind,
    progress::{Progress, line},
};
use crate::store::files::require_space;

/// Makes it, or checks the one that is there.
pub(super) async fn run(args: &ParentsCacheArgs) -> Result<(), CliError> {
    let name = args.sector_size.name();
    let proof = args.kind.proof(name)?;
    let directory = args.path.clone().unwrap_or_else(parents::directory);
    let mut stop = Stop::listen()?;
    let started = Instant::now();
    let progress = Progress::start(&format!("{name} parents cache"));
    let ensuring = spawn_blocking(move || parents::ensure(proof, &directory, require_space));
    let ensured = progress.wait("making or checking", ensuring, &mut stop).await?;
    let (path, ensured) = ensured.map_err(failed)?.map_err(failed)?;
    progress.end();
    let done = match ensured {
        Ensured::Known => "already there, and noted to be whole",
        Ensured::Checked => "already there, checked",
        Ensured::Made => "made",
        Ensured::MadeAgain => "was not whole, made again",
    };
    line(&format!(
        "{name} parents cache: {done} in {}: {}",
        human_secs(started.elapsed()),
        path.display()
    ));
    Ok(())
}

fn failed(error: impl ToString) -> CliError {
    CliError::new(Exit::Failed, error)
}

impl PorepKind {
    // By the library's names.
    fn proof(self, size: &str) -> Result<RegisteredSealProof, CliError> {
        let rest = match self {
            PorepKind::Interactive => "V1_1",
            PorepKind::Synthetic => "V1_1_Feat_SyntheticPoRep",
            PorepKind::NonInteractive => "V1_2_Feat_NonInteractivePoRep",
        };
        serde_json::from_value(format!("StackedDrg{size}{rest}").into()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use shared_msgs::sector_manager::SectorSize;

    use super::*;

    #[test]
    fn every_size_and_kind_has_its_proof_type() {
        for size in SectorSize::ALL {
            for kind in PorepKind::value_variants() {
                let proof = kind.proof(size.name()).unwrap();
                assert_eq!(u64::from(proof.sector_size()), size.bytes());
            }
        }
    }
}
