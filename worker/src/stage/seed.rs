//! WaitSeed: waits for the randomness that the proof's challenges come from.

use std::time::Duration;

use shared_msgs::{plan::Event, sector_manager::WaitSeed};

use super::{Done, Job};
use crate::failure::Failure;

pub(super) async fn wait(job: &Job<'_>) -> Result<Done, Failure> {
    loop {
        let request = WaitSeed { sector: job.id(), proof_type: job.sector.allocated.proof_type };
        let reply = job.ask(&request).await?;
        match reply.seed {
            Some(seed) if !reply.should_wait => {
                return job.done(Event::AssignSeed, |sector| sector.seed = Some(seed));
            }
            None if !reply.should_wait => {
                return Err(Failure::temporary(
                    "sector manager, wait_seed: neither a seed nor a wait",
                ));
            }
            _ => {
                job.activity
                    .wait("seed", tokio::time::sleep(Duration::from_secs(reply.delay.max(1))))
                    .await
            }
        }
    }
}
