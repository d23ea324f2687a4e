//! One thread's durable store: a redb file in its location, one transaction a change.
//!
//! redb's own file lock keeps a second process out of a location; it is freed by kill -9.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction};
use serde::Deserialize;
use shared_msgs::{event::Event, id::Id};
use tokio::sync::Notify;

use super::{
    outbox::{CAPACITY, Numbers, OUTBOX, Waiting, WaitingId},
    record::{Blob, FORMAT, Record},
    results::{BULKS, RESULTS, StoredBulk, StoredResult, corrupted},
};

const THREAD: TableDefinition<&str, &[u8]> = TableDefinition::new("thread");
const RECORD: &str = "record";
const WORKER: TableDefinition<&str, &str> = TableDefinition::new("worker");
const WORKER_ID: &str = "worker_id";
const LAST_SEQUENCE: &str = "last_sequence";
// The record is a few KiB; redb's default would be 1 GiB.
const CACHE_BYTES: usize = 1 << 20;

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
    pub outputs: Vec<(Blob, Vec<u8>)>,
    /// What has happened with it.
    pub events: Vec<Event>,
    /// The answer to the command that made it, under its request id.
    pub result: Option<(Id, StoredResult)>,
}

impl<'a> Change<'a> {
    /// A change of nothing but the record.
    pub fn to(record: &'a Record) -> Self {
        Change { record, outputs: vec![], events: vec![], result: None }
    }
}

/// One thread's durable store.
#[derive(Clone)]
pub struct Store {
    database: Arc<Database>,
    path: Arc<str>,
    outgoing: Arc<Outgoing>,
    numbers: Arc<Mutex<Numbers>>,
    // In memory nothing blocks, and what happens next stays in order.
    in_memory: bool,
}

impl Store {
    /// Opens the store file, makes it if it is missing.
    pub fn open(path: &Path, outgoing: Arc<Outgoing>) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(shown.clone()),
            error => StoreError::Io { path: shown.clone(), error: error.to_string() },
        })?;
        Store::new(database, shown, outgoing, false)
    }

    /// A store in memory, over a backend that outlives it: for simulations of crashes.
    pub fn in_memory(backend: impl StorageBackend, outgoing: Arc<Outgoing>) -> Result<Self, StoreError> {
        let failed = |error: redb::DatabaseError| StoreError::Io { path: "memory".into(), error: error.to_string() };
        let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend).map_err(failed)?;
        Store::new(database, "memory".into(), outgoing, true)
    }

    fn new(database: Database, path: String, outgoing: Arc<Outgoing>, in_memory: bool) -> Result<Self, StoreError> {
        let numbers = Arc::new(Mutex::new(Numbers::new()));
        let store = Store { database: Arc::new(database), path: path.into(), outgoing, numbers, in_memory };
        let known = store.read_now(|transaction| {
            let Some(table) = existing(transaction.open_table(WORKER))? else { return Ok(None) };
            Ok(table.get(LAST_SEQUENCE)?.and_then(|value| value.value().parse().ok()))
        })?;
        store.outgoing.last_sequence.fetch_max(known.unwrap_or(0), Ordering::SeqCst);
        Ok(store)
    }

    /// The record; `None` in a new store.
    pub fn load(&self) -> Result<Option<Record>, StoreError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Some(bytes) = self.read_now(|transaction| value(transaction, RECORD))? else { return Ok(None) };
        let Format { format } = serde_json::from_slice(&bytes).map_err(|error| self.io(error))?;
        if format > FORMAT {
            return Err(StoreError::NewerFormat { path: self.path.to_string(), format });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.io(error))
    }

    /// Writes a change, durably.
    pub async fn commit(&self, change: Change<'_>) -> Result<(), StoreError> {
        let Change { record, outputs, events, result } = change;
        let bytes = serde_json::to_vec(record).map_err(|error| self.io(error))?;
        let dropped: Vec<_> = Blob::ALL.into_iter().filter(|blob| !record.keeps(*blob)).collect();
        self.write(events, move |transaction| {
            let mut table = transaction.open_table(THREAD)?;
            table.insert(RECORD, bytes.as_slice())?;
            for blob in dropped {
                table.remove(blob.key())?;
            }
            for (blob, bytes) in outputs {
                table.insert(blob.key(), bytes.as_slice())?;
            }
            result.map_or(Ok(()), |(id, result)| RESULTS.put(transaction, id, &result))
        })
        .await
    }

    /// A stored output.
    pub async fn output(&self, blob: Blob) -> Result<Vec<u8>, StoreError> {
        let bytes = self.read(move |transaction| value(transaction, blob.key())).await?;
        bytes.ok_or_else(|| self.io(format!("output {} is missing", blob.key())))
    }

    /// What a command was answered.
    pub async fn result(&self, id: Id) -> Result<Option<StoredResult>, StoreError> {
        self.read(move |transaction| RESULTS.get(transaction, id)).await
    }

    /// Keeps what a command was answered that changed nothing.
    pub async fn keep_result(&self, id: Id, result: StoredResult) -> Result<(), StoreError> {
        self.write(vec![], move |transaction| RESULTS.put(transaction, id, &result)).await
    }

    /// Which threads a command for many is for: as it was kept under its id, or as it is now and kept from now on.
    pub async fn keep_bulk(&self, id: Id, bulk: StoredBulk) -> Result<StoredBulk, StoreError> {
        // One transaction: of two copies of a command that come together, one decides.
        self.write(vec![], move |transaction| BULKS.keep_first(transaction, id, bulk)).await
    }

    /// The worker's own id, made once.
    pub async fn worker_id(&self) -> Result<Id, StoreError> {
        let known = self.read(|transaction| {
            let Some(table) = existing(transaction.open_table(WORKER))? else { return Ok(None) };
            Ok(table.get(WORKER_ID)?.and_then(|id| id.value().parse().ok()))
        });
        if let Some(known) = known.await? {
            return Ok(known);
        }
        let id = Id::generate();
        self.write(vec![], move |transaction| {
            transaction.open_table(WORKER)?.insert(WORKER_ID, id.to_string().as_str())?;
            Ok(())
        })
        .await?;
        Ok(id)
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

    /// An event is in the stream, up to that sequence. Not synced: after a crash the publisher finds it there.
    pub async fn published(&self, key: u64, sequence: u64) -> Result<(), StoreError> {
        self.outgoing.last_sequence.store(sequence, Ordering::SeqCst);
        let store = self.clone();
        self.run(move || {
            let mut transaction = store.database.begin_write()?;
            transaction.set_durability(Durability::None)?;
            transaction.open_table(OUTBOX)?.remove(key)?;
            transaction.open_table(WORKER)?.insert(LAST_SEQUENCE, sequence.to_string().as_str())?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn write<T: Send + 'static>(
        &self,
        events: Vec<Event>,
        work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let added = !events.is_empty();
        let worked = self.run(move || {
            let transaction = store.database.begin_write()?;
            let worked = work(&transaction)?;
            let after = store.outgoing.last_sequence.load(Ordering::SeqCst);
            let mut numbers = store.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            let next = numbers.add(&transaction, events, after, CAPACITY)?;
            transaction.commit()?;
            *numbers = next;
            Ok(worked)
        });
        let worked = worked.await?;
        if added {
            self.outgoing.added.notify_one();
        }
        Ok(worked)
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        self.run(move || work(&store.database.begin_read()?)).await
    }

    fn read_now<T>(&self, work: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| self.io(error))?;
        work(&transaction).map_err(|error| self.io(error))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, redb::Error> + Send + 'static) -> Result<T, StoreError> {
        if self.in_memory {
            return work().map_err(|error| self.io(error));
        }
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| self.io(error))?.map_err(|error| self.io(error))
    }

    fn io(&self, error: impl ToString) -> StoreError {
        StoreError::Io { path: self.path.to_string(), error: error.to_string() }
    }
}

fn value(transaction: &redb::ReadTransaction, key: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let Some(table) = existing(transaction.open_table(THREAD))? else { return Ok(None) };
    Ok(table.get(key)?.map(|value| value.value().to_vec()))
}

// A table is made by the first write.
fn existing<T>(table: Result<T, redb::TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        table => Ok(Some(table?)),
    }
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
