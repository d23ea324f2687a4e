//! What commands were answered, by their request ids: a repeat gets the first one's answer, and
//! does nothing. The last [`KEPT`] are kept.
//!
//! Decisions 009, 010 in `docs/decisions`.

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use shared_msgs::{
    command::{CommandReply, CommandRequest, Verb},
    error::ErrorKind,
};

/// How many answers a store keeps.
pub(crate) const KEPT: u64 = 4_096;

/// A command that was carried out or refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredResult {
    pub asked: Asked,
    /// What came of it.
    pub answer: Result<CommandReply, ErrorKind>,
}

/// A command for many threads, and which threads of this worker it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredBulk {
    pub asked: Asked,
    /// Positions in the configuration, from 0.
    pub threads: Vec<u32>,
}

/// What one request id stands for. Who asked, why and until when may be put otherwise in a repeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    pub verb: Verb,
    pub request: CommandRequest,
}

impl Asked {
    pub fn new(verb: Verb, request: &CommandRequest) -> Self {
        Asked {
            verb,
            request: CommandRequest {
                worker: None,
                until_ms: None,
                request_id: None,
                by: None,
                reason: None,
                ..request.clone()
            },
        }
    }
}

/// One kind of answers: their rows in order of arrival, and the row of each id.
pub(super) struct Answers {
    rows: TableDefinition<'static, u64, &'static [u8]>,
    ids: TableDefinition<'static, &'static str, u64>,
}

/// Answers of a thread to commands.
pub(super) const RESULTS: Answers =
    Answers { rows: TableDefinition::new("results"), ids: TableDefinition::new("result_ids") };
/// What a worker resolved commands for many threads to.
pub(super) const BULKS: Answers =
    Answers { rows: TableDefinition::new("bulks"), ids: TableDefinition::new("bulk_ids") };

#[derive(Serialize, Deserialize)]
struct Row<T> {
    // The request's id; in a store for several threads with the thread's number.
    id: String,
    #[serde(flatten)]
    value: T,
}

impl Answers {
    /// Keeps an answer; one that was kept under the id before is replaced. The oldest goes.
    pub(super) fn put<T: Serialize>(
        &self,
        transaction: &WriteTransaction,
        id: &str,
        value: &T,
    ) -> Result<(), redb::Error> {
        let bytes = serde_json::to_vec(&Row { id: id.to_owned(), value }).map_err(corrupted)?;
        let mut rows = transaction.open_table(self.rows)?;
        let mut ids = transaction.open_table(self.ids)?;
        let known = ids.get(id)?.map(|row| row.value());
        let key = match known {
            Some(key) => key,
            None => rows.last()?.map_or(0, |(key, _)| key.value() + 1),
        };
        rows.insert(key, bytes.as_slice())?;
        ids.insert(id, key)?;
        if rows.len()? > KEPT
            && let Some((_, oldest)) = rows.pop_first()?
        {
            let Row { id, value: serde::de::IgnoredAny } =
                serde_json::from_slice(oldest.value()).map_err(corrupted)?;
            ids.remove(id.as_str())?;
        }
        Ok(())
    }

    /// The answer that was kept under an id before; else this one, which is kept from now on.
    pub(super) fn keep_first<T: Serialize + for<'de> Deserialize<'de>>(
        &self,
        transaction: &WriteTransaction,
        id: &str,
        value: T,
    ) -> Result<T, redb::Error> {
        let key = transaction.open_table(self.ids)?.get(id)?.map(|row| row.value());
        if let Some(key) = key
            && let Some(row) = transaction.open_table(self.rows)?.get(key)?
        {
            let Row { value, .. } =
                serde_json::from_slice::<Row<T>>(row.value()).map_err(corrupted)?;
            return Ok(value);
        }
        self.put(transaction, id, &value)?;
        Ok(value)
    }

    /// The answer under an id.
    pub(super) fn get<T: for<'de> Deserialize<'de>>(
        &self,
        transaction: &redb::ReadTransaction,
        id: &str,
    ) -> Result<Option<T>, redb::Error> {
        let missing = |error: redb::TableError| match error {
            redb::TableError::TableDoesNotExist(_) => Ok(None),
            error => Err(error.into()),
        };
        let (ids, rows) =
            match (transaction.open_table(self.ids), transaction.open_table(self.rows)) {
                (Ok(ids), Ok(rows)) => (ids, rows),
                (Err(error), _) | (_, Err(error)) => return missing(error),
            };
        let Some(key) = ids.get(id)? else { return Ok(None) };
        let Some(row) = rows.get(key.value())? else { return Ok(None) };
        let Row { value, .. } = serde_json::from_slice::<Row<T>>(row.value()).map_err(corrupted)?;
        Ok(Some(value))
    }
}

pub(super) fn corrupted(error: serde_json::Error) -> redb::Error {
    redb::Error::Corrupted(error.to_string())
}
