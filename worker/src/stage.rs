//! What a thread does in each state: one file for each part of a sector's way, each stage a
//! function that reads the [`StageRun`], does its work, and returns what it yielded as a [`Done`].
//!
//! ```text
//!  sealer, niporep: deals -> add_pieces -> tree_d -> ticket -> pc1 -> pc2 (-> synthetic) -> pre_commit -> persist -> seed
//!                   -> c1 -> c2 -> proof
//!  snapup:          add_pieces -> tree_d -> snap (encode, prove) -> persist -> snap (submit)
//!  rebuild:         add_pieces … pc2 -> c1 (check) -> snap (prepare, encode, prove) -> persist
//!  unseal:          unseal (get the piece out, bring it where it is wanted)
//!  wdpost:          window_post (prove, submit)
//! ```
//! A stage changes no state: its caller commits what it returns. It may be killed anywhere and is
//! then run again from its beginning, so it first clears what an earlier run may have left
//! half-made; only PC1 keeps what it knows to be whole ([`layers`]).
//!
//! Tests: the scenarios `sealing::*`, one file for each thing that can become of a stage, and
//! `stores::attached`; what is pure has its tests in its own file.
//!
//! Decision 013 in `docs/decisions`.

mod add_pieces;
mod c1;
mod c2;
mod deals;
mod layers;
mod pc1;
mod pc2;
mod persist;
mod pre_commit;
mod proof;
mod seed;
mod snap;
mod submission;
mod synthetic;
mod ticket;
pub(crate) mod tree_d;
mod unseal;
pub(crate) mod window_post;

use std::{collections::HashMap, io, path::PathBuf, sync::Arc};

use secrecy::SecretString;
use shared_msgs::{
    id::Id,
    plan::{Plan, PlanEvent, Stage, State},
    sector_manager::{Commitment, SectorId, WorkerRequest},
};

use crate::{
    activity::Activity,
    config::Sealing,
    failure::Failure,
    processor::{
        Processors,
        task::{C1, Opaque, Pc2Output, PieceInfo, Replica, Task, prover_id},
        tasks::tasks_of,
    },
    sector_manager::{self, SectorManager},
    store::{
        attached::{AttachedStore, Kind, ReplicaFiles},
        database::Store,
        files::require_space,
        location::SectorFiles,
        record::{Blob, PieceCommitment, Sector, Upgrade},
    },
};

/// What all threads of a worker share.
pub(crate) struct Shared {
    pub worker: String,
    /// The way to the sector manager.
    pub sector_manager: Arc<dyn SectorManager>,
    /// Who runs the heavy work.
    pub processors: Processors,
    /// Where sealed sectors go.
    pub attached: Vec<AttachedStore>,
    /// Where pieces are looked for, and brought to.
    pub local_pieces_dirs: Vec<PathBuf>,
    /// Files with tree-d of a sector of zeros, by sector size in bytes.
    pub static_tree_d: HashMap<u64, PathBuf>,
    /// What is shown to piece servers that a sector manager redirects to.
    pub piece_token: Option<SecretString>,
}

/// One stage's work on one sector.
pub(crate) struct StageRun<'a> {
    pub plan: Plan,
    /// The state that was committed last.
    pub state: State,
    /// The sector as it was committed last.
    pub sector: &'a Sector,
    pub files: SectorFiles,
    /// The id for what this stage asks the sector manager to change.
    pub request_id: Id,
    pub sealing: &'a Sealing,
    /// The thread's store, for the outputs of earlier stages.
    pub store: &'a Store,
    pub shared: &'a Shared,
    /// Where the stage says what it is doing.
    pub activity: &'a Activity,
}

/// What a stage yielded.
#[derive(Debug)]
pub(crate) struct Done {
    /// What happened, in the words of the plan's table; `None` when the stage has only noted
    /// something in the sector, and is to be run again.
    pub event: Option<PlanEvent>,
    /// The sector with what the stage yielded.
    pub sector: Sector,
    /// Large outputs to store with it.
    pub outputs: Vec<(Blob, Vec<u8>)>,
}

/// Whether a stage computes or moves data: one in which a process can die by its own work.
pub(crate) fn is_heavy(stage: Stage) -> bool {
    // A piece is moved by the stage itself.
    stage == Stage::UploadPiece || !tasks_of(stage).is_empty()
}

pub(crate) async fn run(stage: Stage, run: &StageRun<'_>) -> Result<Done, Failure> {
    match stage {
        Stage::AcquireDeals => deals::acquire(run).await,
        Stage::AddPieces => add_pieces::run(run).await,
        Stage::TreeD => tree_d::run(run).await,
        Stage::AssignTicket => ticket::assign(run).await,
        Stage::Pc1 => pc1::run(run).await,
        Stage::Pc2 => pc2::run(run).await,
        Stage::SyntheticPoRep => synthetic::run(run).await,
        Stage::SubmitPreCommit => pre_commit::submit(run).await,
        Stage::WaitPcLanded => pre_commit::wait_landed(run).await,
        Stage::PersistFiles => persist::copy_files(run).await,
        Stage::SubmitPersisted => persist::submit(run).await,
        Stage::WaitSeed => seed::wait(run).await,
        Stage::C1 if run.plan == Plan::Rebuild => c1::check(run).await,
        Stage::C1 => c1::run(run).await,
        Stage::C2 => c2::run(run).await,
        Stage::SubmitProof => proof::submit(run).await,
        Stage::WaitProofLanded => proof::wait_landed(run).await,
        Stage::PrepareForSnapup => snap::prepare(run).await,
        Stage::SnapEncode => snap::encode(run).await,
        Stage::SnapProve => snap::prove(run).await,
        Stage::SubmitSnapupProof => snap::submit(run).await,
        Stage::Unseal => unseal::run(run).await,
        Stage::UploadPiece => unseal::upload(run).await,
        Stage::WindowPost | Stage::SubmitWindowPost => {
            Err(Failure::critical(format!("stage {stage} is of no sector")))
        }
    }
}

impl StageRun<'_> {
    pub(crate) fn id(&self) -> SectorId {
        self.sector.allocated.id
    }

    fn proof_name(&self) -> String {
        self.sector.allocated.proof_type.name()
    }

    fn update_proof_name(&self) -> String {
        self.sector.allocated.proof_type.size.update_name()
    }

    // In bytes.
    fn sector_size(&self) -> u64 {
        self.sector.allocated.proof_type.size.bytes()
    }

    fn done(&self, event: PlanEvent, change: impl FnOnce(&mut Sector)) -> Result<Done, Failure> {
        let mut sector = self.sector.clone();
        change(&mut sector);
        Ok(Done { event: Some(event), sector, outputs: vec![] })
    }

    // Notes something durably before the stage acts on it.
    fn note(&self, change: impl FnOnce(&mut Sector)) -> Done {
        let mut sector = self.sector.clone();
        change(&mut sector);
        Done { event: None, sector, outputs: vec![] }
    }

    async fn ask<Q: WorkerRequest>(&self, request: &Q) -> Result<Q::Reply, Failure> {
        sector_manager::ask(&self.shared.sector_manager, self.activity, request).await
    }

    // Runs a task wherever the configuration says.
    async fn compute<T: Task>(&self, task: T) -> Result<T::Output, Failure> {
        self.shared.processors.run(task, self.activity).await
    }

    // Has a proof verified, unless the configuration says that nobody looks.
    async fn verify(&self, what: &str, task: impl Task<Output = bool>) -> Result<(), Failure> {
        if self.sealing.ignore_proof_check {
            return Ok(());
        }
        match self.compute(task).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::temporary(format!("{what} does not verify"))),
            Err(failure) => Err(Failure {
                message: format!("{what} cannot be verified: {}", failure.message),
                ..failure
            }),
        }
    }

    // Waits before the sector manager is asked again.
    async fn poll_later(&self, reason: &str) {
        self.activity.wait(reason, tokio::time::sleep(self.sealing.rpc_polling_interval)).await;
    }

    // Whether the stage is about the data that the sector gets later, or the data that it is sealed
    // with.
    fn is_for_upgrade(&self) -> bool {
        let upgrading = [
            State::SealedChecked,
            State::SnapPieceAdded,
            State::SnapTreeDBuilt,
            State::SnapEncoded,
            State::SnapDone,
        ];
        self.plan == Plan::Snapup || (self.plan == Plan::Rebuild && upgrading.contains(&self.state))
    }

    fn upgrade(&self) -> Result<&Upgrade, Failure> {
        field(&self.sector.upgrade, "upgrade")
    }

    // What the stages of a plan make in the thread's location.
    fn local(&self, kind: Kind) -> ReplicaFiles {
        let files = &self.files;
        match kind {
            Kind::Sealed => {
                ReplicaFiles { replica: files.sealed.clone(), cache: files.cache.clone() }
            }
            Kind::Update => {
                ReplicaFiles { replica: files.update.clone(), cache: files.update_cache.clone() }
            }
        }
    }

    // The attached store of that name, if it is really there.
    pub(crate) async fn store_named(&self, name: &str) -> Result<AttachedStore, Failure> {
        let store = AttachedStore::named(&self.shared.attached, name);
        let unknown = || {
            Failure::permanent(format!(
                "{} is in store {name:?}, which is not attached: add it to [[attached]]",
                self.id()
            ))
        };
        let store = store.ok_or_else(unknown)?.clone();
        on_disk(move || store.check_present().map(|()| store)).await
    }

    // Space for so many sectors, and some for the directories and small files around.
    fn bytes_of(&self, sectors: u64) -> u64 {
        const SLACK: u64 = 64 << 10;
        self.sector_size() * sectors + SLACK
    }

    // Refuses a stage for which the thread's location has no room.
    async fn require_sectors(&self, sectors: u64) -> Result<(), Failure> {
        let (bytes, path) =
            (self.bytes_of(sectors), self.files.unsealed.parent().map(PathBuf::from));
        on_disk(move || path.map_or(Ok(()), |path| require_space(&path, bytes))).await
    }

    // Makes the vanilla proofs of a seed that stands for any, and throws them away: a replica that
    // cannot be proven is found before anybody relies on it.
    async fn check_replica(&self, replica: Replica) -> Result<(), Failure> {
        let seed = replica.ticket;
        self.compute(C1 { replica, seed }).await.map(drop)
    }

    async fn output(&self, blob: Blob) -> Result<Opaque, Failure> {
        let bytes = self.store.output(blob).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::critical(format!("stored {blob:?}: {error}")))
    }

    fn piece_infos(&self) -> Result<Vec<PieceInfo>, Failure> {
        let pieces =
            if self.is_for_upgrade() { &self.upgrade()?.pieces } else { &self.sector.pieces };
        let info =
            |piece: &PieceCommitment| PieceInfo { commitment: piece.commitment, size: piece.size };
        Ok(field(pieces, "pieces")?.iter().map(info).collect())
    }

    fn replica(&self) -> Result<Replica, Failure> {
        self.replica_with(*field(&self.sector.comm_r, "commR")?)
    }

    fn replica_with(&self, comm_r: Commitment) -> Result<Replica, Failure> {
        Ok(Replica {
            cache_path: self.files.cache.clone(),
            replica_path: self.files.sealed.clone(),
            prover_id: prover_id(self.id().miner),
            sector_id: self.id().number,
            ticket: field(&self.sector.ticket, "ticket")?.ticket.0,
            pre_commit: Pc2Output {
                registered_proof: self.proof_name(),
                comm_r,
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

/// Runs file work on a blocking thread. A full disk or a store that is gone may be there again:
/// such failures are temporary.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Failure::temporary),
        Err(error) => Err(Failure::critical(error)),
    }
}
