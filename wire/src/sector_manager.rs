//! `Venus.*`, the interface of damocles's sector manager: its methods as data, with the shapes of
//! their parameters and results. Keys are PascalCase; a missing list, null and `[]` mean the same.
//!
//! Numbers that may grow (results of submissions, states on chain, proof types) are read as numbers:
//! what one means that is not known here is the caller's to say.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shared_msgs::sector_manager::{Base64Bytes, Commitment, Randomness, SectorId as Sector};

/// The namespace of its methods.
pub const NAMESPACE: &str = "Venus";
/// Where it serves them.
pub const PATH: &str = "/rpc/v0";

/// A method of the sector manager.
pub trait Method {
    /// Its name behind the namespace.
    const NAME: &'static str;
    /// How long it may take: there is no time-out on the other side.
    const WITHIN: Duration;
    /// Its parameters, by position.
    type Params: Serialize + DeserializeOwned + Send + Sync;
    /// Its result.
    type Result: Serialize + DeserializeOwned + Send;
}

// Reads what it has in its store, or asks the chain.
const SHORT: Duration = Duration::from_secs(60);
// Reads files of a store, verifies a proof, asks the market.
const LONG: Duration = Duration::from_secs(300);

macro_rules! methods {
    (@params) => { [(); 0] };
    (@params $($param:ty),+) => { ($($param,)+) };
    ($($(#[$doc:meta])* $method:ident ($($param:ty),*) -> $result:ty, $within:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $method;
        impl Method for $method {
            const NAME: &'static str = stringify!($method);
            const WITHIN: Duration = $within;
            type Params = methods!(@params $($param),*);
            type Result = $result;
        }
    )*};
}

methods! {
    /// `v0.13.1-prod-<commit>`; since v0.7.
    Version() -> String, SHORT;
    /// A new sector; each success uses a number up.
    AllocateSector(SectorSpec) -> Option<Allocated>, LONG;
    /// The deals for a sector.
    AcquireDeals(SectorId, DealsSpec) -> Option<Vec<Piece>>, LONG;
    /// A ticket: a new one each time.
    AssignTicket(SectorId) -> Ticket, SHORT;
    /// Hands a pre-commit in; the last one says whether it is sent anew.
    SubmitPreCommit(Allocated, PreCommitInfo, bool) -> SubmitReply, LONG;
    /// What became of it.
    PollPreCommitState(SectorId) -> PollReply, SHORT;
    /// Whether the files of a sector (of an upgrade: true) are in a store; since v0.5.
    SubmitPersistedEx(SectorId, String, bool) -> bool, LONG;
    /// The seed of a sector, by its proof type; one parameter before v0.11.
    WaitSeed(SectorId, i64) -> WaitSeedReply, SHORT;
    /// Hands a proof in; the last one says whether it is sent anew.
    SubmitProof(SectorId, Proof, bool) -> SubmitReply, LONG;
    /// What became of it.
    PollProofState(SectorId) -> PollReply, SHORT;
    /// What a sector's thread did.
    ReportState(SectorId, StateReport) -> Option<StateReply>, SHORT;
    /// A sector is finished; a second call is refused as not found.
    ReportFinalized(SectorId) -> (), SHORT;
    /// A sector was given up; a second call is refused as not found.
    ReportAborted(SectorId, String) -> (), SHORT;
    /// A sector to put deals into; the name is spelt so there.
    AllocateSanpUpSector(SnapupSpec) -> Option<AllocatedSnapup>, LONG;
    /// Hands the proof of an upgrade in.
    SubmitSnapUpProof(SectorId, SnapupProof) -> SubmitReply, LONG;
    /// A sector to seal again.
    AllocateRebuildSector(SectorSpec) -> Option<AllocatedRebuild>, LONG;
    /// A piece to unseal.
    AllocateUnsealSector(SectorSpec) -> Option<AllocatedUnseal>, LONG;
    /// Where an unsealed piece goes.
    AcquireUnsealDest(SectorId, Cid) -> Option<Vec<String>>, SHORT;
    /// How unsealing ended: empty if well.
    AchieveUnsealSector(SectorId, Cid, String) -> (), SHORT;
    /// Window-PoSt jobs, at most so many, for a worker.
    WdPoStAllocateJobs(WdpostSpec, u32, String) -> Option<Vec<WdpostJob>>, LONG;
    /// Jobs that a worker has in hand.
    WdPoStHeartbeatJobs(Vec<String>, String) -> (), SHORT;
    /// Ends a job, whoever calls: with what it yields, or with what went wrong.
    WdPoStFinishJob(String, Option<WdpostOutput>, String) -> (), LONG;
    /// All jobs.
    WdPoStAllJobs() -> WdpostJobs, SHORT;
    /// Makes a job one that is ready to run.
    WdPoStResetJob(String) -> (), SHORT;
    /// Removes a job.
    WdPoStRemoveJob(String) -> (), SHORT;
    /// Reserves so many bytes for a sector in one of these stores.
    StoreReserveSpace(SectorId, u64, Vec<String>) -> Option<StoreInfo>, SHORT;
    /// A store by its name.
    StoreBasicInfo(String) -> Option<StoreInfo>, SHORT;
    /// Sectors, `online` or `offline`, of a [`SectorKind`].
    ListSectors(String, i64) -> Option<Vec<SectorState>>, LONG;
    /// One sector, `online` or `offline`.
    FindSector(String, SectorId) -> SectorState, SHORT;
    /// Wants a finished sector sealed again.
    SectorSetForRebuild(SectorId, RebuildOptions) -> bool, SHORT;
    /// Puts a sector that has ended among the open ones again; true does so whatever its state.
    RestoreSector(SectorId, bool) -> (), SHORT;
    /// A worker says how its threads are.
    WorkerPing(WorkerInfo) -> (), SHORT;
}

/// The second parameter of `ListSectors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum SectorKind {
    /// Every sector.
    Any = 0,
    /// Those that are sealed.
    Sealing = 1,
}

/// A sector of a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorId {
    /// The miner's actor id.
    pub miner: u64,
    /// Unique for its miner.
    pub number: u64,
}

impl From<Sector> for SectorId {
    fn from(Sector { miner, number }: Sector) -> Self {
        SectorId { miner, number }
    }
}

impl From<SectorId> for Sector {
    fn from(SectorId { miner, number }: SectorId) -> Self {
        Sector { miner, number }
    }
}

/// A CID as JSON has it: `{"/": "baga…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cid {
    /// In its text form.
    #[serde(rename = "/")]
    pub cid: String,
}

impl From<&str> for Cid {
    fn from(cid: &str) -> Self {
        Cid { cid: cid.to_owned() }
    }
}

/// Which sectors a thread takes: any where a list is absent or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SectorSpec {
    /// Actor ids.
    pub allowed_miners: Option<Vec<u64>>,
    /// Registered numbers of seal proofs.
    pub allowed_proof_types: Option<Vec<i64>>,
}

/// A sector, and how it is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Allocated {
    /// Which one.
    #[serde(rename = "ID")]
    pub id: SectorId,
    /// The registered number of its seal proof.
    pub proof_type: i64,
}

/// How many deals a sector takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DealsSpec {
    /// At most so many.
    pub max_deals: Option<u32>,
    /// At least so many bytes.
    pub min_used_space: Option<u64>,
}

/// A piece of a sector: data of a deal, or filler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Piece {
    /// Its size and commitment.
    pub piece: PieceInfo,
    /// Its deal; of filler one whose ids are 0.
    pub deal_info: DealInfo,
}

/// A piece's size and commitment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PieceInfo {
    /// In bytes, padded.
    pub size: u64,
    /// The commitment.
    #[serde(rename = "PieceCID")]
    pub piece_cid: Cid,
}

/// What is needed of a piece's deal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DealInfo {
    /// The deal on the built-in market.
    #[serde(rename = "DealID")]
    pub deal_id: u64,
    /// The allocation of a direct-data-onboarding deal.
    #[serde(rename = "AllocationID")]
    pub allocation_id: u64,
    /// Unpadded bytes of the client's data.
    pub payload_size: u64,
    /// Which of the two it is.
    pub is_builtin_market: bool,
}

/// A piece in the shape that managers before v0.10 use; id 0 is filler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OldPiece {
    /// The deal.
    #[serde(rename = "ID")]
    pub id: u64,
    /// Unpadded bytes of the client's data.
    #[serde(default)]
    pub payload_size: u64,
    /// Its size and commitment.
    pub piece: OldPieceInfo,
}

/// The size and commitment of an [`OldPiece`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OldPieceInfo {
    /// In bytes, padded.
    pub size: u64,
    /// The commitment.
    pub cid: Cid,
}

/// Randomness of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ticket {
    /// 32 bytes, base64.
    pub ticket: Randomness,
    /// The epoch that it is of.
    pub epoch: i64,
}

/// What goes on chain before the proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PreCommitInfo {
    /// Of the replica.
    pub comm_r: Commitment,
    /// Of the data.
    pub comm_d: Commitment,
    /// Of the replica.
    pub ticket: Ticket,
}

/// How a submission was received.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SubmitReply {
    /// 1 accepted, 2 duplicate, 3 mismatched, 4 rejected, 5 files missed.
    pub res: i64,
    /// Why.
    #[serde(default)]
    pub desc: Option<String>,
}

/// What became of a message on chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PollReply {
    /// 1 pending, 2 packed, 3 landed, 4 not found, 5 failed, 6 failed for good, 7 to be given up.
    pub state: i64,
    /// Why.
    #[serde(default)]
    pub desc: Option<String>,
}

/// The seed, or how long to wait for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WaitSeedReply {
    /// It is not there yet.
    pub should_wait: bool,
    /// Seconds.
    #[serde(default)]
    pub delay: u64,
    /// Null while it has to wait.
    #[serde(default)]
    pub seed: Option<Seed>,
}

/// Randomness of the chain that the proof answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Seed {
    /// 32 bytes, base64.
    pub seed: Randomness,
    /// The epoch that it is of.
    pub epoch: i64,
}

/// A proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Proof {
    /// Base64.
    pub proof: Base64Bytes,
}

/// What a sector's thread did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StateReport {
    /// The thread.
    pub worker: WorkerPlace,
    /// From where to where.
    pub state_change: StateChange,
    /// Null wipes the one that is stored.
    #[serde(default)]
    pub failure: Option<ReportedFailure>,
}

/// A thread of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WorkerPlace {
    /// The worker's name.
    pub instance: String,
    /// The thread's location.
    pub location: String,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StateChange {
    /// The state that was left.
    pub prev: String,
    /// The state that was reached.
    pub next: String,
    /// What led there; damocles's own worker writes `None`.
    pub event: String,
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReportedFailure {
    /// `Temporary`, `Permanent`, `Abort` or `Critical`.
    pub level: String,
    /// In words.
    pub desc: String,
}

/// What the sector manager thinks of a sector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StateReply {
    /// Which one.
    pub id: SectorId,
    /// It has ended, and only then a reason that is not empty says that it was given up.
    #[serde(default)]
    pub finalized: bool,
    /// `""` for a healthy sector.
    #[serde(default)]
    pub abort_reason: Option<String>,
}

/// What an upgrade takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SnapupSpec {
    /// Which sectors.
    pub sector: SectorSpec,
    /// Which deals.
    pub deals: DealsSpec,
}

/// A sector to put deals into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AllocatedSnapup {
    /// Which one.
    pub sector: Allocated,
    /// Deals and filler, in order.
    pub pieces: Vec<Piece>,
    /// What the chain knows of it.
    pub public: PublicReplica,
    /// Where it is.
    pub private: PrivateReplica,
}

/// What the chain knows of a replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PublicReplica {
    /// Its commitment.
    pub comm_r: Commitment,
}

/// Where a replica's files are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PrivateReplica {
    /// The name of a store.
    pub access_instance: String,
}

/// The proof of an upgrade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SnapupProof {
    /// Of the new replica.
    pub comm_r: Commitment,
    /// Of the new data.
    pub comm_d: Commitment,
    /// The name of the store that it is in.
    pub access_instance: String,
    /// Exactly the pieces that were handed out, filler too, in order.
    pub pieces: Vec<Cid>,
    /// Base64.
    pub proof: Base64Bytes,
}

/// A sector to seal again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AllocatedRebuild {
    /// Which one.
    pub sector: Allocated,
    /// Of its replica.
    pub ticket: Ticket,
    /// Its pieces, if it was sealed before v0.10.
    #[serde(default)]
    pub pieces: Option<Vec<OldPiece>>,
    /// Its pieces, else.
    #[serde(default, rename = "PiecesV2")]
    pub pieces_v2: Option<Vec<Piece>>,
    /// What the chain knows of its upgrade; it was upgraded if this is not null.
    #[serde(default)]
    pub upgrade_public: Option<PublicReplica>,
}

/// A piece to unseal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AllocatedUnseal {
    /// The sector that it is in.
    pub sector: Allocated,
    /// The piece.
    pub piece_cid: Cid,
    /// Where it begins, in unpadded bytes.
    pub offset: u64,
    /// In unpadded bytes.
    pub size: u64,
    /// Where the replica is.
    pub private_info: PrivateReplica,
    /// Of the replica.
    pub ticket: Ticket,
    /// Of the data, as it was pre-committed.
    pub comm_d: Commitment,
}

/// Which window-PoSt jobs a worker takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WdpostSpec {
    /// Actor ids.
    pub allowed_miners: Option<Vec<u64>>,
    /// Names of window-PoSt proofs.
    pub allowed_proof_types: Option<Vec<String>>,
}

/// A window-PoSt job: one partition, or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WdpostJob {
    /// The sector manager's own.
    pub id: String,
    /// What is to be proven.
    pub input: WdpostInput,
}

/// What is to be proven.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WdpostInput {
    /// All sectors of the partitions.
    pub sectors: Vec<WdpostSector>,
    /// The miner's actor id.
    pub miner_id: u64,
    /// The name of the window-PoSt proof.
    pub proof_type: String,
    /// Randomness of the chain.
    pub seed: Commitment,
}

/// A sector of a partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WdpostSector {
    /// Its number.
    pub sector_id: u64,
    /// Of its replica.
    pub comm_r: Commitment,
    /// Whether its files are those of an upgrade.
    pub upgrade: bool,
    /// Where they are.
    pub accesses: WdpostAccesses,
}

/// Names of stores, not paths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WdpostAccesses {
    /// The store with the replica.
    pub sealed_file: String,
    /// The store with its trees.
    pub cache_dir: String,
}

/// What a window-PoSt job yields: keys in lower case, for once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WdpostOutput {
    /// One for each partition, base64.
    pub proofs: Vec<Base64Bytes>,
    /// Numbers of the sectors that cannot be proven.
    pub faults: Vec<u64>,
}

/// All window-PoSt jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WdpostJobs {
    /// In no order.
    #[serde(default)]
    pub jobs: Option<Vec<WdpostJobState>>,
    /// How often each is handed out at most.
    #[serde(default)]
    pub max_try: u32,
}

/// A window-PoSt job as the sector manager sees it; times in Unix seconds, 0 for never.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WdpostJobState {
    /// The sector manager's own.
    pub id: String,
    /// `ready2run`, `running` or `finished`.
    pub state: String,
    /// The deadline, from 0.
    pub deadline_idx: u64,
    /// Their numbers, from 0.
    pub partitions: Option<Vec<u64>>,
    /// How often it was handed out.
    pub try_num: u32,
    /// What went wrong.
    pub error_reason: String,
    /// Who has it.
    pub worker_name: String,
    /// When it was handed out.
    pub started_at: u64,
    /// When its worker said so last.
    pub heartbeat_at: u64,
    /// When it ended.
    pub finished_at: u64,
    /// When it was made.
    pub created_at: u64,
    /// How many sectors it has.
    pub sectors: u64,
    /// How many could not be proven.
    pub faults: u64,
}

/// A store of the sector manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StoreInfo {
    /// By default its canonical path.
    pub name: String,
    /// On the sector manager's machine.
    #[serde(default)]
    pub path: String,
    /// For processors that transfer.
    #[serde(default)]
    pub meta: Option<BTreeMap<String, String>>,
}

/// What is needed of a sector's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorState {
    /// Which one.
    #[serde(rename = "ID")]
    pub id: SectorId,
    /// The registered number of its seal proof.
    #[serde(default)]
    pub sector_type: i64,
    /// What was reported last; absent if nothing was.
    #[serde(default)]
    pub latest_state: Option<StateReport>,
    /// It has ended.
    #[serde(default)]
    pub finalized: bool,
    /// Why it was given up.
    #[serde(default)]
    pub abort_reason: Option<String>,
    /// A piece of it is being unsealed.
    #[serde(default)]
    pub unsealing: bool,
}

/// How a sector is sealed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RebuildOptions {
    /// The sector manager knows its pieces.
    pub pieces_available: bool,
}

/// How a worker is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WorkerInfo {
    /// Its name; not empty.
    pub name: String,
    /// `host:port` of its socket; not empty.
    pub dest: String,
    /// Of its program.
    #[serde(default)]
    pub version: String,
    /// Its threads.
    pub summary: WorkerSummary,
}

/// How many threads a worker has, and what they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WorkerSummary {
    /// All of them.
    pub threads: u32,
    /// Those without a job.
    pub empty: u32,
    /// By an operator or by an error.
    pub paused: u32,
    /// At work.
    pub running: u32,
    /// For a slot or for others.
    pub waiting: u32,
    /// Those with an error.
    pub errors: u32,
}
