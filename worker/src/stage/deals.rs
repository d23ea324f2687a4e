//! AcquireDeals: asks for deals to put into the sector.

use shared_msgs::{
    plan::{Event, Plan},
    sector_manager::AcquireDeals,
};

use super::{Done, Job};
use crate::failure::Failure;

pub(super) async fn acquire(job: &Job<'_>) -> Result<Done, Failure> {
    // The non-interactive PoRep is for sectors without deals (FIP-0092).
    if job.plan == Plan::Niporep || !job.sealing.enable_deals {
        return job.done(Event::AcquireDeals, |sector| sector.deals = Some(vec![]));
    }
    loop {
        let request = AcquireDeals {
            request_id: job.request_id,
            sector: job.id(),
            spec: job.sealing.deals(),
        };
        let deals = job.ask(&request).await?.unwrap_or_default();
        if !deals.is_empty() || !job.sealing.disable_cc {
            return job.done(Event::AcquireDeals, |sector| sector.deals = Some(deals));
        }
        job.activity.wait("deals", tokio::time::sleep(job.sealing.seal_interval)).await;
    }
}
