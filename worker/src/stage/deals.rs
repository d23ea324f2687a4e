//! AcquireDeals. Deals are not taken yet: every sector is a committed-capacity one.

use shared_msgs::plan::Event;

use super::{Done, Job};
use crate::thread::failure::Failure;

pub(super) async fn acquire(job: &Job<'_>) -> Result<Done, Failure> {
    job.done(Event::AcquireDeals, |sector| sector.deals = Some(vec![]))
}
