//! SyntheticPoRep: makes the proofs of all synthetic challenges (FIP-0059).

use shared_msgs::plan::Event;

use super::{Done, Job};
use crate::{failure::Failure, processor::task::SynthProof};

pub(super) async fn run(job: &Job<'_>) -> Result<Done, Failure> {
    // 32 GiB sectors have some 25 GiB of them (FIP-0059).
    job.require_sectors(1).await?;
    job.shared.processors.run(SynthProof { replica: job.replica()? }, job.activity).await?;
    if job.sealing.verify_after_pc2 {
        job.check_replica(job.replica()?).await?;
    }
    job.done(Event::SyntheticPoRep, |_| {})
}
