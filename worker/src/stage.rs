//! What a thread does in each state: one file for each part of a sector's way, each stage a function that reads the
//! [`Job`], does its work, and returns what it yielded as a [`Done`].
//!
//! ```text
//!  deals -> add_pieces -> tree_d -> ticket -> pc1 -> pc2 (-> synthetic) -> pre_commit -> persist -> seed -> c1 -> c2
//!        -> proof
//! ```
//! A stage changes no state: its caller commits what it returns. It may be killed anywhere and is then run again from
//! its beginning, so it first clears what an earlier run may have left half-made.

mod add_pieces;
mod c1;
mod c2;
mod deals;
mod pc1;
mod pc2;
mod persist;
mod pre_commit;
mod proof;
mod seed;
mod submission;
mod synthetic;
mod ticket;
mod tree_d;

use std::{io, sync::Arc};

use shared_msgs::{
    id::Id,
    plan::{Event, Stage},
    sealer::{SealerRequest, SectorId},
};

use crate::{
    config::Sealing,
    processor::{
        Processors,
        task::{Opaque, Pc2Output, PieceInfo, Replica, prover_id},
    },
    sector_manager::{self, SectorManager},
    store::{
        attached::AttachedStore,
        location::SectorFiles,
        record::{Blob, Sector, Store},
    },
    thread::{activity::Activity, failure::Failure},
};

/// What all threads of a worker share.
pub struct Shared {
    /// The way to the sector manager.
    pub sector_manager: Arc<dyn SectorManager>,
    /// Who runs the heavy work.
    pub processors: Processors,
    /// Where sealed sectors go.
    pub attached: Vec<AttachedStore>,
}

/// One stage's work on one sector.
pub struct Job<'a> {
    /// The sector as it was committed last.
    pub sector: &'a Sector,
    /// Its files.
    pub files: SectorFiles,
    /// The id for what this stage asks the sector manager to change.
    pub request_id: Id,
    /// The thread's sealing options.
    pub sealing: &'a Sealing,
    /// The thread's store, for the outputs of earlier stages.
    pub store: &'a Store,
    /// What all threads share.
    pub shared: &'a Shared,
    /// Where the stage says what it is doing.
    pub activity: &'a Activity,
}

/// What a stage yielded.
#[derive(Debug)]
pub struct Done {
    /// What happened, in the words of the plan's table.
    pub event: Event,
    /// The sector with what the stage yielded.
    pub sector: Sector,
    /// Large outputs to store with it.
    pub outputs: Vec<(Blob, Vec<u8>)>,
}

/// Whether a stage computes or moves data: one in which a process can die by its own work.
pub fn is_heavy(stage: Stage) -> bool {
    matches!(
        stage,
        Stage::AddPieces | Stage::TreeD | Stage::Pc1 | Stage::Pc2 | Stage::SyntheticPoRep | Stage::PersistFiles | Stage::C1 | Stage::C2
    )
}

/// Runs a stage.
pub async fn run(stage: Stage, job: &Job<'_>) -> Result<Done, Failure> {
    match stage {
        Stage::AcquireDeals => deals::acquire(job).await,
        Stage::AddPieces => add_pieces::run(job).await,
        Stage::TreeD => tree_d::run(job).await,
        Stage::AssignTicket => ticket::assign(job).await,
        Stage::Pc1 => pc1::run(job).await,
        Stage::Pc2 => pc2::run(job).await,
        Stage::SyntheticPoRep => synthetic::run(job).await,
        Stage::SubmitPreCommit => pre_commit::submit(job).await,
        Stage::WaitPcLanded => pre_commit::wait_landed(job).await,
        Stage::PersistFiles => persist::copy_files(job).await,
        Stage::SubmitPersisted => persist::submit(job).await,
        Stage::WaitSeed => seed::wait(job).await,
        Stage::C1 => c1::run(job).await,
        Stage::C2 => c2::run(job).await,
        Stage::SubmitProof => proof::submit(job).await,
        Stage::WaitProofLanded => proof::wait_landed(job).await,
        Stage::SnapEncode
        | Stage::SnapProve
        | Stage::SubmitSnapupProof
        | Stage::PrepareForSnapup
        | Stage::Unseal
        | Stage::UploadPiece
        | Stage::WindowPost
        | Stage::SubmitWindowPost => Err(Failure::critical(format!("this version has no stage {stage}"))),
    }
}

impl Job<'_> {
    fn id(&self) -> SectorId {
        self.sector.allocated.id
    }

    fn proof_name(&self) -> Result<String, Failure> {
        let proof = self.sector.allocated.proof_type;
        proof
            .name()
            .ok_or_else(|| Failure::permanent(format!("the sector manager named seal proof type {}, which does not exist", proof.0)))
    }

    fn sector_size(&self) -> Result<u64, Failure> {
        let proof = self.sector.allocated.proof_type;
        proof.sector_size().ok_or_else(|| Failure::permanent(format!("seal proof type {} has no sector size", proof.0)))
    }

    fn done(&self, event: Event, change: impl FnOnce(&mut Sector)) -> Result<Done, Failure> {
        let mut sector = self.sector.clone();
        change(&mut sector);
        Ok(Done { event, sector, outputs: vec![] })
    }

    async fn ask<Q: SealerRequest>(&self, request: &Q) -> Result<Q::Reply, Failure> {
        sector_manager::ask(&self.shared.sector_manager, self.activity, request).await
    }

    // Waits before the sector manager is asked again.
    async fn poll_later(&self, reason: &str) {
        self.activity.wait(reason, tokio::time::sleep(self.sealing.rpc_polling_interval)).await;
    }

    async fn output(&self, blob: Blob) -> Result<Opaque, Failure> {
        let bytes = self.store.output(blob).await?;
        serde_json::from_slice(&bytes).map_err(|error| Failure::critical(format!("stored {blob:?}: {error}")))
    }

    fn piece_infos(&self) -> Result<Vec<PieceInfo>, Failure> {
        let pieces = field(&self.sector.pieces, "pieces")?;
        Ok(pieces.iter().map(|piece| PieceInfo { commitment: piece.commitment, size: piece.size }).collect())
    }

    fn replica(&self) -> Result<Replica, Failure> {
        Ok(Replica {
            cache_path: self.files.cache.clone(),
            replica_path: self.files.sealed.clone(),
            prover_id: prover_id(self.id().miner),
            sector_id: self.id().number,
            ticket: field(&self.sector.ticket, "ticket")?.ticket.0,
            pre_commit: Pc2Output {
                registered_proof: self.proof_name()?,
                comm_r: *field(&self.sector.comm_r, "commR")?,
                comm_d: *field(&self.sector.comm_d, "commD")?,
            },
            piece_infos: self.piece_infos()?,
        })
    }
}

// What the plan's table promises a stage; its absence is our own fault.
fn field<'a, T>(field: &'a Option<T>, name: &str) -> Result<&'a T, Failure> {
    field.as_ref().ok_or_else(|| Failure::critical(format!("the sector's record has no {name}")))
}

/// Runs file work on a blocking thread. A full disk or a store that is gone may be there again: such failures are
/// temporary.
pub async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Failure::temporary),
        Err(error) => Err(Failure::critical(error)),
    }
}
