//! AssignTicket: asks for the randomness that the replica is made with.

use shared_msgs::{plan::PlanEvent, sector_manager::AssignTicket};

use super::{Done, StageRun};
use crate::failure::Failure;

pub(super) async fn assign(run: &StageRun<'_>) -> Result<Done, Failure> {
    let ticket = run.ask(&AssignTicket { sector: run.id() }).await?;
    run.done(PlanEvent::AssignTicket, |sector| sector.ticket = Some(ticket))
}
