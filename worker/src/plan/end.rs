//! The end of a job: the sector manager is told, and what the worker holds of it is removed.

use shared_msgs::{
    plan::{Plan, State},
    sealer::{AchieveUnsealSector, ReportAborted, ReportFinalized, WdpostFinish},
};

use super::driver::{Moved, Step};
use crate::{
    stage::on_disk,
    store::{
        attached::{AttachedStore, Kind},
        record::{Sector, Wdpost},
    },
    thread::failure::Failure,
};

impl Step<'_> {
    pub(super) async fn report_finished(&self, sector: &Sector) -> Result<Option<Moved>, Failure> {
        let id = sector.allocated.id;
        match (self.record.plan, &sector.unseal) {
            // The sector was finished before, and stays so.
            (Plan::Unseal, Some(piece)) => {
                self.ask(&AchieveUnsealSector { sector: id, piece_cid: piece.piece_cid.clone(), error: String::new() }).await?;
            }
            _ => self.ask(&ReportFinalized { sector: id }).await?,
        }
        self.remove_local_files(sector).await?;
        Ok(ended())
    }

    pub(super) async fn report_aborted(&self, sector: &Sector) -> Result<Option<Moved>, Failure> {
        let id = sector.allocated.id;
        let reason = sector.abort_reason.clone().unwrap_or_default();
        match (self.record.plan, &sector.unseal) {
            (Plan::Unseal, Some(piece)) => {
                let error = if reason.is_empty() { "aborted".to_owned() } else { format!("aborted: {reason}") };
                self.ask(&AchieveUnsealSector { sector: id, piece_cid: piece.piece_cid.clone(), error }).await?;
            }
            _ => self.ask(&ReportAborted { sector: id, reason }).await?,
        }
        self.remove_persisted(sector).await?;
        self.remove_local_files(sector).await?;
        Ok(ended())
    }

    pub(super) async fn report_wdpost_aborted(&self, wdpost: &Wdpost) -> Result<Option<Moved>, Failure> {
        let reason = wdpost.abort_reason.as_deref().unwrap_or("aborted");
        let request = WdpostFinish {
            request_id: self.record.request_id,
            job: wdpost.job.id.clone(),
            worker: Some(self.shared.worker.clone()),
            output: None,
            error: format!("aborted: {reason}"),
        };
        // Another worker may have the job by now: it is not ours to end then.
        if let Err(failure) = self.ask(&request).await {
            tracing::warn!(job = wdpost.job.id, %failure, "the end of the job was refused");
        }
        Ok(ended())
    }

    // What this job has brought into a store; never what was there before it.
    async fn remove_persisted(&self, sector: &Sector) -> Result<(), Failure> {
        let (id, Some(name)) = (sector.allocated.id, &sector.persisted) else { return Ok(()) };
        // A rebuilt sector is the sector itself, and the only one there may be.
        if self.record.plan == Plan::Rebuild {
            return Ok(());
        }
        let store = AttachedStore::named(&self.shared.attached, name).filter(|store| !store.readonly);
        let store = store.ok_or_else(|| Failure::permanent(format!("{id} has files in store {name:?}, which is not attached any more")))?;
        let (store, kind) = (store.clone(), persisted_kind(sector));
        on_disk(move || store.check_present().and_then(|()| store.remove(id, kind))).await
    }

    async fn remove_local_files(&self, sector: &Sector) -> Result<(), Failure> {
        let files = self.location.sector_files(sector.allocated.id);
        on_disk(move || files.remove()).await
    }
}

/// Which replica of the sector its job brings into a store.
pub(crate) fn persisted_kind(sector: &Sector) -> Kind {
    if sector.upgrade.is_some() { Kind::Update } else { Kind::Sealed }
}

pub(super) fn ended() -> Option<Moved> {
    Some(Moved { state: State::Empty, event: None, sector: None, wdpost: None, outputs: vec![] })
}
