//! WaitSeed: waits for the randomness that the proof's challenges come from.

use std::time::Duration;

use shared_msgs::{plan::PlanEvent, sector_manager::WaitSeed};

use super::{Done, StageRun};
use crate::failure::Failure;

pub(super) async fn wait(run: &StageRun<'_>) -> Result<Done, Failure> {
    loop {
        let request = WaitSeed { sector: run.id(), proof_type: run.sector.allocated.proof_type };
        let reply = run.ask(&request).await?;
        match reply.seed {
            Some(seed) if !reply.should_wait => {
                return run.done(PlanEvent::AssignSeed, |sector| sector.seed = Some(seed));
            }
            None if !reply.should_wait => {
                return Err(Failure::temporary(
                    "sector manager, wait_seed: neither a seed nor a wait",
                ));
            }
            _ => {
                run.activity
                    .wait("seed", tokio::time::sleep(Duration::from_secs(reply.delay.max(1))))
                    .await
            }
        }
    }
}
