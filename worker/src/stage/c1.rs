//! C1: makes the vanilla proofs of the challenges that the seed selects.
//!
//! Decision 025 in `docs/decisions`.

use shared_msgs::plan::PlanEvent;

use super::{Done, StageRun, field};
use crate::{failure::Failure, processor::task::C1, store::record::Blob};

pub(super) async fn run(run: &StageRun<'_>) -> Result<Done, Failure> {
    let task = C1 { replica: run.replica()?, seed: field(&run.sector.seed, "seed")?.seed.0 };
    let output = run.compute(task).await?;
    let mut done = run.done(PlanEvent::C1, |sector| sector.c1_done = true)?;
    done.outputs.push((Blob::C1Out, output.get().as_bytes().to_vec()));
    Ok(done)
}

/// C1 of a rebuild: there is nothing to prove to the chain, but the replica must be one that can be
/// proven.
pub(super) async fn check(run: &StageRun<'_>) -> Result<Done, Failure> {
    run.check_replica(run.replica()?).await?;
    run.done(PlanEvent::CheckSealed, |sector| sector.sealed_checked = true)
}
