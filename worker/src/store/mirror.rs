//! What a sidecar keeps of the threads of another program: one store for all of them, with the
//! same results and the same outbox as a thread's own.

use redb::TableDefinition;
use shared_msgs::{event::Event, id::Id};

use super::{
    database::{Store, StoreError, existing},
    results::{RESULTS, StoredResult},
};

const MIRROR: TableDefinition<&str, &[u8]> = TableDefinition::new("mirror");
const THREADS: &str = "threads";

/// An answer to a command, and what it was the answer to.
pub(crate) struct Answered {
    pub(crate) thread: usize,
    pub(crate) request_id: Id,
    pub(crate) result: StoredResult,
}

impl Store {
    /// What was kept of the threads last; `None` in a new store.
    pub(crate) async fn mirror(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|transaction| {
            let Some(table) = existing(transaction.open_table(MIRROR))? else { return Ok(None) };
            Ok(table.get(THREADS)?.map(|bytes| bytes.value().to_vec()))
        })
        .await
    }

    /// Keeps what is known of the threads, what has happened to them, and what commands were
    /// answered, in one transaction.
    pub(crate) async fn keep_mirror(
        &self,
        threads: Vec<u8>,
        events: Vec<Event>,
        answered: Vec<Answered>,
    ) -> Result<(), StoreError> {
        self.write(events, move |transaction| {
            transaction.open_table(MIRROR)?.insert(THREADS, threads.as_slice())?;
            for Answered { thread, request_id, result } in &answered {
                RESULTS.put(transaction, &key(*request_id, *thread), result)?;
            }
            Ok(())
        })
        .await
    }

    /// What a command to one of the threads was answered.
    pub(crate) async fn mirror_result(
        &self,
        thread: usize,
        request_id: Id,
    ) -> Result<Option<StoredResult>, StoreError> {
        self.read(move |transaction| RESULTS.get(transaction, &key(request_id, thread))).await
    }
}

// A command for many threads has one id, and an answer of each.
fn key(request_id: Id, thread: usize) -> String {
    format!("{request_id}/{thread}")
}
