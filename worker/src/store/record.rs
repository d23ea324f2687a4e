//! What one thread knows and must not lose: a [`Record`] in a redb file in its location, one transaction a step.
//!
//! redb's own file lock keeps a second process out of a location; it is freed by kill -9.

use std::{path::Path, sync::Arc};

use redb::{Database, ReadableDatabase, TableDefinition};
use serde::{Deserialize, Serialize};
use shared_msgs::{
    id::Id,
    plan::{Plan, Stage, State},
    sealer::{AllocatedSector, Base64Bytes, Commitment, SectorPiece, Seed, Ticket, WdpostJob, WdpostOutput},
    snapshot::PausedBy,
};

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("thread");
const RECORD: &str = "record";
const FORMAT: u32 = 1;
// The record is a few KiB; redb's default would be 1 GiB.
const CACHE_BYTES: usize = 1 << 20;

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
    /// The id of the request that this state's stage sends; a new one for each step, so that a step asked again after
    /// a crash is the same question.
    pub request_id: Id,
    /// Set while the thread is paused.
    pub paused: Option<Paused>,
    /// The thread pauses when its stage ends.
    pub pause_pending: bool,
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
    /// The sector in hand.
    pub sector: Option<Sector>,
    /// The window-PoSt job in hand; such a thread has no sector.
    #[serde(default)]
    pub wdpost: Option<Wdpost>,
}

/// A pause that has taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Who paused the thread.
    pub by: PausedBy,
    /// When, Unix milliseconds by this machine's clock; used only to go on counting after a restart.
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
    /// Root of tree-d.
    pub comm_d: Option<Commitment>,
    /// The ticket.
    pub ticket: Option<Ticket>,
    /// Whether [`Blob::Pc1Out`] is stored.
    pub pc1_done: bool,
    /// The replica's commitment.
    pub comm_r: Option<Commitment>,
    /// Set once a pre-commit was handed in: the next one replaces it.
    pub pre_commit_sent: bool,
    /// The name of the attached store that has the files.
    pub persisted: Option<String>,
    /// The seed.
    pub seed: Option<Seed>,
    /// Whether [`Blob::C1Out`] is stored.
    pub c1_done: bool,
    /// The proof.
    pub proof: Option<Base64Bytes>,
    /// Set once a proof was handed in: the next one replaces it.
    pub proof_sent: bool,
    /// Why the sector is given up.
    pub abort_reason: Option<String>,
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
    /// The proof.
    pub proof: Option<Base64Bytes>,
}

/// A piece to unseal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnsealPiece {
    /// Its CID.
    pub piece_cid: String,
    /// The data's commitment.
    pub comm_d: Commitment,
    /// Where it begins, in unpadded bytes.
    pub offset: u64,
    /// Unpadded bytes.
    pub size: u64,
    /// The attached store with the replica.
    pub store: String,
    /// Its bytes lie in the thread's location.
    pub done: bool,
}

/// A window-PoSt job and what it yielded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wdpost {
    /// The job.
    pub job: WdpostJob,
    /// The proofs.
    pub output: Option<WdpostOutput>,
    /// Why the job is given up.
    pub abort_reason: Option<String>,
}

/// A piece in the unsealed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceCommitment {
    /// The piece's commitment.
    pub commitment: Commitment,
    /// Unpadded bytes.
    pub size: u64,
}

/// Large outputs, kept beside the record and written once. JSON, as the proofs library and the processors write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blob {
    /// Output of pre-commit phase 1.
    Pc1Out,
    /// Output of commit phase 1.
    C1Out,
}

impl Blob {
    const ALL: [Blob; 2] = [Blob::Pc1Out, Blob::C1Out];

    fn key(self) -> &'static str {
        match self {
            Blob::Pc1Out => "pc1out",
            Blob::C1Out => "c1out",
        }
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
            paused: None,
            pause_pending: false,
            retry: 0,
            last_err: None,
            running: None,
            deaths: 0,
            went_back: false,
            sector: None,
            wdpost: None,
        }
    }

    /// Whether there is something to work on.
    pub fn has_job(&self) -> bool {
        self.sector.is_some() || self.wdpost.is_some()
    }

    /// What is in hand: the sector as operators write it, or the window-PoSt job's id.
    pub fn job_name(&self) -> Option<String> {
        let sector = self.sector.as_ref().map(|sector| sector.allocated.id.to_string());
        sector.or_else(|| self.wdpost.as_ref().map(|wdpost| wdpost.job.id.clone()))
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
            persisted: None,
            seed: None,
            c1_done: false,
            proof: None,
            proof_sent: false,
            abort_reason: None,
            sealed_checked: false,
            upgrade: None,
            unseal: None,
        }
    }
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("{0} is in use by another process: is a worker with this location running already?")]
    InUse(String),
    /// It was written by a newer version.
    #[error("{path} was written by a newer version (format {format}): use that version")]
    NewerFormat {
        /// The file.
        path: String,
        /// Its format.
        format: u32,
    },
    /// Reading or writing failed.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        error: String,
    },
}

/// One thread's durable store.
#[derive(Clone)]
pub struct Store {
    database: Arc<Database>,
    path: Arc<str>,
}

impl Store {
    /// Opens the store file, makes it if it is missing.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(shown.clone()),
            error => StoreError::Io { path: shown.clone(), error: error.to_string() },
        })?;
        Ok(Store { database: Arc::new(database), path: shown.into() })
    }

    /// The record; `None` in a new store.
    pub fn load(&self) -> Result<Option<Record>, StoreError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Some(bytes) = self.read(RECORD).map_err(|error| self.io(error))? else { return Ok(None) };
        let Format { format } = serde_json::from_slice(&bytes).map_err(|error| self.io(error))?;
        if format > FORMAT {
            return Err(StoreError::NewerFormat { path: self.path.to_string(), format });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.io(error))
    }

    /// Writes the record, and the outputs that belong to it, in one durable transaction. Outputs that the record no
    /// longer speaks of are removed.
    pub async fn commit(&self, record: &Record, outputs: Vec<(Blob, Vec<u8>)>) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(record).map_err(|error| self.io(error))?;
        let sector = record.sector.as_ref();
        let kept = |blob: &Blob| match blob {
            Blob::Pc1Out => sector.is_some_and(|sector| sector.pc1_done),
            Blob::C1Out => sector.is_some_and(|sector| sector.c1_done),
        };
        let dropped: Vec<_> = Blob::ALL.into_iter().filter(|blob| !kept(blob)).collect();
        let store = self.clone();
        let written = tokio::task::spawn_blocking(move || store.write(&bytes, outputs, dropped)).await;
        written.map_err(|error| self.io(error))?.map_err(|error| self.io(error))
    }

    /// A stored output.
    pub async fn output(&self, blob: Blob) -> Result<Vec<u8>, StoreError> {
        let store = self.clone();
        let read = tokio::task::spawn_blocking(move || store.read(blob.key())).await;
        let bytes = read.map_err(|error| self.io(error))?.map_err(|error| self.io(error))?;
        bytes.ok_or_else(|| self.io(format!("output {} is missing", blob.key())))
    }

    fn read(&self, key: &str) -> Result<Option<Vec<u8>>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(TABLE) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            table => table?,
        };
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    fn write(&self, record: &[u8], outputs: Vec<(Blob, Vec<u8>)>, dropped: Vec<Blob>) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            table.insert(RECORD, record)?;
            for blob in dropped {
                table.remove(blob.key())?;
            }
            for (blob, bytes) in outputs {
                table.insert(blob.key(), bytes.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn io(&self, error: impl ToString) -> StoreError {
        StoreError::Io { path: self.path.to_string(), error: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use shared_msgs::sealer::{SealProofType, SectorId};

    use super::*;

    fn sector() -> Sector {
        Sector::new(AllocatedSector { id: SectorId { miner: 10000, number: 2 }, proof_type: SealProofType(5) })
    }

    #[tokio::test]
    async fn a_record_and_its_outputs_are_there_after_opening_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        let store = Store::open(&path).unwrap();
        assert_eq!(store.load().unwrap(), None);
        let record = Record { sector: Some(Sector { pc1_done: true, ..sector() }), ..Record::new(Plan::Sealer) };
        store.commit(&record, vec![(Blob::Pc1Out, b"{}".to_vec())]).await.unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.load().unwrap(), Some(record));
        assert_eq!(store.output(Blob::Pc1Out).await.unwrap(), b"{}");
    }

    #[tokio::test]
    async fn an_output_goes_with_the_record_that_no_longer_speaks_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.redb")).unwrap();
        let mut record = Record { sector: Some(Sector { c1_done: true, ..sector() }), ..Record::new(Plan::Sealer) };
        store.commit(&record, vec![(Blob::C1Out, b"{}".to_vec())]).await.unwrap();
        record.sector = None;
        store.commit(&record, vec![]).await.unwrap();
        assert!(store.output(Blob::C1Out).await.is_err());
    }

    #[test]
    fn a_second_opener_is_told_that_the_location_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        let _first = Store::open(&path).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::InUse(_))));
    }

    #[tokio::test]
    async fn a_record_of_a_newer_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.redb")).unwrap();
        let newer = Record { format: FORMAT + 1, ..Record::new(Plan::Sealer) };
        store.commit(&newer, vec![]).await.unwrap();
        assert!(matches!(store.load(), Err(StoreError::NewerFormat { format: 2, .. })));
    }
}
