//! One thread's durable store: a redb file in its location, one transaction a change.
//!
//! A store holds what a thread must not lose: its [`Record`], the large outputs of PC1 and C1, the
//! answers that commands were given, and the events that are not published yet. Whatever belongs to
//! one change is written in one transaction ([`Change`]), so a process that is killed anywhere
//! finds all of it or nothing. What concerns the worker itself is in the first store that works.
//!
//! ```text
//!  file() --make, open--> usable --commit, keep_result, published--> usable
//!                           ^  |
//!                           |  | a write failed: it did not take place, or nobody knows (in doubt)
//!                           +--+ settle: the record is read again, and says which
//! ```
//! A store that has failed is opened again at its next use, see [`super::handle`]. redb's own file
//! lock keeps a second process out of a location; kill -9 frees it.
//!
//! What always holds:
//! - A commit that returned is on the disk; only [`Store::published`] is not synced, for the stream
//!   itself tells after a crash what it has.
//! - While a write is in doubt nothing else is written: what it was made from may not be what is
//!   stored.
//! - A record of a newer format is refused and left as it is; one of an older format is read.
//! - What a record says is sound, see [`super::invariants`]; a build with debug assertions asks
//!   that of every commit.
//!
//! Tests: `database_tests.rs` (over a disk that fails at any write too), the scenarios
//! `stores::broken` and `sealing::crash`, and the simulation.
//!
//! Decisions 007, 008, 036 in `docs/decisions`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use redb::{
    Database, DatabaseError, Durability, ReadOnlyDatabase, ReadableDatabase, ReadableTable,
    StorageBackend, TableDefinition, WriteTransaction, backends::InMemoryBackend,
};
use shared_msgs::{event::Event, id::Id};
use tokio::sync::Notify;

use super::{
    handle::{Handle, Missing, Open, Opener},
    outbox::{CAPACITY, OUTBOX, Waiting, WaitingId},
    place::PlaceError,
    record::{Blob, ReadError, Record},
    results::{BULKS, RESULTS, StoredBulk, StoredResult, corrupted},
};
use crate::failure::{Failure, may_pass};

const THREAD: TableDefinition<&str, &[u8]> = TableDefinition::new("thread");
const RECORD: &str = "record";
const WORKER: TableDefinition<&str, &str> = TableDefinition::new("worker");
const WORKER_ID: &str = "worker_id";
const LAST_SEQUENCE: &str = "last_sequence";
const LAST_WRITE: &str = "last_write";
// The record is a few KiB; redb's default would be 1 GiB.
const CACHE_BYTES: usize = 1 << 20;
// What a look takes of memory at most.
const MAX_LOOKED_AT: u64 = 256 << 20;

/// Why a store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("{0} is in use by another process: is a worker with this location running already?")]
    InUse(String),
    /// It was written by a newer version.
    #[error("{path} was written by a newer version (format {format}): use that version")]
    NewerFormat {
        /// The path of the store's file.
        path: String,
        /// The number that the record says.
        format: u32,
    },
    /// Reading or writing failed; it may work again.
    #[error("{path}: {error}")]
    Io {
        /// The path of the store's file.
        path: String,
        /// What the database or the operating system says.
        error: String,
    },
    /// The file is no store, or not the whole of one.
    #[error(
        "{path} cannot be read: {error}; restore it from a backup, or move it away together with data/, and resume the thread"
    )]
    Damaged {
        /// The path of the store's file.
        path: String,
        /// What cannot be read, and why.
        error: String,
    },
    /// There are files of a sector, and no record of it.
    #[error(
        "{path} is missing or empty beside {beside}; restore it from a backup, or move data/ away, and resume the thread"
    )]
    Missing {
        /// The path that the store's file should have.
        path: String,
        /// A file of the sector.
        beside: String,
    },
    /// damocles's worker keeps in it what it is doing.
    #[error(
        "{path} belongs to a damocles-worker, whose meta/ is in it: give this thread a location of its own; or let that worker finish its sector here, stop it, and move meta/ and data/ away"
    )]
    Damocles {
        /// The location.
        path: String,
    },
    /// The location is not the one that it was.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

impl StoreError {
    /// Whether it may go by itself.
    pub fn may_pass(&self) -> bool {
        match self {
            StoreError::Io { .. }
            | StoreError::Place(PlaceError::Unmarked { .. } | PlaceError::Io { .. }) => true,
            StoreError::Place(PlaceError::Other { .. }) | StoreError::InUse(_) => false,
            StoreError::NewerFormat { .. }
            | StoreError::Damaged { .. }
            | StoreError::Missing { .. }
            | StoreError::Damocles { .. } => false,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if error.may_pass() && may_pass(&error.to_string()) {
            Failure::temporary(error)
        } else {
            Failure::critical(error)
        }
    }
}

/// What all stores of one worker share about its events.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Told whenever there is a new event.
    pub added: Notify,
    /// The last sequence of this worker's events in the stream, as far as the worker knows.
    pub last_sequence: AtomicU64,
}

/// One change, written in one transaction.
#[derive(Debug)]
pub struct Change<'a> {
    /// The thread's record after it.
    pub record: &'a Record,
    /// Large outputs that belong to it; those that the record no longer speaks of are removed.
    pub outputs: Arc<[(Blob, Vec<u8>)]>,
    /// What has happened with it.
    pub events: Vec<Event>,
    /// The answer to the command that made it, under its request id.
    pub result: Option<(Id, StoredResult)>,
}

impl<'a> Change<'a> {
    /// A change of nothing but the record.
    pub fn to(record: &'a Record) -> Self {
        Change { record, outputs: Arc::default(), events: vec![], result: None }
    }
}

/// What was found in a store that was looked at.
#[derive(Debug)]
pub enum Look {
    /// There is none yet.
    None,
    /// Its last process did not close it, and it is too large to be repaired only for a look.
    TooLarge,
    /// It is whole, or what a start repairs.
    Read {
        /// What its thread is doing, if anything was written yet.
        record: Option<Box<Record>>,
        /// Its last process closed it; else it is repaired when it is opened.
        closed: bool,
    },
}

/// One thread's durable store.
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
    path: Arc<str>,
    outgoing: Arc<Outgoing>,
    // In memory nothing blocks, and what happens next stays in order.
    in_memory: bool,
}

impl Store {
    /// The store of that file, which is not opened yet.
    pub fn file(path: &Path, outgoing: Arc<Outgoing>) -> Self {
        let file = path.to_owned();
        let opener = move |missing: Missing| {
            let mut builder = Database::builder();
            // The whole file is checked: what a bit has changed in is not believed.
            builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
            if missing == Missing::Make { builder.create(&file) } else { builder.open(&file) }
        };
        let reserve = Some(path.with_extension("reserve"));
        Store::new(Box::new(opener), reserve, path.display().to_string(), outgoing, false)
    }

    /// A store in memory, over a backend that outlives it: for simulations of crashes.
    pub fn in_memory<B: StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
        outgoing: Arc<Outgoing>,
    ) -> Result<Self, StoreError> {
        let opener =
            move |_| Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend());
        let store = Store::new(Box::new(opener), None, "memory".into(), outgoing, true);
        store.make()?;
        Ok(store)
    }

    fn new(
        opener: Opener,
        reserve: Option<PathBuf>,
        path: String,
        outgoing: Arc<Outgoing>,
        in_memory: bool,
    ) -> Self {
        Store {
            handle: Arc::new(Handle::new(opener, reserve)),
            path: path.into(),
            outgoing,
            in_memory,
        }
    }

    /// Opens the store; one that is not there is an error. Blocks.
    pub fn open(&self) -> Result<(), StoreError> {
        self.open_as(Missing::Refuse)
    }

    /// Opens the store, makes it if it is missing. Blocks.
    pub fn make(&self) -> Result<(), StoreError> {
        self.open_as(Missing::Make)
    }

    /// Closes a store that is not to be used: nobody reads or writes it until it is opened.
    pub fn close(&self) {
        self.handle.close();
    }

    fn open_as(&self, missing: Missing) -> Result<(), StoreError> {
        self.handle.open(missing).map_err(|error| self.unopened(error))?;
        let known = self.handle.read(|open| {
            let Some(table) = existing(open.database.begin_read()?.open_table(WORKER))? else {
                return Ok(None);
            };
            Ok(table.get(LAST_SEQUENCE)?.and_then(|value| value.value().parse().ok()))
        });
        self.outgoing
            .last_sequence
            .fetch_max(known.map_err(|error| self.damaged(error))?.unwrap_or(0), Ordering::SeqCst);
        Ok(())
    }

    /// Reads what is in the store that is there, and closes it; nothing of it is changed. Blocks.
    pub(super) fn look(&self) -> Result<Look, StoreError> {
        // Its lock is asked for too: a store that somebody has is not looked at.
        let (read, closed) = match ReadOnlyDatabase::open(&*self.path) {
            Ok(database) => (record_in(&database), true),
            Err(DatabaseError::RepairAborted) => match self.repaired_copy()? {
                Some(copy) => (record_in(&copy), false),
                None => return Ok(Look::TooLarge),
            },
            Err(error) => return Err(self.unopened(error.into())),
        };
        let bytes = read.map_err(|error| self.damaged(error))?;
        let record = bytes.map(|bytes| self.record(&bytes)).transpose()?;
        Ok(Look::Read { record: record.map(Box::new), closed })
    }

    // What the next start will find, in memory; `None` if that is too much.
    fn repaired_copy(&self) -> Result<Option<Database>, StoreError> {
        let metadata = fs::metadata(&*self.path).map_err(|error| self.io(error))?;
        if metadata.len() > MAX_LOOKED_AT {
            return Ok(None);
        }
        let bytes = fs::read(&*self.path).map_err(|error| self.io(error))?;
        let memory = InMemoryBackend::new();
        let copied = memory.set_len(bytes.len() as u64).and_then(|()| memory.write(0, &bytes));
        copied.map_err(|error| self.damaged(error))?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let opened = builder.create_with_backend(memory);
        opened.map(Some).map_err(|error| self.unopened(error.into()))
    }

    fn unopened(&self, error: redb::Error) -> StoreError {
        match error {
            redb::Error::DatabaseAlreadyOpen => StoreError::InUse(self.path.to_string()),
            redb::Error::Io(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                self.io(error)
            }
            error => self.damaged(error),
        }
    }

    /// Whether there is a file with something in it.
    pub(super) fn has_file(&self) -> Result<bool, StoreError> {
        match fs::metadata(&*self.path) {
            Ok(metadata) => Ok(metadata.len() > 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.io(error)),
        }
    }

    /// The record; `None` in a new store.
    pub async fn load(&self) -> Result<Option<Record>, StoreError> {
        let Some(bytes) = self.read(|transaction| value(transaction, RECORD)).await? else {
            return Ok(None);
        };
        self.record(&bytes).map(Some)
    }

    fn record(&self, bytes: &[u8]) -> Result<Record, StoreError> {
        Record::read(bytes).map_err(|error| match error {
            ReadError::Newer { format } => {
                StoreError::NewerFormat { path: self.path.to_string(), format }
            }
            ReadError::Unreadable(error) => self.damaged(error),
        })
    }

    /// Whether a write has failed of which it is not known whether it took place.
    pub fn is_in_doubt(&self) -> bool {
        self.handle.is_in_doubt()
    }

    /// The record, if a write has failed of which nobody knew until now whether it took place.
    pub async fn settle(&self) -> Result<Option<Record>, StoreError> {
        if !self.is_in_doubt() {
            return Ok(None);
        }
        let record = self.load().await?;
        self.handle.settled();
        Ok(record)
    }

    /// How often the store was opened: what was not synced before the last time may be undone.
    pub fn openings(&self) -> u64 {
        self.handle.openings()
    }

    /// Writes a change, durably.
    pub async fn commit(&self, change: Change<'_>) -> Result<(), StoreError> {
        if self.is_in_doubt() {
            // What the change was made from may not be what is stored.
            return Err(self.io("it is not known yet whether the last change was written"));
        }
        let Change { record, outputs, events, result } = change;
        debug_assert!(record.broken().is_empty(), "{:?} of {record:?}", record.broken());
        let bytes = serde_json::to_vec(record).map_err(|error| self.io(error))?;
        let dropped: Vec<_> =
            Blob::ALL.iter().copied().filter(|blob| !record.keeps(*blob)).collect();
        self.write(events, move |transaction| {
            let mut table = transaction.open_table(THREAD)?;
            table.insert(RECORD, bytes.as_slice())?;
            for blob in &dropped {
                table.remove(blob.key())?;
            }
            for (blob, bytes) in outputs.iter() {
                table.insert(blob.key(), bytes.as_slice())?;
            }
            result
                .as_ref()
                .map_or(Ok(()), |(id, result)| RESULTS.put(transaction, &id.to_string(), result))
        })
        .await
    }

    /// Reads what a stage has left for a later one; an error if it is not there.
    pub async fn output(&self, blob: Blob) -> Result<Vec<u8>, StoreError> {
        let bytes = self.read(move |transaction| value(transaction, blob.key())).await?;
        bytes.ok_or_else(|| self.io(format!("output {} is missing", blob.key())))
    }

    /// What a command was answered.
    pub async fn result(&self, id: Id) -> Result<Option<StoredResult>, StoreError> {
        self.read(move |transaction| RESULTS.get(transaction, &id.to_string())).await
    }

    /// Keeps what a command was answered that changed nothing.
    pub async fn keep_result(&self, id: Id, result: StoredResult) -> Result<(), StoreError> {
        self.write(vec![], move |transaction| RESULTS.put(transaction, &id.to_string(), &result))
            .await
    }

    /// Which threads a command for many is for: as it was kept under its id, or as it is now and
    /// kept from now on.
    pub async fn keep_bulk(&self, id: Id, bulk: StoredBulk) -> Result<StoredBulk, StoreError> {
        // One transaction: of two copies of a command that come together, one decides.
        let id = id.to_string();
        self.write(vec![], move |transaction| BULKS.keep_first(transaction, &id, bulk.clone()))
            .await
    }

    /// Which threads a command for many was for, if it was kept here.
    pub async fn bulk(&self, id: Id) -> Result<Option<StoredBulk>, StoreError> {
        self.read(move |transaction| BULKS.get(transaction, &id.to_string())).await
    }

    /// The worker's own id, if it is kept here.
    pub async fn worker_id(&self) -> Result<Option<Id>, StoreError> {
        self.read(|transaction| {
            let Some(table) = existing(transaction.open_table(WORKER))? else { return Ok(None) };
            Ok(table.get(WORKER_ID)?.and_then(|id| id.value().parse().ok()))
        })
        .await
    }

    /// Keeps the worker's own id.
    pub async fn keep_worker_id(&self, id: Id) -> Result<(), StoreError> {
        self.write(vec![], move |transaction| {
            transaction.open_table(WORKER)?.insert(WORKER_ID, id.to_string().as_str())?;
            Ok(())
        })
        .await
    }

    /// Writes down what has happened to the worker itself.
    pub async fn note(&self, event: Event) -> Result<(), StoreError> {
        self.write(vec![event], |_| Ok(())).await
    }

    /// The oldest event that is not published yet, with its key.
    pub async fn first_event(&self) -> Result<Option<(u64, Waiting)>, StoreError> {
        self.read(|transaction| {
            let Some(table) = existing(transaction.open_table(OUTBOX))? else { return Ok(None) };
            let Some((key, row)) = table.first()? else { return Ok(None) };
            Ok(Some((key.value(), serde_json::from_slice(row.value()).map_err(corrupted)?)))
        })
        .await
    }

    /// The ids of all events that are not published yet, oldest first.
    pub async fn event_ids(&self) -> Result<Vec<WaitingId>, StoreError> {
        self.read(|transaction| {
            let Some(table) = existing(transaction.open_table(OUTBOX))? else { return Ok(vec![]) };
            let rows = table.iter()?.map(|row| {
                let (key, row) = row?;
                WaitingId::read(key.value(), row.value())
            });
            rows.collect()
        })
        .await
    }

    /// An event is in the stream, up to that sequence. Not synced: after a crash the publisher
    /// finds it there.
    pub async fn published(&self, key: u64, sequence: u64) -> Result<(), StoreError> {
        self.outgoing.last_sequence.store(sequence, Ordering::SeqCst);
        let handle = self.handle.clone();
        self.run(move || {
            handle.read(|open| {
                let mut transaction = open.database.begin_write()?;
                transaction.set_durability(Durability::None)?;
                transaction.open_table(OUTBOX)?.remove(key)?;
                transaction
                    .open_table(WORKER)?
                    .insert(LAST_SEQUENCE, sequence.to_string().as_str())?;
                Ok(transaction.commit()?)
            })
        })
        .await
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        events: Vec<Event>,
        work: impl Fn(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (handle, outgoing, added) =
            (self.handle.clone(), self.outgoing.clone(), !events.is_empty());
        let worked = self.run(move || {
            let id = Id::generate();
            let mut undecided = None;
            handle.write(|Open { database, numbers }, committing| {
                // The commit failed, and took place all the same.
                if let Some(worked) = undecided.take()
                    && last_write(database)?.as_deref() == Some(&id.to_string())
                {
                    return Ok(worked);
                }
                *committing = false;
                let transaction = database.begin_write()?;
                let worked = work(&transaction)?;
                let after = outgoing.last_sequence.load(Ordering::SeqCst);
                let next = numbers.add(&transaction, events.clone(), after, CAPACITY)?;
                transaction.open_table(WORKER)?.insert(LAST_WRITE, id.to_string().as_str())?;
                *committing = true;
                if let Err(error) = transaction.commit() {
                    undecided = Some(worked);
                    return Err(error.into());
                }
                *numbers = next;
                Ok(worked)
            })
        });
        let worked = worked.await?;
        if added {
            self.outgoing.added.notify_one();
        }
        Ok(worked)
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&redb::ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let handle = self.handle.clone();
        self.run(move || handle.read(|open| work(&open.database.begin_read()?))).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.in_memory {
            return work().map_err(|error| self.io(error));
        }
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| self.io(error))?.map_err(|error| self.io(error))
    }

    fn io(&self, error: impl ToString) -> StoreError {
        StoreError::Io { path: self.path.to_string(), error: error.to_string() }
    }

    fn damaged(&self, error: impl ToString) -> StoreError {
        StoreError::Damaged { path: self.path.to_string(), error: error.to_string() }
    }
}

fn last_write(database: &Database) -> Result<Option<String>, redb::Error> {
    let Some(table) = existing(database.begin_read()?.open_table(WORKER))? else { return Ok(None) };
    Ok(table.get(LAST_WRITE)?.map(|id| id.value().to_owned()))
}

fn record_in(database: &impl ReadableDatabase) -> Result<Option<Vec<u8>>, redb::Error> {
    value(&database.begin_read()?, RECORD)
}

fn value(transaction: &redb::ReadTransaction, key: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let Some(table) = existing(transaction.open_table(THREAD))? else { return Ok(None) };
    Ok(table.get(key)?.map(|value| value.value().to_vec()))
}

// A table is made by the first write.
pub(super) fn existing<T>(table: Result<T, redb::TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        table => Ok(Some(table?)),
    }
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
