//! C2: makes the proof, and verifies it before anybody relies on it.

use shared_msgs::{plan::Event, sector_manager::Base64Bytes};

use super::{Done, Job};
use crate::{
    failure::Failure,
    processor::task::{C2, prover_id},
    store::record::Blob,
};

pub(super) async fn run(job: &Job<'_>) -> Result<Done, Failure> {
    let task = C2 {
        c1out: job.output(Blob::C1Out).await?,
        prover_id: prover_id(job.id().miner),
        sector_id: job.id().number,
        miner_id: job.id().miner,
    };
    let proof = job.shared.processors.run(task, job.activity).await?.proof;
    if !job.sealing.ignore_proof_check {
        verify(job, proof.clone()).await?;
    }
    job.done(Event::C2, |sector| sector.proof = Some(Base64Bytes(proof)))
}

#[cfg(feature = "builtin-proofs")]
async fn verify(job: &Job<'_>, proof: Vec<u8>) -> Result<(), Failure> {
    let (replica, seed) = (job.replica()?, super::field(&job.sector.seed, "seed")?.seed.0);
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
async fn verify(_job: &Job<'_>, _proof: Vec<u8>) -> Result<(), Failure> {
    Err(Failure::critical(
        "this worker was built without the proofs and cannot verify: set sealing.ignore_proof_check",
    ))
}
