//! Jobs on finished sectors, handed out to workers: the same request gets the same job, from
//! whichever mock manager, and a job whose worker is silent for too long goes to another one.
//!
//! ```text
//!  look for jobs that the request holds ──none──▶ take one by compare-and-set ──▶ look again
//!        └─some──▶ <P>_JOB_REQUESTS says which of them it is; the others are given back
//! ```
//! Two managers may take a job each for a request that was sent twice; the second bucket makes them
//! agree.

use std::time::Duration;

use shared_msgs::{error::ErrorKind, id::Id, plan::Plan, sector_manager::*};
use tracing::info;

use super::{
    Mock,
    allocation::allows,
    chain,
    job::{Job, Work},
    record::{SectorRecord, Upgrade},
    records::key,
};
use crate::bus::kv::{Bucket, Created, MAX_TRIES, Stored, contended};

const MAX_STORE_BYTES: usize = 1024;

impl Mock {
    /// A finished sector without deals, and deals for it.
    pub(super) async fn allocate_snapup(
        &self,
        request: &AllocateSnapupSector,
    ) -> Result<Option<AllocatedSnapupSector>, ErrorKind> {
        let spec = &request.sector;
        let records = self.records().await?;
        for _ in 0..MAX_TRIES {
            let all = self.all_sectors(&records).await?;
            if let Some(record) =
                self.held(&records, &all, Plan::Snapup, request.request_id).await?
            {
                let (Some(comm_r), Some(store), Some(job)) =
                    (record.comm_r, record.store.clone(), record.running())
                else {
                    return Err(ErrorKind::internal(format!(
                        "sector {} is being upgraded and was not sealed",
                        record.id
                    )));
                };
                return Ok(Some(AllocatedSnapupSector {
                    sector: allocated(&record),
                    pieces: self.with_urls(job.work.pieces()),
                    public: PublicReplica { comm_r },
                    private: PrivateReplica { access_instance: store },
                }));
            }
            let fits = |stored: &&Stored<SectorRecord>| {
                is_allowed(&stored.value, spec) && stored.value.can_be_upgraded()
            };
            let Some(candidate) = all.iter().find(fits) else { return Ok(None) };
            let mut record = candidate.value.clone();
            let Some(pieces) = self.assign_deals(&record, &request.deals).await? else {
                return Ok(None);
            };
            record.queue(Work::Snapup { pieces })?;
            record.hand_out(Plan::Snapup, request.request_id, false);
            match records.replace(&candidate.key, &record, candidate.revision).await? {
                true => {
                    info!(sector = %record.id, request = %request.request_id, "handed out to be upgraded")
                }
                false => self.free_deals(&self.sector(record.id).await?).await?,
            }
        }
        Err(contended())
    }

    /// Takes the proof of an upgrade.
    pub(super) async fn submit_snapup(
        &self,
        request: SubmitSnapupProof,
    ) -> Result<SubmitReply, ErrorKind> {
        let SubmitSnapupProof { sector, comm_r, comm_d, access_instance, pieces: named, .. } =
            request;
        check_store(&access_instance)?;
        let upgrade = Upgrade { comm_r, comm_d, store: access_instance, pieces: vec![] };
        let (_, reply) = self
            .update_sector(sector, |record| Ok(record.upgraded(upgrade.clone(), &named)))
            .await?;
        info!(%sector, result = ?reply.res, "upgrade submitted");
        Ok(reply)
    }

    /// A sector that an operator wants sealed again.
    pub(super) async fn allocate_rebuild(
        &self,
        request: &AllocateRebuildSector,
    ) -> Result<Option<AllocatedRebuildSector>, ErrorKind> {
        let Some((record, _)) =
            self.take_job(Plan::Rebuild, request.request_id, &request.spec).await?
        else {
            return Ok(None);
        };
        let pieces = Some(self.with_urls(record.data_pieces())).filter(|pieces| !pieces.is_empty());
        Ok(Some(AllocatedRebuildSector {
            sector: allocated(&record),
            ticket: record.ticket.unwrap_or_else(|| chain::ticket(record.id)),
            pieces,
            pieces_v2: None,
            is_snap_up: record.upgrade.is_some(),
            upgrade_public: record
                .upgrade
                .as_ref()
                .map(|upgrade| PublicReplica { comm_r: upgrade.comm_r }),
        }))
    }

    /// A piece that an operator wants unsealed.
    pub(super) async fn allocate_unseal(
        &self,
        request: &AllocateUnsealSector,
    ) -> Result<Option<AllocatedUnsealSector>, ErrorKind> {
        let Some((record, job)) =
            self.take_job(Plan::Unseal, request.request_id, &request.spec).await?
        else {
            return Ok(None);
        };
        let lacks = |what: &str| {
            ErrorKind::internal(format!(
                "sector {} is to be unsealed, and its {what} is not known",
                record.id
            ))
        };
        let Work::Unseal { piece_cid, .. } = job.work else { return Err(lacks("piece")) };
        let piece = record.piece_to_unseal(Some(&piece_cid))?;
        Ok(Some(AllocatedUnsealSector {
            sector: allocated(&record),
            comm_d: record.newest_comm_d().ok_or_else(|| lacks("data's commitment"))?,
            ticket: record.ticket.unwrap_or_else(|| chain::ticket(record.id)),
            offset: unpadded(record.offset_of(&piece_cid).ok_or_else(|| lacks("piece"))?),
            size: unpadded(piece.piece.size),
            private_info: PrivateReplica {
                access_instance: record.newest_store().ok_or_else(|| lacks("store"))?.to_owned(),
            },
            piece_cid,
        }))
    }

    /// Where an unsealed piece goes; nowhere in particular if the operator named no place.
    pub(super) async fn unseal_dest(
        &self,
        request: &AcquireUnsealDest,
    ) -> Result<Vec<String>, ErrorKind> {
        let record = self.sector(request.sector).await?;
        let of_piece = |job: &&Job| job.work.is_unseal_of(&request.piece_cid);
        match record.jobs.iter().find(of_piece).map(|job| &job.work) {
            Some(Work::Unseal { dest, .. }) => Ok(dest.iter().cloned().collect()),
            _ => Err(ErrorKind::JobNotFound { job: format!("unseal {}", record.id) }),
        }
    }

    // Hands a job of a plan out.
    async fn take_job(
        &self,
        plan: Plan,
        request: Id,
        spec: &AllocateSectorSpec,
    ) -> Result<Option<(SectorRecord, Job)>, ErrorKind> {
        let records = self.records().await?;
        for _ in 0..MAX_TRIES {
            let now_ms = records.server_time_ms().await?;
            let all = self.all_sectors(&records).await?;
            if let Some(record) = self.held(&records, &all, plan, request).await? {
                let job = record.running().cloned();
                return Ok(job.map(|job| (record, job)));
            }
            let mut changed = None;
            for stored in all.iter().filter(|stored| is_allowed(&stored.value, spec)) {
                let mut record = stored.value.clone();
                let silent = self.is_silent(now_ms, stored.written_ms);
                let taken = record.hand_out(plan, request, silent).is_some();
                // What an operator gave up, and whose worker is silent, changes without being
                // handed out.
                if taken || record != stored.value {
                    changed = Some((stored, record, taken));
                    break;
                }
            }
            let Some((stored, record, taken)) = changed else { return Ok(None) };
            if records.replace(&stored.key, &record, stored.revision).await? && taken {
                info!(sector = %record.id, %plan, %request, "handed out");
            }
        }
        Err(contended())
    }

    // The sector whose job a request holds, if it holds one.
    async fn held(
        &self,
        records: &Bucket,
        all: &[Stored<SectorRecord>],
        plan: Plan,
        request: Id,
    ) -> Result<Option<SectorRecord>, ErrorKind> {
        let holds = |stored: &&Stored<SectorRecord>| {
            stored
                .value
                .running()
                .is_some_and(|job| job.is_held_by(request) && job.work.plan() == plan)
        };
        let held: Vec<_> = all.iter().filter(holds).map(|stored| stored.value.clone()).collect();
        let keys: Vec<_> = held.iter().map(|record| key(record.id)).collect();
        let Some(settled) = self.settle(request, &keys, 1).await? else { return Ok(None) };
        let mut found = None;
        for record in held {
            if settled.contains(&key(record.id)) {
                found = Some(record);
            } else {
                let taken_back = |record: &mut SectorRecord| {
                    record.take_back(request);
                    Ok(record.clone())
                };
                if let Some(record) = records.change(&key(record.id), taken_back).await? {
                    self.free_deals(&record).await?;
                }
            }
        }
        Ok(found)
    }

    /// Which of the jobs that a request holds it was given: at most so many, the same ones for
    /// everybody who asks. `None` if it holds none.
    pub(super) async fn settle(
        &self,
        request: Id,
        held: &[String],
        count: usize,
    ) -> Result<Option<Vec<String>>, ErrorKind> {
        if held.is_empty() {
            return Ok(None);
        }
        let requests = Bucket::open(&self.client, self.prefix.job_requests_bucket()).await?;
        let (key, wanted) = (request.to_string(), held[..held.len().min(count)].to_vec());
        for _ in 0..MAX_TRIES {
            let Stored { value: settled, revision, .. } =
                match requests.create(&key, &Settled { jobs: wanted.clone() }).await? {
                    Created::New(_) => return Ok(Some(wanted)),
                    Created::Exists(stored) => stored,
                };
            let mut still: Vec<String> = settled.jobs;
            still.retain(|job| held.contains(job));
            if !still.is_empty() {
                return Ok(Some(still));
            }
            // What it was given before it lost.
            if requests.replace(&key, &Settled { jobs: wanted.clone() }, revision).await? {
                return Ok(Some(wanted));
            }
        }
        Err(contended())
    }

    /// Whether a job that was written then counts as lost by its worker.
    pub(super) fn is_silent(&self, now_ms: i64, written_ms: i64) -> bool {
        Duration::from_millis(now_ms.saturating_sub(written_ms).max(0) as u64)
            > self.offer.job_expiration
    }
}

/// What a request for jobs was given.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Settled {
    jobs: Vec<String>,
}

fn is_allowed(record: &SectorRecord, spec: &AllocateSectorSpec) -> bool {
    allows(&spec.allowed_miners, &record.id.miner)
        && allows(&spec.allowed_proof_types, &record.proof_type)
}

fn allocated(record: &SectorRecord) -> AllocatedSector {
    AllocatedSector { id: record.id, proof_type: record.proof_type }
}

/// Whether a text can be a store's name; a path is none that anybody opens, it is compared with
/// names.
pub(super) fn check_store(name: &str) -> Result<(), ErrorKind> {
    match (1..=MAX_STORE_BYTES).contains(&name.len()) && !name.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(ErrorKind::bad_request(format!(
            "{:?} is no store's name",
            shared_msgs::text::cut_text(name, 100)
        ))),
    }
}
