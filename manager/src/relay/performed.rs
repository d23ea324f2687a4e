//! Requests that are more, or less, than one call of the sector manager.

use damocles_wire::sector_manager as venus;
use shared_msgs::{error::ErrorKind, name::WorkerName, sector_manager::*};
use tracing::warn;

use super::{OFFLINE, ONLINE, Performed, Shared, Trouble, mapping};

impl Performed for AcquireDeals {}
impl Performed for AssignTicket {}
impl Performed for SubmitPreCommit {}
impl Performed for PollPreCommitState {}
impl Performed for SubmitPersisted {}
impl Performed for WaitSeed {}
impl Performed for SubmitProof {}
impl Performed for PollProofState {}
impl Performed for AllocateSnapupSector {}
impl Performed for SubmitSnapupProof {}
impl Performed for AllocateRebuildSector {}
impl Performed for AllocateUnsealSector {}
impl Performed for AcquireUnsealDest {}
impl Performed for AllocateWdpostJob {}
impl Performed for WdpostHeartbeat {}
impl Performed for StoreReserveSpace {}
impl Performed for GetStoreBasicInfo {}

impl Performed for ReportState {
    // A heartbeat has no failure, and reported as it is would wipe the one that is stored: it only
    // looks how the sector is. One that is not known is reported all the same, and stays as it is.
    async fn perform(
        &self,
        shared: &Shared,
        worker: &WorkerName,
    ) -> Result<ReportStateReply, Trouble> {
        if self.state_change.event == HEARTBEAT {
            return shared.look_at(self.sector).await;
        }
        match shared.call(self, worker).await {
            Err(Trouble::Refused(ErrorKind::SectorNotFound { .. })) => {
                Ok(mapping::state_reply(self.sector, false, None))
            }
            Err(Trouble::Refused(ErrorKind::SectorEnded { .. })) => {
                shared.look_at(self.sector).await
            }
            reported => reported,
        }
    }
}

impl Performed for ReportFinalized {
    async fn perform(&self, shared: &Shared, worker: &WorkerName) -> Result<(), Trouble> {
        shared.call(self, worker).await?;
        shared.forget(self.sector).await;
        Ok(())
    }
}

impl Performed for ReportAborted {
    async fn perform(&self, shared: &Shared, worker: &WorkerName) -> Result<(), Trouble> {
        shared.call(self, worker).await?;
        shared.forget(self.sector).await;
        Ok(())
    }
}

impl Performed for AchieveUnsealSector {
    // The job has two ends there: without the second one the sector stays open, and cannot be
    // unsealed again. One that is open for something else, e.g. a rebuild, is left alone.
    async fn perform(&self, shared: &Shared, worker: &WorkerName) -> Result<(), Trouble> {
        shared.call(self, worker).await?;
        let open = shared.find(ONLINE, self.sector).await?;
        match open.is_some_and(|sector| sector.unsealing) {
            true => shared.call(&ReportFinalized { sector: self.sector }, worker).await,
            false => Ok(()),
        }
    }
}

impl Performed for WdpostFinish {
    // The sector manager takes an end from anybody, the last one.
    async fn perform(&self, shared: &Shared, worker: &WorkerName) -> Result<(), Trouble> {
        let jobs = shared.venus::<venus::WdPoStAllJobs>(&[]).await.map_err(super::trouble)?;
        let job = jobs.jobs.into_iter().flatten().find(|job| job.id == self.job);
        match job.filter(|job| job.worker_name == worker.as_str()) {
            Some(_) => shared.call(self, worker).await,
            None => Err(ErrorKind::JobNotFound { job: self.job.clone() }.into()),
        }
    }
}

impl Shared {
    /// What the worker is to be told of its sector, without a report.
    async fn look_at(&self, sector: SectorId) -> Result<ReportStateReply, Trouble> {
        let found = match self.find(ONLINE, sector).await? {
            Some(open) => Some(open),
            None => self.find(OFFLINE, sector).await?,
        };
        Ok(found.map_or_else(
            || mapping::state_reply(sector, false, None),
            |found| mapping::state_reply(sector, found.finalized, found.abort_reason.as_deref()),
        ))
    }

    // It stays remembered where it cannot be forgotten, which costs nothing but room.
    async fn forget(&self, sector: SectorId) {
        if let Err(error) = self.memory.ended(sector).await {
            warn!(%sector, %error, "a sector that has ended stays remembered");
        }
    }
}
