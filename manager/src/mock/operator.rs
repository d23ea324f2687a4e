//! What operators ask: the lists, and what is to be done with sectors and jobs.

use damocles_daemon::answering;
use serde::Serialize;
use shared_msgs::{
    codec::Encoding,
    error::ErrorKind,
    sector_manager::{piece_cid, replica_cid},
    sectors::*,
};
use tracing::info;

use super::{
    Mock,
    job::{Job, Status, Work},
    record::SectorRecord,
    wdpost::WdpostRecord,
};
use crate::bus::api::max_page_bytes;
use crate::bus::kv::Stored;

// The page's own fields.
const PAGE_FRAME_BYTES: usize = 512;

impl Mock {
    /// A page of the sectors.
    pub(super) async fn list_sectors(
        &self,
        request: &ListSectors,
        encoding: Encoding,
    ) -> Result<SectorPage, ErrorKind> {
        let all = self.all_sectors(&self.records().await?).await?;
        let later =
            all.iter().filter(|stored| request.after.is_none_or(|after| stored.value.id > after));
        let views = later.map(|stored| (stored.value.id, view(&stored.value)));
        let (sectors, next) = page(views, request.limit, max_page_bytes(&self.client), encoding)?;
        Ok(SectorPage { sectors, next })
    }

    pub(super) async fn rebuild_sector(&self, request: &RebuildSector) -> Result<(), ErrorKind> {
        self.update_sector(request.sector, |record| record.queue(Work::Rebuild)).await?;
        info!(sector = %request.sector, "rebuild queued");
        Ok(())
    }

    /// Queues the unsealing of a piece.
    pub(super) async fn unseal_piece(
        &self,
        request: &UnsealPiece,
    ) -> Result<UnsealQueued, ErrorKind> {
        if let Some(dest) = &request.dest {
            check_dest(dest).map_err(ErrorKind::bad_request)?;
        }
        let queue = |record: &mut SectorRecord| {
            let piece = record
                .piece_to_unseal(request.piece_cid.as_deref())
                .map(|piece| piece.piece.piece_cid.clone());
            // That it is not finished matters more than what it holds.
            if record.finalized && record.aborted.is_none() {
                piece.as_ref().map_err(Clone::clone)?;
            }
            let piece_cid = piece.unwrap_or_default();
            record
                .queue(Work::Unseal { piece_cid: piece_cid.clone(), dest: request.dest.clone() })?;
            Ok(piece_cid)
        };
        let (_, piece_cid) = self.update_sector(request.sector, queue).await?;
        info!(sector = %request.sector, piece = piece_cid, "unsealing queued");
        Ok(UnsealQueued { piece_cid })
    }

    /// Has a sector given up.
    pub(super) async fn abort_sector(&self, request: &AbortSector) -> Result<(), ErrorKind> {
        self.update_sector(request.sector, |record| record.abort(request)).await?;
        info!(sector = %request.sector, reason = request.reason, "to be given up");
        Ok(())
    }

    /// Takes back that a sector was given up.
    pub(super) async fn restore_sector(&self, request: &RestoreSector) -> Result<(), ErrorKind> {
        self.update_sector(request.sector, |record| record.restore()).await?;
        info!(sector = %request.sector, "not given up any more");
        Ok(())
    }

    /// Takes a sector as finished.
    pub(super) async fn finalize_sector(&self, request: &FinalizeSector) -> Result<(), ErrorKind> {
        self.update_sector(request.sector, |record| record.finalize()).await?;
        info!(sector = %request.sector, "finished by an operator");
        Ok(())
    }

    /// A page of the window-PoSt jobs.
    pub(super) async fn list_wdpost(
        &self,
        request: &ListWdpostJobs,
        encoding: Encoding,
    ) -> Result<WdpostPage, ErrorKind> {
        let jobs = self.wdpost_jobs().await?;
        let (all, now_ms) = (jobs.scan::<WdpostRecord>().await?, jobs.server_time_ms().await?);
        let later =
            all.iter().filter(|job| request.after.as_ref().is_none_or(|after| job.key > *after));
        let views = later.map(|job| (job.key.clone(), job.value.view(&job.key, now_ms)));
        let (jobs, next) = page(views, request.limit, max_page_bytes(&self.client), encoding)?;
        Ok(WdpostPage { jobs, next })
    }

    /// Makes window-PoSt jobs ready again.
    pub(super) async fn reset_wdpost(
        &self,
        request: &ResetWdpostJobs,
    ) -> Result<Vec<String>, ErrorKind> {
        let jobs = self.wdpost_jobs().await?;
        let chosen = chosen(jobs.scan::<WdpostRecord>().await?, request.jobs.as_deref())?;
        for job in &chosen {
            let reset = |job: &mut WdpostRecord| {
                job.reset();
                Ok(())
            };
            jobs.change(&job.key, reset).await?;
            info!(job = job.key, "window-PoSt job reset");
        }
        Ok(chosen.into_iter().map(|job| job.key).collect())
    }

    pub(super) async fn remove_wdpost(
        &self,
        request: &RemoveWdpostJobs,
    ) -> Result<Vec<String>, ErrorKind> {
        let jobs = self.wdpost_jobs().await?;
        let chosen = chosen(jobs.scan::<WdpostRecord>().await?, request.jobs.as_deref())?;
        for job in &chosen {
            // Whatever is written meanwhile, it goes.
            let mut revision = Some(job.revision);
            while let Some(known) = revision {
                let removed = jobs.remove(&job.key, known).await?;
                revision = if removed {
                    None
                } else {
                    jobs.read::<WdpostRecord>(&job.key).await?.map(|stored| stored.revision)
                };
            }
            info!(job = job.key, "window-PoSt job removed");
        }
        Ok(chosen.into_iter().map(|job| job.key).collect())
    }
}

// The jobs that are named, all of which must be there; all jobs if none are named.
fn chosen<T>(all: Vec<Stored<T>>, named: Option<&[String]>) -> Result<Vec<Stored<T>>, ErrorKind> {
    let Some(named) = named else { return Ok(all) };
    if let Some(unknown) = named.iter().find(|named| !all.iter().any(|job| job.key == **named)) {
        return Err(ErrorKind::JobNotFound { job: shared_msgs::text::cut_text(unknown, 100) });
    }
    Ok(all.into_iter().filter(|job| named.contains(&job.key)).collect())
}

// As many as fit, one at least; and where the next page goes on.
fn page<K, V: Serialize>(
    views: impl Iterator<Item = (K, V)>,
    limit: Option<u32>,
    max_bytes: usize,
    encoding: Encoding,
) -> Result<(Vec<V>, Option<K>), ErrorKind> {
    if limit == Some(0) {
        return Err(ErrorKind::bad_request("limit is at least 1"));
    }
    let limit = limit.map_or(usize::MAX, |limit| limit as usize);
    answering::page(views, limit, PAGE_FRAME_BYTES, max_bytes, encoding)
}

fn view(record: &SectorRecord) -> SectorView {
    let job = record.running();
    let deals = record.held_deals().map(|held| {
        let deal = held.deal_info.clone().unwrap_or_default();
        DealView {
            deal_id: deal.deal_id,
            piece_cid: held.piece.piece_cid.clone(),
            size: held.piece.size,
            payload_size: deal.payload_size,
        }
    });
    SectorView {
        id: record.id.to_string(),
        proof_type: record.proof_type,
        plan: job.map_or(record.plan(), |job| job.work.plan()).to_string(),
        state: job.and_then(|job| job.state.as_deref()).unwrap_or(record.shown_state()).to_owned(),
        deals: deals.collect(),
        store: record.newest_store().map(Into::into),
        comm_r: record.newest_comm_r().as_ref().map(replica_cid),
        comm_d: record
            .newest_comm_d()
            .filter(|_| record.finalized || record.comm_d.is_some())
            .as_ref()
            .map(piece_cid),
        upgraded: record.upgrade.is_some(),
        finalized: record.finalized,
        abort_reason: record.aborted.as_deref().or(record.to_be_given_up()).map(Into::into),
        abort_requested: record.to_be_given_up().is_some(),
        jobs: record.jobs.iter().map(job_view).collect(),
    }
}

fn job_view(job: &Job) -> JobView {
    let (status, error) = match &job.status {
        Status::Ready => (JobStatus::Ready, None),
        Status::Running { .. } => (JobStatus::Running, job.abort_requested.clone()),
        Status::Finished => (JobStatus::Finished, None),
        Status::Failed { error } => (JobStatus::Failed, Some(error.clone())),
    };
    let piece_cid = match &job.work {
        Work::Unseal { piece_cid, .. } => Some(piece_cid.clone()),
        Work::Snapup { .. } | Work::Rebuild => None,
    };
    let worker = job.place.as_ref().map(|place| place.instance.clone());
    JobView {
        plan: job.work.plan().to_string(),
        status,
        state: job.state.clone(),
        worker,
        piece_cid,
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_keep_the_limits_and_the_last_one_names_no_next() {
        let views = || (0..10).map(|key| (key, "x".repeat(100)));
        let (first, next) = page(views(), Some(4), 10_000, Encoding::Json).unwrap();
        assert_eq!((first.len(), next), (4, Some(3)));
        let (first, next) = page(views(), None, PAGE_FRAME_BYTES + 350, Encoding::Json).unwrap();
        assert_eq!((first.len(), next), (3, Some(2)));
        let (all, next) = page(views(), None, 10_000, Encoding::Json).unwrap();
        assert_eq!((all.len(), next), (10, None));
        let (one, next) = page(views(), None, 10, Encoding::Json).unwrap();
        assert_eq!((one.len(), next), (1, Some(0)), "one at least, or nobody would get on");
        assert!(page(views(), Some(0), 10, Encoding::Json).is_err());
    }
}
