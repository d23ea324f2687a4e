//! The end of a job: the sector manager is told, and what the worker holds of it is removed. A job
//! that is not this thread's any more ends without a word, and its files are kept aside.
//!
//! Decisions 027, 044 in `docs/decisions`.

use shared_msgs::{
    plan::Plan,
    sector_manager::{AchieveUnsealSector, ReportAborted, ReportFinalized, WdpostFinish},
};

use super::step::{Moved, Work, Yield, ended};
use crate::{
    failure::{Failure, Level},
    stage::on_disk,
    store::{
        aside::{self, Note},
        attached::{AttachedStore, Kind},
        record::{Blob, GivenUpBy, LetGo, Sector, Wdpost},
    },
};

impl Work<'_> {
    pub(super) async fn report_finished(&self, sector: &Sector) -> Result<Option<Moved>, Failure> {
        let id = sector.allocated.id;
        match (self.step.record.plan, &sector.unseal) {
            // The sector was finished before, and stays so.
            (Plan::Unseal, Some(piece)) => {
                self.ask(&AchieveUnsealSector {
                    sector: id,
                    piece_cid: piece.piece_cid.clone(),
                    error: String::new(),
                })
                .await?;
            }
            _ => self.ask(&ReportFinalized { sector: id }).await?,
        }
        self.remove_local_files(sector).await?;
        Ok(ended())
    }

    /// Tells the sector manager, and only then begins to remove files.
    pub(super) async fn report_aborted(&self, sector: &Sector) -> Result<Yield, Failure> {
        let mut sector = Sector { removing: true, ..sector.clone() };
        match self.tell_aborted(&sector).await {
            // What an operator wants does not depend on a sector manager that knows nothing of it.
            Err(failure)
                if failure.level == Level::Permanent
                    && self.step.record.given_up_by == Some(GivenUpBy::Operator) =>
            {
                let reason = sector.abort_reason.as_deref().unwrap_or("aborted");
                tracing::warn!(sector = %sector.allocated.id, reason, %failure, "given up here only: the report was refused");
                sector.abort_reason = Some(format!(
                    "{reason}; given up here only, its report was refused: {}",
                    failure.message
                ));
            }
            told => told?,
        }
        Ok(Yield::Noted(sector.into()))
    }

    async fn tell_aborted(&self, sector: &Sector) -> Result<(), Failure> {
        let id = sector.allocated.id;
        let reason = sector.abort_reason.clone().unwrap_or_default();
        match (self.step.record.plan, &sector.unseal) {
            (Plan::Unseal, Some(piece)) => {
                let error = if reason.is_empty() {
                    "aborted".to_owned()
                } else {
                    format!("aborted: {reason}")
                };
                self.ask(&AchieveUnsealSector {
                    sector: id,
                    piece_cid: piece.piece_cid.clone(),
                    error,
                })
                .await
            }
            _ => self.ask(&ReportAborted { sector: id, reason }).await,
        }
    }

    pub(super) async fn remove_given_up(&self, sector: &Sector) -> Result<Option<Moved>, Failure> {
        self.remove_persisted(sector).await?;
        self.remove_local_files(sector).await?;
        Ok(ended())
    }

    /// Keeps what there is of the sector out of the way: somebody else has it, and nobody here
    /// knows whether these files are needed.
    pub(super) async fn keep_aside(&self, sector: &Sector) -> Result<Option<Moved>, Failure> {
        let LetGo { reason, since_ms } = self.step.record.let_go.clone().unwrap_or_default();
        let mut outputs = vec![];
        for blob in Blob::ALL.iter().copied().filter(|blob| self.step.record.keeps(*blob)) {
            outputs.push((blob.key(), self.step.store.output(blob).await?));
        }
        let note = Note {
            sector: sector.allocated.id,
            plan: self.step.record.plan.name().to_owned(),
            state: self.step.record.state.name().to_owned(),
            reason,
            since_ms,
            record: Some(sector.clone()),
        };
        let location = self.step.location.clone();
        on_disk(move || aside::keep(&location, &note, &outputs)).await?;
        Ok(ended())
    }

    pub(super) async fn report_wdpost_aborted(
        &self,
        wdpost: &Wdpost,
    ) -> Result<Option<Moved>, Failure> {
        let reason = wdpost.abort_reason.as_deref().unwrap_or("aborted");
        let request = WdpostFinish {
            request_id: self.step.record.request_id,
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
        let brought = sector.persisted.as_ref().or(sector.persisting.as_ref());
        let (id, Some(name)) = (sector.allocated.id, brought) else { return Ok(()) };
        // A rebuilt sector is the sector itself, and the only one there may be.
        if self.step.record.plan == Plan::Rebuild {
            return Ok(());
        }
        if self.step.record.given_up_by.is_none() {
            tracing::warn!(sector = %id, store = name, "its replica stays: it is not known who gave the sector up");
            return Ok(());
        }
        let store =
            AttachedStore::named(&self.shared.attached, name).filter(|store| !store.readonly);
        let store = store.ok_or_else(|| {
            Failure::permanent(format!(
                "{id} has files in store {name:?}, which is not attached any more"
            ))
        })?;
        let (store, kind) = (store.clone(), Kind::persisted(sector));
        on_disk(move || store.check_present().and_then(|()| store.remove(id, kind))).await
    }

    async fn remove_local_files(&self, sector: &Sector) -> Result<(), Failure> {
        let files = self.step.location.sector_files(sector.allocated.id);
        on_disk(move || files.remove()).await
    }
}
