//! What outlives a sidecar: what it knows of each thread ([`Kept`]), what commands were answered,
//! and the events that are not published yet; in one file of its state directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use shared_msgs::{event::Event, id::Id, name::WorkerName};

use super::kept::Kept;
use crate::store::{
    database::{Outgoing, Store, StoreError},
    mirror::Answered,
    results::StoredResult,
};

const FORMAT: u32 = 1;

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The state directory cannot be made or written to.
    #[error(
        "{path} cannot be made: {error}; a sidecar keeps there what it must not forget (held pauses, answers): name another directory with --state"
    )]
    Directory {
        /// The directory.
        path: String,
        /// What the operating system says.
        error: io::Error,
    },
    /// Another process has the file.
    #[error("{0} is in use: another sidecar of this name is running on this machine")]
    InUse(String),
    /// The file cannot be used.
    #[error(
        "what the sidecar remembers cannot be used: {error}; moved away, it begins anew, and held pauses are forgotten ({path})"
    )]
    Store {
        /// The file.
        path: String,
        /// What is wrong with it.
        error: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    format: u32,
    threads: Vec<Kept>,
}

/// The memory of one sidecar.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) store: Store,
    pub(crate) outgoing: Arc<Outgoing>,
    path: PathBuf,
}

impl Memory {
    /// Opens the file of that worker's sidecar, made if it is missing. Blocks.
    pub(crate) fn open(state: &Path, name: &WorkerName) -> Result<Memory, MemoryError> {
        let directory = state.join("sidecar");
        fs::create_dir_all(&directory).map_err(|error| MemoryError::Directory {
            path: directory.display().to_string(),
            error,
        })?;
        let path = directory.join(format!("{}.redb", name.token()));
        let outgoing = Arc::<Outgoing>::default();
        let store = Store::file(&path, outgoing.clone());
        let memory = Memory { store, outgoing, path };
        memory.store.make().map_err(|error| memory.unusable(error))?;
        Ok(memory)
    }

    /// What was kept of the threads, by their positions.
    pub(crate) async fn load(&self) -> Result<Vec<Kept>, MemoryError> {
        let bytes = self.store.mirror().await.map_err(|error| self.unusable(error))?;
        let Some(bytes) = bytes else { return Ok(vec![]) };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |error: serde_json::Error| self.said(error.to_string());
        match serde_json::from_slice(&bytes).map_err(damaged)? {
            Format { format: FORMAT } => {
                let Remembered { threads, .. } = serde_json::from_slice(&bytes).map_err(damaged)?;
                Ok(threads)
            }
            Format { format } => {
                Err(self.said(format!("a newer version wrote it (format {format})")))
            }
        }
    }

    /// Keeps all of it, with what has happened and what was answered, in one transaction.
    pub(crate) async fn commit(
        &self,
        threads: &[Kept],
        events: Vec<Event>,
        answered: Vec<Answered>,
    ) -> Result<(), StoreError> {
        let remembered = Remembered { format: FORMAT, threads: threads.to_vec() };
        let bytes = serde_json::to_vec(&remembered).map_err(|error| StoreError::Io {
            path: self.path.display().to_string(),
            error: error.to_string(),
        })?;
        self.store.keep_mirror(bytes, events, answered).await
    }

    /// What a command to one thread was answered.
    pub(crate) async fn answered(
        &self,
        thread: usize,
        request_id: Id,
    ) -> Result<Option<StoredResult>, StoreError> {
        self.store.mirror_result(thread, request_id).await
    }

    fn unusable(&self, error: StoreError) -> MemoryError {
        match error {
            StoreError::InUse(path) => MemoryError::InUse(path),
            error => self.said(error.to_string()),
        }
    }

    fn said(&self, error: String) -> MemoryError {
        MemoryError::Store { path: self.path.display().to_string(), error }
    }
}
