//! AcquireDeals: asks for deals to put into the sector.

use shared_msgs::{
    plan::{Plan, PlanEvent},
    sector_manager::AcquireDeals,
};

use super::{Done, StageRun};
use crate::failure::Failure;

pub(super) async fn acquire(run: &StageRun<'_>) -> Result<Done, Failure> {
    // The non-interactive PoRep is for sectors without deals (FIP-0092).
    if run.plan == Plan::Niporep || !run.sealing.enable_deals {
        return run.done(PlanEvent::AcquireDeals, |sector| sector.deals = Some(vec![]));
    }
    loop {
        let request = AcquireDeals {
            request_id: run.request_id,
            sector: run.id(),
            spec: run.sealing.deals(),
        };
        let deals = run.ask(&request).await?.unwrap_or_default();
        if !deals.is_empty() || !run.sealing.disable_cc {
            return run.done(PlanEvent::AcquireDeals, |sector| sector.deals = Some(deals));
        }
        run.activity.wait("deals", tokio::time::sleep(run.sealing.recover_interval)).await;
    }
}
