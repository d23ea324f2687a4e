//! Window-PoSt jobs.
//!
//! ```text
//!  <P>_WDPOST_JOBS    job id -> job, its input and what came of it
//!
//!  Ready ──allocate──▶ Running ──finish──▶ Ended
//!    ▲                   │ its worker is silent for too long: handed out again
//!    └────── reset ──────┴───────────────────┘
//! ```
//! A heartbeat writes the job's entry again: its age, by the server's clock, says how long the
//! worker has been silent.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared_msgs::{
    error::ErrorKind,
    id::Id,
    name::WorkerName,
    sector_manager::{
        AllocateWdpostJob, Commitment, SectorId, WdpostAccesses, WdpostFinish, WdpostHeartbeat,
        WdpostInput, WdpostJob, WdpostOutput, WdpostSector,
    },
    sectors::{JobStatus, SimulateWdpost, WdpostJobView, WdpostQueued},
    text::cut_text,
};
use tracing::info;

use super::{
    Mock,
    allocation::allows,
    record::{MAX_TEXT_BYTES, SectorRecord},
};
use crate::bus::api::max_page_bytes;
use crate::bus::kv::{Bucket, Created, MAX_TRIES, Stored, contended};

// So that a job fits into an entry and a message.
const MAX_SECTORS: usize = 1_500;
const MAX_JOBS_AT_ONCE: usize = 16;
const MAX_PROOF_BYTES: usize = 64 * 1024;

/// A job as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WdpostRecord {
    input: WdpostInput,
    /// Times are Unix milliseconds of the server's clock.
    queued_ms: i64,
    #[serde(default)]
    left_out: u64,
    status: Status,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Status {
    Ready,
    Running {
        request_id: Id,
        worker: String,
        since_ms: i64,
    },
    Ended {
        request_id: Id,
        worker: String,
        took_ms: i64,
        output: Option<WdpostOutput>,
        error: Option<String>,
    },
}

impl WdpostRecord {
    fn is_held_by(&self, request: Id) -> bool {
        matches!(self.status, Status::Running { request_id, .. } if request_id == request)
    }

    fn hand_out(&mut self, request_id: Id, worker: &str, now_ms: i64) {
        self.status = Status::Running { request_id, worker: worker.to_owned(), since_ms: now_ms };
    }

    // Whether it is this worker's.
    fn heard(&self, worker: &str) -> bool {
        matches!(&self.status, Status::Running { worker: holder, .. } if holder == worker)
    }

    fn finish(
        &mut self,
        from: &str,
        job: &str,
        finish: &WdpostFinish,
        now_ms: i64,
    ) -> Result<(), ErrorKind> {
        match &self.status {
            Status::Running { worker, .. } if worker != from => Err(not_yours(job)),
            Status::Running { worker, since_ms, .. } => {
                let error = match (&finish.output, finish.error.as_str()) {
                    (Some(_), "") => None,
                    (None, "") => Some("it yielded nothing".to_owned()),
                    (_, error) => Some(cut_text(error, MAX_TEXT_BYTES)),
                };
                self.status = Status::Ended {
                    request_id: finish.request_id,
                    worker: worker.clone(),
                    took_ms: now_ms.saturating_sub(*since_ms).max(0),
                    output: finish.output.clone(),
                    error,
                };
                Ok(())
            }
            Status::Ended { request_id, .. } if *request_id == finish.request_id => Ok(()),
            Status::Ready | Status::Ended { .. } => Err(not_yours(job)),
        }
    }

    pub(crate) fn reset(&mut self) {
        self.status = Status::Ready;
    }

    /// What operators see of it.
    pub(crate) fn view(&self, id: &str, now_ms: i64) -> WdpostJobView {
        let since = |then: i64| u64::try_from(now_ms.saturating_sub(then)).unwrap_or(0);
        let mut view = WdpostJobView {
            id: id.to_owned(),
            miner: self.input.miner_id,
            proof_type: self.input.proof_type.clone(),
            seed: self.input.seed,
            sectors: self.input.sectors.len() as u64,
            status: JobStatus::Ready,
            worker: None,
            age_ms: since(self.queued_ms),
            elapsed_ms: None,
            output: None,
            error: None,
        };
        match &self.status {
            Status::Ready => {}
            Status::Running { worker, since_ms, .. } => {
                view.status = JobStatus::Running;
                (view.worker, view.elapsed_ms) = (Some(worker.clone()), Some(since(*since_ms)));
            }
            Status::Ended { worker, took_ms, output, error, .. } => {
                view.status = if error.is_none() { JobStatus::Finished } else { JobStatus::Failed };
                (view.worker, view.elapsed_ms) =
                    (Some(worker.clone()), u64::try_from(*took_ms).ok());
                (view.output, view.error) = (output.clone(), error.clone());
            }
        }
        view
    }
}

impl Mock {
    pub(super) async fn wdpost_jobs(&self) -> Result<Bucket, ErrorKind> {
        Bucket::open(&self.client, self.prefix.wdpost_jobs_bucket()).await
    }

    pub(super) async fn allocate_wdpost(
        &self,
        worker: &WorkerName,
        request: &AllocateWdpostJob,
    ) -> Result<Vec<WdpostJob>, ErrorKind> {
        let count = MAX_JOBS_AT_ONCE.min(request.count as usize);
        let jobs = self.wdpost_jobs().await?;
        for _ in 0..MAX_TRIES {
            let now_ms = jobs.server_time_ms().await?;
            let all: Vec<Stored<WdpostRecord>> = jobs.scan().await?;
            let held: Vec<_> = all
                .iter()
                .filter(|job| job.value.is_held_by(request.request_id))
                .cloned()
                .collect();
            let ids: Vec<_> = held.iter().map(|job| job.key.clone()).collect();
            if let Some(settled) = self.settle(request.request_id, &ids, count.max(1)).await? {
                for extra in held.iter().filter(|job| !settled.contains(&job.key)) {
                    let mut job = extra.value.clone();
                    job.reset();
                    jobs.replace(&extra.key, &job, extra.revision).await?;
                }
                let given = held.into_iter().filter(|job| settled.contains(&job.key));
                return Ok(given
                    .map(|job| WdpostJob { id: job.key, input: job.value.input })
                    .collect());
            }
            let is_open = |job: &&Stored<WdpostRecord>| match &job.value.status {
                Status::Ready => true,
                Status::Running { .. } => self.is_silent(now_ms, job.written_ms),
                Status::Ended { .. } => false,
            };
            let fits = |job: &&Stored<WdpostRecord>| {
                allows(&request.allowed_miners, &job.value.input.miner_id)
                    && allows(&request.allowed_proof_types, &job.value.input.proof_type)
            };
            let (mut taken, mut bytes, mut tried) = (0, 0, 0);
            for job in all.iter().filter(is_open).filter(fits) {
                // An entry and its part of the answer are about as large.
                bytes +=
                    serde_json::to_vec(&job.value.input).map_or(usize::MAX, |input| input.len());
                if taken >= count || taken > 0 && bytes > max_page_bytes(&self.client) {
                    break;
                }
                tried += 1;
                let mut record = job.value.clone();
                record.hand_out(request.request_id, worker.as_str(), now_ms);
                if jobs.replace(&job.key, &record, job.revision).await? {
                    info!(job = job.key, %worker, "window-PoSt job handed out");
                    taken += 1;
                }
            }
            if tried == 0 {
                return Ok(vec![]);
            }
        }
        Err(contended())
    }

    /// Notes that jobs are worked on.
    pub(super) async fn wdpost_heartbeat(
        &self,
        worker: &WorkerName,
        request: &WdpostHeartbeat,
    ) -> Result<(), ErrorKind> {
        let jobs = self.wdpost_jobs().await?;
        let mut lost = None;
        for id in request.jobs.iter().take(MAX_JOBS_AT_ONCE) {
            // Written as it is: that is what makes it young.
            let touch = |job: &mut WdpostRecord| {
                if job.heard(worker.as_str()) { Ok(()) } else { Err(not_yours(id)) }
            };
            match self.change_wdpost(&jobs, id, touch).await {
                Err(error @ ErrorKind::Internal { .. }) => return Err(error),
                Err(error) => lost = Some(error),
                Ok(()) => {}
            }
        }
        lost.map_or(Ok(()), Err)
    }

    /// Takes what a job yielded.
    pub(super) async fn finish_wdpost(
        &self,
        worker: &WorkerName,
        finish: &WdpostFinish,
    ) -> Result<(), ErrorKind> {
        let bytes = |output: &WdpostOutput| {
            output.proofs.iter().map(|proof| proof.0.len()).sum::<usize>() + 8 * output.faults.len()
        };
        if finish.output.as_ref().map_or(0, bytes) > MAX_PROOF_BYTES {
            return Err(ErrorKind::bad_request(format!(
                "proofs and faults of more than {MAX_PROOF_BYTES} bytes"
            )));
        }
        let jobs = self.wdpost_jobs().await?;
        let now_ms = jobs.server_time_ms().await?;
        self.change_wdpost(&jobs, &finish.job, |job: &mut WdpostRecord| {
            job.finish(worker.as_str(), &finish.job, finish, now_ms)
        })
        .await?;
        info!(job = finish.job, error = finish.error, "window-PoSt job ended");
        Ok(())
    }

    async fn change_wdpost(
        &self,
        jobs: &Bucket,
        id: &str,
        change: impl FnMut(&mut WdpostRecord) -> Result<(), ErrorKind>,
    ) -> Result<(), ErrorKind> {
        let unknown = || ErrorKind::JobNotFound { job: cut_text(id, 100) };
        // A job's id is a key: what is none is no job.
        let id: Id = id.parse().map_err(|_| unknown())?;
        jobs.change(&id.to_string(), change).await?.ok_or_else(unknown)
    }

    pub(super) async fn simulate_wdpost(
        &self,
        request: &SimulateWdpost,
    ) -> Result<WdpostQueued, ErrorKind> {
        let records = self.records().await?;
        let all: Vec<_> =
            self.all_sectors(&records).await?.into_iter().map(|stored| stored.value).collect();
        let (proven, left_out) = partition(&all, request)?;
        let first = proven.first().ok_or_else(|| {
            ErrorKind::bad_request(format!(
                "miner t0{} has no finished sector whose replica's commitment and store are known ({left_out} are left out)",
                request.miner
            ))
        })?;
        let proof_type = first.proof_type.size.window_post_name();
        if proven.iter().any(|record| record.proof_type.size != first.proof_type.size) {
            return Err(ErrorKind::bad_request(
                "the sectors have different sizes: name those of one size",
            ));
        }
        if proven.len() > MAX_SECTORS {
            return Err(ErrorKind::bad_request(format!(
                "{} sectors are too many for one job: name at most {MAX_SECTORS}",
                proven.len()
            )));
        }
        let jobs = self.wdpost_jobs().await?;
        let input = WdpostInput {
            sectors: proven.iter().filter_map(|record| proven_sector(record)).collect(),
            miner_id: request.miner,
            proof_type,
            seed: seed(request.id),
        };
        let record = WdpostRecord {
            input,
            queued_ms: jobs.server_time_ms().await?,
            left_out,
            status: Status::Ready,
        };
        let job = request.id.to_string();
        let queued = match jobs.create(&job, &record).await? {
            Created::New(_) => record,
            Created::Exists(stored) => stored.value,
        };
        info!(job, sectors = queued.input.sectors.len(), left_out, "window-PoSt job queued");
        Ok(WdpostQueued {
            job,
            sectors: queued.input.sectors.len() as u64,
            left_out: queued.left_out,
        })
    }
}

fn not_yours(job: &str) -> ErrorKind {
    ErrorKind::JobNotFound { job: cut_text(job, 100) }
}

// The sectors to prove, and how many finished ones are left out.
fn partition<'a>(
    all: &'a [SectorRecord],
    request: &SimulateWdpost,
) -> Result<(Vec<&'a SectorRecord>, u64), ErrorKind> {
    let of_miner = |record: &&SectorRecord| record.id.miner == request.miner;
    if request.sectors.is_empty() {
        let finished = all
            .iter()
            .filter(of_miner)
            .filter(|record| record.finalized && record.aborted.is_none());
        let (proven, others): (Vec<_>, Vec<_>) =
            finished.partition(|record| proven_sector(record).is_some());
        return Ok((proven, others.len() as u64));
    }
    let mut numbers = request.sectors.clone();
    numbers.sort_unstable();
    numbers.dedup();
    let named = numbers.into_iter().map(|number| {
        let sector = SectorId { miner: request.miner, number };
        let known = all.iter().find(|record| record.id == sector);
        let record = known.ok_or_else(|| ErrorKind::SectorNotFound { sector: sector.to_string() })?;
        if !record.finalized || record.aborted.is_some() {
            return Err(ErrorKind::SectorNotFinished { sector: sector.to_string(), state: record.shown_state().into() });
        }
        proven_sector(record).map(|_| record).ok_or_else(|| {
            ErrorKind::bad_request(format!("sector {sector} cannot be proven: its replica's commitment was told by no pre-commit"))
        })
    });
    Ok((named.collect::<Result<_, _>>()?, 0))
}

// `None` if its commitment or store is not known.
fn proven_sector(record: &SectorRecord) -> Option<WdpostSector> {
    let (upgrade, store) = (record.upgrade.is_some(), record.newest_store()?);
    let (files, cache) = if upgrade { ("update", "update-cache") } else { ("sealed", "cache") };
    let at = |directory: &str| format!("store://{store}/{directory}/{}", record.id);
    let accesses = WdpostAccesses { sealed_file: at(files), cache_dir: at(cache) };
    Some(WdpostSector {
        sector_id: record.id.number,
        comm_r: record.newest_comm_r()?,
        upgrade,
        accesses,
    })
}

// An element of BLS12-381's scalar field, see `chain`.
fn seed(job: Id) -> Commitment {
    let mut seed: Commitment =
        Sha256::new().chain_update("window-post").chain_update(job.to_string()).finalize().into();
    seed[31] &= 0x3f;
    seed
}

#[cfg(test)]
#[path = "wdpost_tests.rs"]
mod tests;
