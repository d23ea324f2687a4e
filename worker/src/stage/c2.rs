//! C2: makes the proof, and verifies it before anybody relies on it.

use shared_msgs::{plan::PlanEvent, sector_manager::Base64Bytes};

use super::{Done, StageRun, field};
use crate::{
    failure::Failure,
    processor::task::{C2, Replica, VerifySeal, prover_id},
    store::record::Blob,
};

pub(super) async fn run(run: &StageRun<'_>) -> Result<Done, Failure> {
    let task = C2 {
        c1out: run.output(Blob::C1Out).await?,
        prover_id: prover_id(run.id().miner),
        sector_id: run.id().number,
        miner_id: run.id().miner,
    };
    let proof = run.compute(task).await?.proof;
    let Replica { pre_commit, prover_id, sector_id, ticket, .. } = run.replica()?;
    let seed = field(&run.sector.seed, "seed")?.seed.0;
    let task = VerifySeal { pre_commit, prover_id, sector_id, ticket, seed, proof: proof.clone() };
    run.verify("the proof", task).await?;
    run.done(PlanEvent::C2, |sector| sector.proof = Some(Base64Bytes(proof)))
}
