//! AssignTicket: asks for the randomness that the replica is made with.

use shared_msgs::{plan::Event, sector_manager::AssignTicket};

use super::{Done, Job};
use crate::failure::Failure;

pub(super) async fn assign(job: &Job<'_>) -> Result<Done, Failure> {
    let ticket = job.ask(&AssignTicket { sector: job.id() }).await?;
    job.done(Event::AssignTicket, |sector| sector.ticket = Some(ticket))
}
