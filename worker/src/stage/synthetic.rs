//! SyntheticPoRep: makes the proofs of all synthetic challenges (FIP-0059).

use shared_msgs::plan::Event;

use super::{Done, Job};
use crate::{processor::task::SynthProof, thread::failure::Failure};

pub(super) async fn run(job: &Job<'_>) -> Result<Done, Failure> {
    job.shared.processors.run(SynthProof { replica: job.replica()? }, job.activity).await?;
    job.done(Event::SyntheticPoRep, |_| {})
}
