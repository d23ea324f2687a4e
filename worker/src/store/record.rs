//! What one thread knows and must not lose: a [`Record`], kept by [`super::database`], changed by
//! [`crate::thread::control`] alone.

mod format1;

use serde::{Deserialize, Serialize};
use shared_msgs::{
    id::Id,
    plan::{Plan, Stage, State},
    sector_manager::{
        AllocatedSector, Base64Bytes, Commitment, SectorPiece, Seed, Ticket, WdpostJob,
        WdpostOutput,
    },
    snapshot::PausedBy,
};

/// The version of a record's shape. Format 1 is read too, see [`format1`].
pub const FORMAT: u32 = 2;

/// Why bytes are no record that this version can use.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A newer version wrote them.
    #[error("it was written by a newer version (format {format})")]
    Newer {
        /// The format that they say they have.
        format: u32,
    },
    /// They are no record.
    #[error(transparent)]
    Unreadable(#[from] serde_json::Error),
}

/// Everything durable about a thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this shape.
    pub format: u32,
    /// Counts the thread's changes; never reused.
    pub revision: u64,
    /// The plan of the sector in hand.
    pub plan: Plan,
    /// Where the plan stands.
    pub state: State,
    /// The id of the request that this state's stage sends; a new one for each step, so that a step
    /// asked again after a crash is the same question.
    pub request_id: Id,
    /// Whether the thread works, or is held up by a pause.
    pub control: Control,
    /// The thread finishes what it has in hand and takes nothing new.
    #[serde(default)]
    pub cordoned: bool,
    /// Retries of the current stage so far.
    pub retry: u32,
    /// The newest failure, kept until the stage that failed succeeds.
    pub last_err: Option<String>,
    /// The stage that is running; still set at start-up, the process died in it.
    pub running: Option<Stage>,
    /// How often in a row the process died in the stage.
    pub deaths: u32,
    /// The state was set back: what the later stages left behind is to be removed first.
    #[serde(default)]
    pub went_back: bool,
    /// Who has decided here that the job is given up. Without this note nothing is removed from an
    /// attached store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up_by: Option<GivenUpBy>,
    /// The job is not this thread's any more: its files are to be kept aside, and nobody is told of
    /// an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub let_go: Option<LetGo>,
    /// What the thread has in hand.
    pub job: Option<Job>,
}

/// Whether a thread works. A pause is either pending or in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// It goes on from stage to stage.
    Working,
    /// It does, until its stage ends or waits for something.
    PausePending,
    /// It does nothing until somebody resumes it.
    Paused(Paused),
}

/// What a thread has in hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// A sector, of every plan but `wdpost`.
    Sector(Box<Sector>),
    /// A window-PoSt job, of plan `wdpost` alone.
    Wdpost(Box<Wdpost>),
}

/// Who has given a job up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GivenUpBy {
    /// An operator of this worker.
    Operator,
    /// The sector manager: it named a reason, or rejected what this thread handed in.
    SectorManager,
}

/// Why a job is let go of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetGo {
    /// What was said of the job, by whoever ended it.
    pub reason: String,
    /// When, Unix milliseconds by this machine's clock.
    pub since_ms: u64,
}

/// A pause that has taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Who paused the thread.
    pub by: PausedBy,
    /// When, Unix milliseconds by this machine's clock; used only to go on counting after a
    /// restart.
    pub since_ms: u64,
}

/// A sector and what its stages yielded. `plan::inputs` says which state needs what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sector {
    /// The sector and how to seal it.
    pub allocated: AllocatedSector,
    /// Its deals; empty for a committed-capacity sector.
    pub deals: Option<Vec<SectorPiece>>,
    /// The pieces in the unsealed file, in order.
    pub pieces: Option<Vec<PieceCommitment>>,
    /// Root of tree-d, once the pieces are there.
    pub comm_d: Option<Commitment>,
    /// Once it is assigned, before PC1.
    pub ticket: Option<Ticket>,
    /// Whether [`Blob::Pc1Out`] is stored.
    pub pc1_done: bool,
    /// The replica's commitment, from PC2 on.
    pub comm_r: Option<Commitment>,
    /// Set once a pre-commit was handed in.
    pub pre_commit_sent: bool,
    /// The chain refused the last pre-commit: the next one replaces it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pre_commit_failed: bool,
    /// The name of the attached store that has the files.
    pub persisted: Option<String>,
    /// Once the chain has it, before C1.
    pub seed: Option<Seed>,
    /// Whether [`Blob::C1Out`] is stored.
    pub c1_done: bool,
    /// Once it is made, as it is handed in.
    pub proof: Option<Base64Bytes>,
    /// Set once a proof was handed in.
    pub proof_sent: bool,
    /// The chain refused the last proof: the next one replaces it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proof_failed: bool,
    /// Why the sector is given up.
    pub abort_reason: Option<String>,
    /// The name of the attached store that its files are being brought to: there was none of its
    /// replicas before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persisting: Option<String>,
    /// That it is given up was reported; its files are being removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removing: bool,
    /// The replica's vanilla proofs were made and thrown away: it can be proven.
    #[serde(default)]
    pub sealed_checked: bool,
    /// What becomes, or became, of a sector without deals that gets some (FIP-0019).
    #[serde(default)]
    pub upgrade: Option<Upgrade>,
    /// The piece to get out of the sector.
    #[serde(default)]
    pub unseal: Option<UnsealPiece>,
}

/// The upgrade of a sector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The attached store with the old replica; the thread's own location if absent.
    pub source: Option<String>,
    /// The new replica's commitment as the chain knows it, where there is one already.
    pub known_comm_r: Option<Commitment>,
    /// The new pieces, in order.
    pub pieces: Option<Vec<PieceCommitment>>,
    /// Root of the new data's tree-d.
    pub comm_d: Option<Commitment>,
    /// The new replica's commitment.
    pub comm_r: Option<Commitment>,
    /// Once it is made, as it is handed in.
    pub proof: Option<Base64Bytes>,
}

/// A piece to unseal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnsealPiece {
    /// A piece CID, `baga…`.
    pub piece_cid: String,
    /// The commitment of the whole sector's data, which unsealing needs.
    pub comm_d: Commitment,
    /// Where it begins, in unpadded bytes.
    pub offset: u64,
    /// Its size, in unpadded bytes.
    pub size: u64,
    /// The attached store with the replica.
    pub store: String,
    /// Its bytes lie in the thread's location.
    pub done: bool,
}

/// A window-PoSt job and what it yielded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wdpost {
    /// As the sector manager handed it out.
    pub job: WdpostJob,
    /// What was generated, until it is handed in.
    pub output: Option<WdpostOutput>,
    /// Why the job is given up.
    pub abort_reason: Option<String>,
}

/// A piece in the unsealed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceCommitment {
    /// The root of the tree over its padded bytes.
    pub commitment: Commitment,
    /// Its size, in unpadded bytes.
    pub size: u64,
}

/// Large outputs, kept beside the record and written once. JSON, as the proofs library and the
/// processors write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Blob {
    /// Output of pre-commit phase 1.
    Pc1Out,
    /// Output of commit phase 1.
    C1Out,
}

impl Blob {
    /// Every large output that there is.
    pub const ALL: &[Blob] = <Blob as strum::VariantArray>::VARIANTS;

    /// Its name in the store.
    pub fn key(self) -> &'static str {
        self.into()
    }
}

impl Record {
    /// The record of a thread that has never had a sector.
    pub fn new(plan: Plan) -> Self {
        Record {
            format: FORMAT,
            revision: 0,
            plan,
            state: State::Empty,
            request_id: Id::generate(),
            control: Control::Working,
            cordoned: false,
            retry: 0,
            last_err: None,
            running: None,
            deaths: 0,
            went_back: false,
            given_up_by: None,
            let_go: None,
            job: None,
        }
    }

    /// Reads a record of this format or of an older one; refuses one of a newer version.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        match serde_json::from_slice(bytes)? {
            Format { format: 1 } => {
                Ok(serde_json::from_slice::<format1::Record>(bytes).map(Record::from)?)
            }
            Format { format: FORMAT } => Ok(serde_json::from_slice(bytes)?),
            Format { format } => Err(ReadError::Newer { format }),
        }
    }

    /// The pause in force.
    pub fn paused(&self) -> Option<Paused> {
        match self.control {
            Control::Paused(paused) => Some(paused),
            Control::Working | Control::PausePending => None,
        }
    }

    /// Whether a pause is in force.
    pub fn is_paused(&self) -> bool {
        self.paused().is_some()
    }

    /// Whether a pause takes effect when the stage ends or waits.
    pub fn is_pause_pending(&self) -> bool {
        self.control == Control::PausePending
    }

    /// The sector in hand.
    pub fn sector(&self) -> Option<&Sector> {
        match &self.job {
            Some(Job::Sector(sector)) => Some(sector),
            Some(Job::Wdpost(_)) | None => None,
        }
    }

    /// The window-PoSt job in hand.
    pub fn wdpost(&self) -> Option<&Wdpost> {
        match &self.job {
            Some(Job::Wdpost(wdpost)) => Some(wdpost),
            Some(Job::Sector(_)) | None => None,
        }
    }

    /// Whether its job ends because it failed for good, and no operator wanted that.
    pub fn failed_for_good(&self) -> bool {
        let given_up =
            self.state == State::Aborted && self.given_up_by != Some(GivenUpBy::Operator);
        given_up || self.let_go.is_some()
    }

    /// Whether an output still belongs to it.
    pub fn keeps(&self, blob: Blob) -> bool {
        let sector = self.sector();
        match blob {
            Blob::Pc1Out => sector.is_some_and(|sector| sector.pc1_done),
            Blob::C1Out => sector.is_some_and(|sector| sector.c1_done),
        }
    }

    /// The name of what is in hand, see [`Job::name`].
    pub fn job_name(&self) -> Option<String> {
        self.job.as_ref().map(Job::name)
    }
}

impl Job {
    /// The sector as operators write it (`s-t010000-2`), or the window-PoSt job's id.
    pub fn name(&self) -> String {
        match self {
            Job::Sector(sector) => sector.allocated.id.to_string(),
            Job::Wdpost(wdpost) => wdpost.job.id.clone(),
        }
    }

    /// Why it is given up.
    pub fn abort_reason(&self) -> Option<&str> {
        match self {
            Job::Sector(sector) => sector.abort_reason.as_deref(),
            Job::Wdpost(wdpost) => wdpost.abort_reason.as_deref(),
        }
    }

    pub(crate) fn set_abort_reason(&mut self, reason: Option<String>) {
        match self {
            Job::Sector(sector) => sector.abort_reason = reason,
            Job::Wdpost(wdpost) => wdpost.abort_reason = reason,
        }
    }
}

impl From<Sector> for Job {
    fn from(sector: Sector) -> Self {
        Job::Sector(Box::new(sector))
    }
}

impl From<Wdpost> for Job {
    fn from(wdpost: Wdpost) -> Self {
        Job::Wdpost(Box::new(wdpost))
    }
}

impl Sector {
    /// A sector that nothing was done with yet.
    pub fn new(allocated: AllocatedSector) -> Self {
        Sector {
            allocated,
            deals: None,
            pieces: None,
            comm_d: None,
            ticket: None,
            pc1_done: false,
            comm_r: None,
            pre_commit_sent: false,
            pre_commit_failed: false,
            persisted: None,
            seed: None,
            c1_done: false,
            proof: None,
            proof_sent: false,
            proof_failed: false,
            abort_reason: None,
            persisting: None,
            removing: false,
            sealed_checked: false,
            upgrade: None,
            unseal: None,
        }
    }
}
