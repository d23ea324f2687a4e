//! C1: makes the vanilla proofs of the challenges that the seed selects.
//!
//! Decision 025 in `docs/decisions`.

use shared_msgs::plan::Event;

use super::{Done, Job, field};
use crate::{failure::Failure, processor::task::C1, store::record::Blob};

pub(super) async fn run(job: &Job<'_>) -> Result<Done, Failure> {
    let task = C1 { replica: job.replica()?, seed: field(&job.sector.seed, "seed")?.seed.0 };
    let output = job.shared.processors.run(task, job.activity).await?;
    let mut done = job.done(Event::C1, |sector| sector.c1_done = true)?;
    done.outputs.push((Blob::C1Out, output.get().as_bytes().to_vec()));
    Ok(done)
}

/// C1 of a rebuild: there is nothing to prove to the chain, but the replica must be one that can be
/// proven.
pub(super) async fn check(job: &Job<'_>) -> Result<Done, Failure> {
    job.check_replica(job.replica()?).await?;
    job.done(Event::CheckSealed, |sector| sector.sealed_checked = true)
}
