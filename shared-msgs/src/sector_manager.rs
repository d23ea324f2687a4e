//! What a worker asks of the sector manager: `sector_manager.<w>.<method>`, with its own name as
//! `<w>`. Who asks is known by the subject; a name in a request must be the same.
//!
//! The messages hold exactly the information of damocles's sector-manager interface (v0.11), as
//! named fields in snake_case, so that a relay to a running damocles sector manager is a pure
//! mapping. What changes something carries a `request_id` beside: the same id gets the same result,
//! however often it is asked.
//!
//! A reply is `{"result": …}` ([`SectorManagerReply`]) or an [`crate::error::ErrorReply`].
//!
//! Decision 029 in `docs/decisions`.

use std::{fmt, str::FromStr};

use crate::id::Id;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

mod base64_bytes;
mod piece_cid;
pub use base64_bytes::{Base64Bytes, Randomness};
pub use piece_cid::{NoPieceCid, PieceCidError, piece_cid, piece_commitment, replica_cid};

/// A request that a sector manager answers, with its method's name and the type of its result.
pub trait SectorManagerRequest: Serialize + DeserializeOwned + Send + Sync {
    /// The last token of the subject.
    const METHOD: &'static str;
    /// What the sector manager answers.
    type Reply: Serialize + DeserializeOwned + Send;
}

/// A worker's request: `sector_manager.<w>.<method>`.
pub trait WorkerRequest: SectorManagerRequest {
    /// The worker that the request names beside its subject.
    fn worker(&self) -> Option<&str> {
        None
    }
}

/// A successful answer; a refusal is an [`ErrorReply`](crate::error::ErrorReply).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SectorManagerReply<T> {
    /// The method's result; null where the sector manager has nothing to give.
    pub result: T,
}

/// A commitment: the root of a Merkle tree, 32 bytes.
pub type Commitment = [u8; 32];

/// A sector of a miner, printed `s-t0<miner>-<number>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SectorId {
    /// The miner's actor id: 10000 for t010000.
    pub miner: u64,
    /// The sector's number, unique for its miner.
    pub number: u64,
}

impl fmt::Display for SectorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s-t0{}-{}", self.miner, self.number)
    }
}

/// This is no sector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no sector: write it as s-t0<miner>-<number>, e.g. s-t010000-2")]
pub struct SectorIdError(pub String);

impl FromStr for SectorId {
    type Err = SectorIdError;

    fn from_str(text: &str) -> Result<Self, SectorIdError> {
        let parse = || {
            let (miner, number) = text.strip_prefix("s-t0")?.split_once('-')?;
            Some(SectorId { miner: miner.parse().ok()?, number: number.parse().ok()? })
        };
        match parse() {
            Some(sector) if sector.to_string() == text => Ok(sector),
            _ => Err(SectorIdError(text.to_owned())),
        }
    }
}

/// A registered seal proof type (Filecoin actors, `RegisteredSealProof`). In messages it is its number,
/// e.g. 5 for 2 KiB V1_1; one that does not exist cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct SealProofType {
    /// The PoRep's version; non-interactive ones go with plan `niporep` alone.
    pub version: SealVersion,
    /// The bytes of each sector that it proves.
    pub size: SectorSize,
}

/// The versions of seal proofs, in the order of their registered numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SealVersion {
    /// Of networks before version 7; nothing is sealed with it any more.
    V1,
    /// With a graph that was mended; what a sector is sealed with by default.
    V1_1,
    /// The same with synthetic proofs (FIP-0059).
    Synthetic,
    /// The non-interactive PoRep (FIP-0092).
    NonInteractive,
}

/// The sector sizes that Filecoin has, in the order in which the registered numbers of each version
/// list them. Parsed from their names, in capitals or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumString, strum::IntoStaticStr)]
#[strum(ascii_case_insensitive)]
pub enum SectorSize {
    /// 2,048 bytes, for tests and development networks.
    #[strum(serialize = "2KiB")]
    S2KiB,
    /// 8 MiB, for development networks.
    #[strum(serialize = "8MiB")]
    S8MiB,
    /// 512 MiB, for development networks.
    #[strum(serialize = "512MiB")]
    S512MiB,
    /// 32 GiB, one of the two sizes of mainnet.
    #[strum(serialize = "32GiB")]
    S32GiB,
    /// 64 GiB, one of the two sizes of mainnet.
    #[strum(serialize = "64GiB")]
    S64GiB,
}

/// No registered seal proof type has this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seal proof type {0} does not exist")]
pub struct UnknownSealProofType(i64);

impl SectorSize {
    /// From the smallest to the largest, as the registered numbers have them.
    pub const ALL: [SectorSize; 5] = [
        SectorSize::S2KiB,
        SectorSize::S8MiB,
        SectorSize::S512MiB,
        SectorSize::S32GiB,
        SectorSize::S64GiB,
    ];

    /// The one of so many bytes; `None` for a size that Filecoin does not have.
    pub fn of_bytes(bytes: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|size| size.bytes() == bytes)
    }

    /// Bytes of a sector, fr32 padding included.
    pub fn bytes(self) -> u64 {
        match self {
            SectorSize::S2KiB => 2 << 10,
            SectorSize::S8MiB => 8 << 20,
            SectorSize::S512MiB => 512 << 20,
            SectorSize::S32GiB => 32 << 30,
            SectorSize::S64GiB => 64 << 30,
        }
    }

    /// The size as people write it: `32GiB`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The name of the update proof type (FIP-0019).
    pub fn update_name(self) -> String {
        format!("StackedDrg{}V1", self.name())
    }

    /// The name of the window-PoSt proof type.
    pub fn window_post_name(self) -> String {
        format!("StackedDrgWindow{}V1_2", self.name())
    }
}

impl SealVersion {
    const ALL: [SealVersion; 4] =
        [SealVersion::V1, SealVersion::V1_1, SealVersion::Synthetic, SealVersion::NonInteractive];

    /// The proof type of this version for a sector size.
    pub fn of(self, size: SectorSize) -> SealProofType {
        SealProofType { version: self, size }
    }
}

impl SealProofType {
    /// The name that the proofs library and external processors use for it.
    pub fn name(self) -> String {
        let version = match self.version {
            SealVersion::V1 => "V1",
            SealVersion::V1_1 => "V1_1",
            SealVersion::Synthetic => "V1_1_Feat_SyntheticPoRep",
            SealVersion::NonInteractive => "V1_2_Feat_NonInteractivePoRep",
        };
        format!("StackedDrg{}{version}", self.size.name())
    }

    /// The registered number, from 0: the versions one after the other, each with every size.
    pub fn number(self) -> i64 {
        self.version as i64 * SectorSize::ALL.len() as i64 + self.size as i64
    }
}

impl TryFrom<i64> for SealProofType {
    type Error = UnknownSealProofType;

    fn try_from(number: i64) -> Result<Self, UnknownSealProofType> {
        let all = SealVersion::ALL.into_iter().flat_map(|v| SectorSize::ALL.map(|size| v.of(size)));
        all.into_iter().find(|proof| proof.number() == number).ok_or(UnknownSealProofType(number))
    }
}

impl From<SealProofType> for i64 {
    fn from(proof: SealProofType) -> i64 {
        proof.number()
    }
}

/// Which sectors a thread takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllocateSectorSpec {
    /// Actor ids; all of the sector manager's if absent.
    pub allowed_miners: Option<Vec<u64>>,
    /// Seal proof types; any if absent.
    pub allowed_proof_types: Option<Vec<SealProofType>>,
}

/// A sector that the worker is to seal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocatedSector {
    /// Which one, as `{miner, number}`.
    pub id: SectorId,
    /// How to seal it.
    pub proof_type: SealProofType,
}

/// Asks for a new sector; null when there is none to seal now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocateSector {
    /// The same id gets the same sector.
    pub request_id: Id,
    /// Which sectors will do.
    #[serde(default)]
    pub spec: AllocateSectorSpec,
}

/// How many deals a sector takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AcquireDealsSpec {
    /// At most so many deals; the sector manager's own limit holds if absent.
    pub max_deals: Option<u32>,
    /// At least so many bytes of the sector.
    pub min_used_space: Option<u64>,
}

/// Asks for a sector's deals; null means none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AcquireDeals {
    /// The same id gets the same deals.
    pub request_id: Id,
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
    /// What the sector can take; anything if absent.
    #[serde(default)]
    pub spec: AcquireDealsSpec,
}

/// A piece of a sector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SectorPiece {
    /// Its padded size, and its commitment as a CID.
    pub piece: PieceInfo,
    /// The deal; a piece without one is filler.
    #[serde(default)]
    pub deal_info: Option<DealInfo>,
    /// Where its bytes can be had by HTTP, for workers that do not have them in a directory of
    /// their own.
    #[serde(default)]
    pub url: Option<String>,
}

/// A piece's size and commitment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PieceInfo {
    /// In bytes, padded: a power of two.
    pub size: u64,
    /// The commitment as a CID, `baga…`.
    pub piece_cid: String,
}

/// Bytes of data that so many padded bytes hold: fr32 padding puts 2 bits after every 254 (Filecoin
/// spec, Piece: data representation).
pub fn unpadded(padded: u64) -> u64 {
    padded / 128 * 127
}

/// The deal that a piece belongs to. A piece whose id for its market is 0 is filler: zeros.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DealInfo {
    /// The deal on the built-in market.
    pub deal_id: u64,
    /// The allocation of a direct-data-onboarding deal.
    pub allocation_id: u64,
    /// Unpadded bytes of the client's data.
    pub payload_size: u64,
    /// Whether it is a deal of the built-in market.
    pub is_builtin_market: bool,
}

impl DealInfo {
    /// Whether there are bytes of a client: else the piece is filler.
    pub fn has_data(&self) -> bool {
        if self.is_builtin_market { self.deal_id != 0 } else { self.allocation_id != 0 }
    }
}

impl SectorPiece {
    /// Whether there are bytes of a client in it: else it is filler, zeros.
    pub fn has_data(&self) -> bool {
        self.deal_info.as_ref().is_some_and(DealInfo::has_data)
    }
}

/// Asks for the ticket that the replica is made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssignTicket {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
}

/// Randomness of the chain at an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// 32 bytes from the chain; base64 in JSON.
    pub ticket: Randomness,
    /// The chain epoch it is of.
    pub epoch: i64,
}

/// What goes on chain before the proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreCommitOnChainInfo {
    /// Root of the tree over the sealed replica, 32 bytes.
    pub comm_r: Commitment,
    /// Root of the tree over the unsealed data, 32 bytes.
    pub comm_d: Commitment,
    /// The ticket that the replica was made with.
    pub ticket: Ticket,
}

/// Hands a pre-commit in, which the sector manager sends to the chain; asked for with
/// [`PollPreCommitState`] then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubmitPreCommit {
    /// The same id gets the same answer.
    pub request_id: Id,
    /// Which one, and its seal proof type.
    pub sector: AllocatedSector,
    /// What goes on the chain.
    pub info: PreCommitOnChainInfo,
    /// Replaces an earlier submission.
    pub reset: bool,
}

/// How a submission was received.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubmitReply {
    /// What became of the submission, not of the message on chain.
    pub res: SubmitResult,
    /// Why, in a sentence.
    #[serde(default)]
    pub desc: Option<String>,
}

/// The results of a submission; damocles's numbers 1 to 5 in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubmitResult {
    /// The submission was taken, and goes on chain.
    Accepted,
    /// The same was taken before, and nothing is sent again.
    DuplicateSubmit,
    /// Differs from what was submitted before.
    MismatchedSubmission,
    /// The sector is to be given up.
    Rejected,
    /// The sector manager does not find the sector's files.
    FilesMissed,
}

/// Asks what became of a pre-commit on chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PollPreCommitState {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
}

/// What became of a message on chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PollReply {
    /// How far the message is, from the sector manager's point of view.
    pub state: OnChainState,
    /// Why, in a sentence.
    #[serde(default)]
    pub desc: Option<String>,
}

/// States of a message on chain; damocles's numbers 1 to 7 in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnChainState {
    /// The message was not sent yet.
    Pending,
    /// In a block that is not final.
    Packed,
    /// The message is final on chain, and succeeded.
    Landed,
    /// The sector manager knows of no such message.
    NotFound,
    /// The message failed, and another one may succeed: to be submitted again.
    Failed,
    /// Submitting the same again will never succeed.
    PermFailed,
    /// The sector is to be given up.
    ShouldAbort,
}

/// Says that a sector's files are in a store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubmitPersisted {
    /// The same id gets the same answer.
    pub request_id: Id,
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
    /// As the worker that keeps it configures it.
    pub store: String,
    /// Whether they are the files of an upgrade.
    pub is_upgrade: bool,
}

/// Asks for the seed that the proof's challenges come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitSeed {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
    /// How it is sealed.
    pub proof_type: SealProofType,
}

/// The seed, or how long to wait for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitSeedReply {
    /// The seed is not there yet.
    pub should_wait: bool,
    /// Ask again after so many seconds.
    pub delay: u64,
    /// What the proof answers; absent while it has to wait.
    #[serde(default)]
    pub seed: Option<Seed>,
}

/// The interactive randomness of a sector.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seed {
    /// 32 bytes from the chain; base64 in JSON.
    pub seed: Randomness,
    /// The chain epoch it is of.
    pub epoch: i64,
}

/// Hands a proof in, which the sector manager sends to the chain; asked for with [`PollProofState`]
/// then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubmitProof {
    /// The same id gets the same answer.
    pub request_id: Id,
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
    /// As the chain takes it; base64 in JSON.
    pub proof: Base64Bytes,
    /// Replaces an earlier submission.
    pub reset: bool,
}

/// Asks what became of a proof on chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PollProofState {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
}

/// The event of a [`ReportState`] that says only that the sector is still in hand; both states are
/// the same then.
pub const HEARTBEAT: &str = "Heartbeat";

/// Tells the sector manager what a sector's thread did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportState {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
    /// The thread that has it.
    pub worker: WorkerPlace,
    /// States before and after, and the event between them.
    pub state_change: StateChange,
    /// The failure, if it is one.
    #[serde(default)]
    pub failure: Option<ReportedFailure>,
}

/// A thread of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerPlace {
    /// As the user wrote it, see [`crate::name`].
    pub instance: String,
    /// Path of the location of the thread.
    pub location: String,
}

/// A step of a plan, in the names of [`crate::plan`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateChange {
    /// Name of the state that was left, e.g. `PC1Done`.
    pub prev: String,
    /// Name of the state that was reached.
    pub next: String,
    /// What led from one to the other.
    pub event: String,
}

/// A failure and its level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportedFailure {
    /// `temporary`, `permanent`, `abort` or `critical`.
    pub level: String,
    /// In words, for operators.
    pub desc: String,
}

/// What the sector manager thinks of the sector. With an `abort_reason` the worker gives it up
/// (damocles issue 737); a sector that is `finalized` before the worker has said so is somebody
/// else's, and the worker lets go of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportStateReply {
    /// Which one, as `{miner, number}`.
    pub id: SectorId,
    /// The sector is done with.
    #[serde(default)]
    pub finalized: bool,
    /// Why it was ended; absent or empty if it was not.
    #[serde(default)]
    pub abort_reason: Option<String>,
}

/// Says that a sector is finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportFinalized {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
}

/// Says that a sector was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportAborted {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
    /// What the operating system or the parser says.
    pub reason: String,
}

/// Asks for a sector to put deals into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocateSnapupSector {
    /// The same id gets the same sector.
    pub request_id: Id,
    /// Which sectors will do.
    #[serde(default)]
    pub sector: AllocateSectorSpec,
    /// What the sector can take; anything if absent.
    #[serde(default)]
    pub deals: AcquireDealsSpec,
}

/// A sector to put deals into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocatedSnapupSector {
    /// Which one, and its seal proof type.
    pub sector: AllocatedSector,
    /// What the sector gets, deals and fillers in order.
    pub pieces: Vec<SectorPiece>,
    /// What the chain knows of it.
    pub public: PublicReplica,
    /// Where its files are.
    pub private: PrivateReplica,
}

/// What the chain knows of a replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublicReplica {
    /// Root of the tree over the sealed replica, 32 bytes.
    pub comm_r: Commitment,
}

/// Where a replica's files are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrivateReplica {
    /// As the worker that keeps it configures it.
    pub access_instance: String,
}

/// Hands the proof of an upgrade in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubmitSnapupProof {
    /// The same id gets the same answer.
    pub request_id: Id,
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
    /// The new replica's commitment.
    pub comm_r: Commitment,
    /// The new data's commitment.
    pub comm_d: Commitment,
    /// The store that the files are in.
    pub access_instance: String,
    /// CIDs of the pieces, `baga…`.
    pub pieces: Vec<String>,
    /// As the chain takes it; base64 in JSON.
    pub proof: Base64Bytes,
}

/// Asks for a sector to seal again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocateRebuildSector {
    /// The same id gets the same sector.
    pub request_id: Id,
    /// Which sectors will do.
    #[serde(default)]
    pub spec: AllocateSectorSpec,
}

/// A sector to seal again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocatedRebuildSector {
    /// Which one, and its seal proof type.
    pub sector: AllocatedSector,
    /// The ticket that the replica was made with.
    pub ticket: Ticket,
    /// The deals in it.
    #[serde(default)]
    pub pieces: Option<Vec<SectorPiece>>,
    /// The deals in it, in the form of damocles's newer interface.
    #[serde(default)]
    pub pieces_v2: Option<Vec<SectorPiece>>,
    /// Whether it was upgraded.
    pub is_snap_up: bool,
    /// What the chain knows of the upgrade.
    #[serde(default)]
    pub upgrade_public: Option<PublicReplica>,
}

/// Asks for a piece to unseal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocateUnsealSector {
    /// The same id gets the same piece.
    pub request_id: Id,
    /// Which sectors will do.
    #[serde(default)]
    pub spec: AllocateSectorSpec,
}

/// A piece to unseal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocatedUnsealSector {
    /// Which one, and its seal proof type.
    pub sector: AllocatedSector,
    /// A piece CID, `baga…`; see [`piece_cid()`].
    pub piece_cid: String,
    /// Root of the tree over the unsealed data, 32 bytes.
    pub comm_d: Commitment,
    /// The ticket that the replica was made with.
    pub ticket: Ticket,
    /// Where the piece begins, in unpadded bytes.
    pub offset: u64,
    /// The piece's size, in unpadded bytes.
    pub size: u64,
    /// Where the sector's files are.
    pub private_info: PrivateReplica,
}

/// Says how unsealing a piece ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AchieveUnsealSector {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
    /// A piece CID, `baga…`; see [`piece_cid()`].
    pub piece_cid: String,
    /// What went wrong; empty if it is done.
    pub error: String,
}

/// Asks where to put an unsealed piece: a list of URLs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AcquireUnsealDest {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
    /// A piece CID, `baga…`; see [`piece_cid()`].
    pub piece_cid: String,
}

/// Asks for window-PoSt jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocateWdpostJob {
    /// The same id gets the same jobs.
    pub request_id: Id,
    /// Actor ids; any if absent.
    #[serde(default)]
    pub allowed_miners: Option<Vec<u64>>,
    /// Names of window-PoSt proof types; any if absent.
    #[serde(default)]
    pub allowed_proof_types: Option<Vec<String>>,
    /// At most so many.
    pub count: u32,
    /// As the user wrote it, see [`crate::name`].
    pub worker: String,
}

/// A partition to prove, as it is handed to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WdpostJob {
    /// As the sector manager gave it.
    pub id: String,
    /// The sectors of a partition, and the challenge.
    pub input: WdpostInput,
}

/// The sectors of a partition, and the challenge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WdpostInput {
    /// At most a partition of them.
    pub sectors: Vec<WdpostSector>,
    /// The miner's actor id: 10000 for t010000.
    pub miner_id: u64,
    /// The name of the window-PoSt proof type.
    pub proof_type: String,
    /// 32 bytes of randomness from the chain.
    pub seed: Commitment,
}

/// A sector of a partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WdpostSector {
    /// Unique for its miner.
    pub sector_id: u64,
    /// Root of the tree over the sealed replica, 32 bytes.
    pub comm_r: Commitment,
    /// Whether it was upgraded.
    pub upgrade: bool,
    /// Where its files are.
    pub accesses: WdpostAccesses,
}

/// Where a sealed sector's files are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WdpostAccesses {
    /// Path or URL of the replica.
    pub sealed_file: String,
    /// The directory with its trees.
    pub cache_dir: String,
}

/// Says that window-PoSt jobs are being worked on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WdpostHeartbeat {
    /// As the sector manager gave them.
    pub jobs: Vec<String>,
    /// As the user wrote it, see [`crate::name`].
    pub worker: String,
}

/// Hands a window-PoSt proof in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WdpostFinish {
    /// The same id gets the same answer.
    pub request_id: Id,
    /// As the sector manager gave it.
    pub job: String,
    /// The worker's name: whoever has lost the job does not end it.
    #[serde(default)]
    pub worker: Option<String>,
    /// The proofs; absent if it failed.
    #[serde(default)]
    pub output: Option<WdpostOutput>,
    /// What went wrong; empty if it is done.
    #[serde(default)]
    pub error: String,
}

/// What a window-PoSt job yields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WdpostOutput {
    /// One for each partition; base64 in JSON.
    pub proofs: Vec<Base64Bytes>,
    /// Numbers of the sectors that cannot be proven.
    pub faults: Vec<u64>,
}

/// Reserves space for a sector; null when no store has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreReserveSpace {
    /// The same id gets the same store.
    pub request_id: Id,
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
    /// How much it will take, in bytes.
    pub size: u64,
    /// Names of the stores that will do.
    #[serde(default)]
    pub candidates: Vec<String>,
}

/// A store; null when there is none of that name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GetStoreBasicInfo {
    /// As the worker that keeps it configures it.
    pub name: String,
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreBasicInfo {
    /// As the worker that keeps it configures it.
    pub name: String,
    /// Its path on the sector manager's machine.
    pub path: String,
    /// Free-form facts, meant for processors that transfer; absent where there are none.
    #[serde(default)]
    pub meta: Option<std::collections::BTreeMap<String, String>>,
}

/// A reply that says only that it was done.
pub type Done = ();

// A request that names its worker says with `of` where.
macro_rules! methods {
    ($($request:ident = $method:literal -> $reply:ty $(, of $worker:expr)?;)*) => {
        $(
            impl SectorManagerRequest for $request {
                const METHOD: &'static str = $method;
                type Reply = $reply;
            }
            impl WorkerRequest for $request {
                $(fn worker(&self) -> Option<&str> {
                    let named: fn(&Self) -> Option<&str> = $worker;
                    named(self)
                })?
            }
        )*
    };
}

methods! {
    AllocateSector = "allocate_sector" -> Option<AllocatedSector>;
    AcquireDeals = "acquire_deals" -> Option<Vec<SectorPiece>>;
    AssignTicket = "assign_ticket" -> Ticket;
    SubmitPreCommit = "submit_pre_commit" -> SubmitReply;
    PollPreCommitState = "poll_pre_commit_state" -> PollReply;
    SubmitPersisted = "submit_persisted" -> bool;
    WaitSeed = "wait_seed" -> WaitSeedReply;
    SubmitProof = "submit_proof" -> SubmitReply;
    PollProofState = "poll_proof_state" -> PollReply;
    ReportState = "report_state" -> ReportStateReply, of |report| Some(&report.worker.instance);
    ReportFinalized = "report_finalized" -> Done;
    ReportAborted = "report_aborted" -> Done;
    AllocateSnapupSector = "allocate_snapup_sector" -> Option<AllocatedSnapupSector>;
    SubmitSnapupProof = "submit_snapup_proof" -> SubmitReply;
    AllocateRebuildSector = "allocate_rebuild_sector" -> Option<AllocatedRebuildSector>;
    AllocateUnsealSector = "allocate_unseal_sector" -> Option<AllocatedUnsealSector>;
    AchieveUnsealSector = "achieve_unseal_sector" -> Done;
    AcquireUnsealDest = "acquire_unseal_dest" -> Vec<String>;
    AllocateWdpostJob = "allocate_wdpost_job" -> Vec<WdpostJob>, of |request| Some(&request.worker);
    WdpostHeartbeat = "wdpost_heartbeat" -> Done, of |beat| Some(&beat.worker);
    WdpostFinish = "wdpost_finish" -> Done, of |finish| finish.worker.as_deref();
    StoreReserveSpace = "store_reserve_space" -> Option<StoreBasicInfo>;
    GetStoreBasicInfo = "store_basic_info" -> Option<StoreBasicInfo>;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::codec::{Encoding, decode};

    #[test]
    fn sectors_print_and_parse_as_operators_know_them() {
        let sector = SectorId { miner: 10000, number: 2 };
        assert_eq!(sector.to_string(), "s-t010000-2");
        assert_eq!("s-t010000-2".parse(), Ok(sector));
        for wrong in
            ["", "s-t010000", "s-t010000-", "t010000-2", "s-t010000-02", "s-t010000-2x", "s-t0+1-2"]
        {
            assert!(wrong.parse::<SectorId>().is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn proof_types_have_filecoins_numbers_names_and_sizes() {
        let numbered = |number| SealProofType::try_from(number).unwrap();
        let size = SectorSize::of_bytes(2048).unwrap();
        let proof = SealVersion::V1_1.of(size);
        assert_eq!((proof, proof.number()), (numbered(5), 5));
        assert_eq!(proof.name(), "StackedDrg2KiBV1_1");
        assert_eq!(numbered(13).name(), "StackedDrg32GiBV1_1_Feat_SyntheticPoRep");
        assert_eq!(numbered(15).name(), "StackedDrg2KiBV1_2_Feat_NonInteractivePoRep");
        assert_eq!(numbered(8).size.bytes(), 32 << 30);
        assert_eq!(numbered(10).version, SealVersion::Synthetic);
        for number in 0..20 {
            assert_eq!(numbered(number).number(), number);
            assert_eq!(serde_json::to_string(&numbered(number)).unwrap(), number.to_string());
        }
        for unknown in [-1, 20, i64::MAX, i64::MIN] {
            let refused = serde_json::from_str::<SealProofType>(&unknown.to_string()).unwrap_err();
            let expected = format!("seal proof type {unknown} does not exist");
            assert!(refused.to_string().contains(&expected), "{refused}");
        }
        assert_eq!(SectorSize::of_bytes(4096), None);
        let names = [
            size.update_name(),
            size.window_post_name(),
            SealVersion::Synthetic.of(size).name(),
            SealVersion::NonInteractive.of(SectorSize::S32GiB).name(),
        ];
        let expected = [
            "StackedDrg2KiBV1",
            "StackedDrgWindow2KiBV1_2",
            "StackedDrg2KiBV1_1_Feat_SyntheticPoRep",
            "StackedDrg32GiBV1_2_Feat_NonInteractivePoRep",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn requests_and_replies_are_pinned_in_json() {
        let request = AllocateSector {
            request_id: Id::NIL,
            spec: AllocateSectorSpec {
                allowed_miners: Some(vec![10000]),
                allowed_proof_types: Some(vec![SealVersion::V1_1.of(SectorSize::S2KiB)]),
            },
        };
        let expected = json!({
            "request_id": "00000000-0000-0000-0000-000000000000",
            "spec": {"allowed_miners": [10000], "allowed_proof_types": [5]},
        });
        assert_eq!(serde_json::to_value(request).unwrap(), expected);
        let sector = AllocatedSector {
            id: SectorId { miner: 10000, number: 2 },
            proof_type: SealVersion::V1_1.of(SectorSize::S2KiB),
        };
        let expected = json!({"result": {"id": {"miner": 10000, "number": 2}, "proof_type": 5}});
        assert_eq!(
            serde_json::to_value(SectorManagerReply { result: Some(sector) }).unwrap(),
            expected
        );
        let ticket = Ticket { ticket: Randomness([1; 32]), epoch: 7 };
        let expected =
            json!({"ticket": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "epoch": 7});
        assert_eq!(serde_json::to_value(ticket).unwrap(), expected);
        let reply = SubmitReply { res: SubmitResult::MismatchedSubmission, desc: None };
        assert_eq!(
            serde_json::to_value(reply).unwrap(),
            json!({"res": "mismatched_submission", "desc": null})
        );
    }

    #[test]
    fn nothing_to_give_and_done_are_replies_too() {
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            let nothing = encoding
                .encode(&SectorManagerReply::<Option<AllocatedSector>> { result: None })
                .unwrap();
            assert_eq!(
                decode::<SectorManagerReply<Option<AllocatedSector>>>(&nothing).unwrap().result,
                None
            );
            let done = encoding.encode(&SectorManagerReply::<Done> { result: () }).unwrap();
            assert_eq!(decode::<SectorManagerReply<Done>>(&done).unwrap().result, ());
        }
    }
}
