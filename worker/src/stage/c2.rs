//! C2: makes the proof, and verifies it before anybody relies on it.

use shared_msgs::{plan::PlanEvent, sector_manager::Base64Bytes};

use super::{Done, StageRun};
use crate::{
    failure::Failure,
    processor::task::{C2, prover_id},
    store::record::Blob,
};

pub(super) async fn run(run: &StageRun<'_>) -> Result<Done, Failure> {
    let task = C2 {
        c1out: run.output(Blob::C1Out).await?,
        prover_id: prover_id(run.id().miner),
        sector_id: run.id().number,
        miner_id: run.id().miner,
    };
    let proof = run.shared.processors.run(task, run.activity).await?.proof;
    if !run.sealing.ignore_proof_check {
        verify(run, proof.clone()).await?;
    }
    run.done(PlanEvent::C2, |sector| sector.proof = Some(Base64Bytes(proof)))
}

#[cfg(feature = "builtin-proofs")]
async fn verify(run: &StageRun<'_>, proof: Vec<u8>) -> Result<(), Failure> {
    let (replica, seed) = (run.replica()?, super::field(&run.sector.seed, "seed")?.seed.0);
    let verified = tokio::task::spawn_blocking(move || {
        crate::processor::builtin::verify(&replica, seed, &proof)
    })
    .await;
    match verified {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Failure::temporary("the proof does not verify")),
        Ok(Err(error)) => {
            let failure = Failure::from(error);
            Err(Failure {
                message: format!("the proof cannot be verified: {}", failure.message),
                ..failure
            })
        }
        Err(error) => Err(Failure::told(format!("the proof cannot be verified: {error}"))),
    }
}

// Refused at start-up unless `ignore_proof_check` is set, see `config`.
#[cfg(not(feature = "builtin-proofs"))]
async fn verify(_run: &StageRun<'_>, _proof: Vec<u8>) -> Result<(), Failure> {
    Err(Failure::critical(
        "this worker was built without the proofs and cannot verify: set sealing.ignore_proof_check",
    ))
}
