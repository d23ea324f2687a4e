//! What concerns the whole worker. It is kept in the first of its threads' stores that works, so
//! that one that does not stands in nobody's way.

use std::{collections::VecDeque, time::Duration};

use futures::future::join_all;
use shared_msgs::{event::Event, id::Id};
use tokio::{sync::Mutex, time::timeout};
use tracing::{debug, warn};

use super::{
    database::{Store, StoreError},
    results::{KEPT, StoredBulk},
};

// A disk that hangs must not hold up commands for the threads of others.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a worker keeps for itself.
pub struct OwnStore {
    stores: Vec<Store>,
    // Those of this process, in case the store that one was kept in fails before its repeat comes.
    bulks: Mutex<VecDeque<(Id, StoredBulk)>>,
}

impl OwnStore {
    /// Keeps it in these stores, of which there is at least one.
    pub fn new(stores: Vec<Store>) -> Self {
        OwnStore { stores, bulks: Mutex::default() }
    }

    /// The worker's own id, the same as long as one of the stores that have it works.
    pub async fn worker_id(&self) -> Id {
        let mut known = vec![];
        for store in &self.stores {
            known.push(
                store
                    .worker_id()
                    .await
                    .inspect_err(|error| debug!(%error, "the worker's id is looked for elsewhere"))
                    .ok(),
            );
        }
        let id = known.iter().flatten().flatten().next().copied().unwrap_or_else(Id::generate);
        let lacking = self.stores.iter().zip(&known).filter(|(_, known)| **known == Some(None));
        for (store, _) in lacking {
            if let Err(error) = store.keep_worker_id(id).await {
                debug!(%error, "the worker's id is kept elsewhere");
            }
        }
        id
    }

    /// Writes down what has happened to the worker; what can be written nowhere is lost.
    pub async fn note(&self, event: Event) {
        let mut failed = None;
        for store in &self.stores {
            match store.note(event.clone()).await {
                Ok(()) => return,
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            warn!(%error, event = ?event.kind, "no store can be written to: the event is lost");
        }
    }

    /// Which threads a command for many is for: as it was kept under its id, or as it is now and
    /// kept from now on.
    pub async fn keep_bulk(&self, id: Id, bulk: StoredBulk) -> Result<StoredBulk, StoreError> {
        // Of two copies of a command that come together, one decides.
        let mut bulks = self.bulks.lock().await;
        if let Some((_, known)) = bulks.iter().find(|(known, _)| *known == id) {
            return Ok(known.clone());
        }
        let kept = match self.kept_before(id).await {
            Some(known) => known,
            None => self.keep_first(id, bulk).await?,
        };
        bulks.push_back((id, kept.clone()));
        if bulks.len() as u64 > KEPT {
            bulks.pop_front();
        }
        Ok(kept)
    }

    async fn kept_before(&self, id: Id) -> Option<StoredBulk> {
        let looking =
            join_all(self.stores.iter().map(|store| timeout(PATIENCE, store.bulk(id)))).await;
        looking.into_iter().find_map(|looked| looked.ok()?.ok()?)
    }

    async fn keep_first(&self, id: Id, bulk: StoredBulk) -> Result<StoredBulk, StoreError> {
        let mut failed = StoreError::Io {
            path: "the stores of all threads".into(),
            error: "none can be written to in time".into(),
        };
        for store in &self.stores {
            // One that is kept in two stores is the same in both.
            match timeout(PATIENCE, store.keep_bulk(id, bulk.clone())).await {
                Ok(Ok(kept)) => return Ok(kept),
                Ok(Err(error)) => failed = error,
                Err(_) => debug!("a store does not answer: the command is kept elsewhere"),
            }
        }
        Err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shared_msgs::{
        command::{CommandRequest, Verb},
        event::EventKind,
    };

    use super::*;
    use crate::store::results::Asked;

    // Stores of which the named ones cannot be opened.
    fn stores(directory: &std::path::Path, broken: &[usize]) -> Vec<Store> {
        let store = |index: usize| {
            let path = directory.join(format!("{index}.redb"));
            if broken.contains(&index) {
                std::fs::write(&path, "garbage").unwrap();
            }
            let store = Store::file(&path, Arc::default());
            assert_eq!(store.make().is_err(), broken.contains(&index));
            store
        };
        (0..3).map(store).collect()
    }

    fn bulk(threads: &[u32]) -> StoredBulk {
        StoredBulk {
            asked: Asked::new(Verb::Pause, &CommandRequest::default()),
            threads: threads.to_vec(),
        }
    }

    #[tokio::test]
    async fn the_first_store_that_works_keeps_what_concerns_the_worker() {
        let directory = tempfile::tempdir().unwrap();
        let all = stores(directory.path(), &[0]);
        let (own, id) = (OwnStore::new(all.clone()), Id::generate());
        assert_eq!(own.keep_bulk(id, bulk(&[0, 2])).await.unwrap(), bulk(&[0, 2]));
        assert_eq!(own.keep_bulk(id, bulk(&[1])).await.unwrap(), bulk(&[0, 2]));
        own.note(Event::new(EventKind::WorkerStarted, 1)).await;
        assert!(
            all[1].first_event().await.unwrap().is_some()
                && all[2].first_event().await.unwrap().is_none()
        );
        let worker = own.worker_id().await;
        // Another process, for which another store does not work.
        drop((own, all));
        std::fs::remove_file(directory.path().join("0.redb")).unwrap();
        let own = OwnStore::new(stores(directory.path(), &[]));
        assert_eq!(own.keep_bulk(id, bulk(&[1])).await.unwrap(), bulk(&[0, 2]));
        assert_eq!(own.worker_id().await, worker);
        drop(own);
        let own = OwnStore::new(stores(directory.path(), &[1, 2]));
        assert_eq!(own.worker_id().await, worker, "every store has it");
    }

    #[tokio::test]
    async fn a_repeat_finds_its_first_copy_although_the_store_that_kept_it_has_failed() {
        let directory = tempfile::tempdir().unwrap();
        let broken = OwnStore::new(stores(directory.path(), &[0, 1, 2]));
        let id = Id::generate();
        assert!(broken.keep_bulk(id, bulk(&[0])).await.is_err());
        broken.note(Event::new(EventKind::WorkerStarted, 1)).await;
        assert_eq!(broken.worker_id().await.to_string().len(), id.to_string().len());
        std::fs::remove_file(directory.path().join("1.redb")).unwrap();
        broken.stores[1].make().unwrap();
        assert_eq!(broken.keep_bulk(id, bulk(&[0])).await.unwrap(), bulk(&[0]));
        std::fs::write(directory.path().join("1.redb"), "garbage").unwrap();
        assert_eq!(broken.keep_bulk(id, bulk(&[1])).await.unwrap(), bulk(&[0]));
    }
}
