//! SyntheticPoRep: makes the proofs of all synthetic challenges (FIP-0059).

use shared_msgs::plan::PlanEvent;

use super::{Done, StageRun};
use crate::{failure::Failure, processor::task::SynthProof};

pub(super) async fn run(run: &StageRun<'_>) -> Result<Done, Failure> {
    // 32 GiB sectors have some 25 GiB of them (FIP-0059).
    run.require_sectors(1).await?;
    run.compute(SynthProof { replica: run.replica()? }).await?;
    if run.sealing.verify_after_pc2 {
        run.check_replica(run.replica()?).await?;
    }
    run.done(PlanEvent::SyntheticPoRep, |_| {})
}
