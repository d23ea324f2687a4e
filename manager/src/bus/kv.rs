//! Buckets of a manager that answers for a sector manager: made where they are missing, read whole,
//! changed by compare-and-set. What stands in them is all that any of them knows.

use std::time::Duration;

use async_nats::{
    Client,
    jetstream::{
        self,
        consumer::{DeliverPolicy, push::OrderedConfig},
        kv::{Config, CreateErrorKind, Entry, Operation, Store, UpdateErrorKind},
    },
};
use bytes::Bytes;
use damocles_client::entries::is_gone;
use futures::StreamExt;
use serde::{Serialize, de::DeserializeOwned};
use shared_msgs::{
    codec::{Encoding, decode},
    error::ErrorKind,
};
use tracing::warn;

/// How often a change is tried again that somebody else came before.
pub(crate) const MAX_TRIES: usize = 64;

pub(crate) struct Bucket {
    client: Client,
    store: Store,
}

/// What a key holds.
#[derive(Clone, Debug)]
pub(crate) struct Stored<T> {
    pub key: String,
    pub value: T,
    /// The revision to change it with.
    pub revision: u64,
    /// When it was written, by the server's clock, Unix milliseconds.
    pub written_ms: i64,
}

/// What came of creating a key.
pub(crate) enum Created<T> {
    /// It is ours, in this revision.
    New(u64),
    /// Somebody was faster, and this is theirs.
    Exists(Stored<T>),
}

/// A fault of JetStream, or of what stands in it.
pub(crate) fn failed(error: impl std::fmt::Display) -> ErrorKind {
    ErrorKind::internal(format!("what a sector manager knows is kept in JetStream: {error}"))
}

/// Somebody else always came before.
pub(crate) fn contended() -> ErrorKind {
    failed("too many changes at once, ask again")
}

impl Bucket {
    /// Opens it, and makes it where it is missing; what it holds then stays.
    pub(crate) async fn open(client: &Client, name: String) -> Result<Bucket, ErrorKind> {
        Bucket::open_for(client, name, Duration::ZERO).await
    }

    /// Opens it, and makes it where it is missing, so that it keeps what it holds for so long.
    pub(crate) async fn open_for(
        client: &Client,
        name: String,
        max_age: Duration,
    ) -> Result<Bucket, ErrorKind> {
        let jetstream = jetstream::new(client.clone());
        let store = match jetstream.get_key_value(&name).await {
            Ok(store) => store,
            Err(_) => {
                let config = Config {
                    bucket: name,
                    description: "what a sector manager knows".into(),
                    history: 1,
                    max_age,
                    ..Config::default()
                };
                let without = |error| {
                    failed(format!(
                        "{error}; the NATS server must have it enabled (nats-server -js)"
                    ))
                };
                jetstream.create_key_value(config).await.map_err(without)?
            }
        };
        Ok(Bucket { client: client.clone(), store })
    }

    /// The server's clock, Unix milliseconds.
    pub(crate) async fn server_time_ms(&self) -> Result<i64, ErrorKind> {
        damocles_client::nats::server_time_ms(&self.client, &self.store.stream_name)
            .await
            .map_err(failed)
    }

    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<Stored<T>>, ErrorKind> {
        let entry = self.store.entry(key).await.map_err(failed)?;
        entry
            .filter(|entry| entry.operation == Operation::Put)
            .map(|entry| self.stored(entry))
            .transpose()
    }

    /// Reads all of them, sorted by key. One that cannot be read is left out, and said.
    pub(crate) async fn scan<T: DeserializeOwned>(&self) -> Result<Vec<Stored<T>>, ErrorKind> {
        let config = OrderedConfig {
            deliver_subject: self.client.new_inbox(),
            deliver_policy: DeliverPolicy::LastPerSubject,
            filter_subject: format!("{}>", self.store.prefix),
            ..OrderedConfig::default()
        };
        let consumer = self.store.stream.create_consumer(config).await.map_err(failed)?;
        let (name, mut pending) =
            (consumer.cached_info().name.clone(), consumer.cached_info().num_pending);
        let mut found = Vec::new();
        let mut messages = consumer.messages().await.map_err(failed)?;
        while pending > 0 {
            let message = messages
                .next()
                .await
                .ok_or_else(|| failed("its answer ends early"))?
                .map_err(failed)?;
            let info = message.info().map_err(failed)?;
            pending = info.pending;
            let Some(key) = message
                .subject
                .strip_prefix(self.store.prefix.as_str())
                .filter(|_| !is_gone(message.headers.as_ref()))
            else {
                continue;
            };
            let (revision, written_ms) =
                (info.stream_sequence, unix_ms(info.published.unix_timestamp_nanos()));
            match decode(&message.payload) {
                Ok(value) => {
                    found.push(Stored { key: key.to_owned(), value, revision, written_ms })
                }
                Err(error) => {
                    warn!(bucket = self.store.name, key, %error, "an entry cannot be read and is left out")
                }
            }
        }
        drop(messages);
        // Or it would stay for half a minute, and the next scan makes its own.
        if let Err(error) = self.store.stream.delete_consumer(&name).await {
            warn!(bucket = self.store.name, %error, "a consumer could not be removed");
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// Creates a key, unless it is there.
    pub(crate) async fn create<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<Created<T>, ErrorKind> {
        for _ in 0..MAX_TRIES {
            match self.store.create(key, encoded(value)?).await {
                Ok(revision) => return Ok(Created::New(revision)),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
                    match self.read(key).await? {
                        Some(stored) => return Ok(Created::Exists(stored)),
                        // Gone meanwhile.
                        None => continue,
                    }
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Err(contended())
    }

    /// Writes a key if it is still in this revision; says whether it was.
    pub(crate) async fn replace<T: Serialize>(
        &self,
        key: &str,
        value: &T,
        revision: u64,
    ) -> Result<bool, ErrorKind> {
        self.replace_at(key, value, revision).await.map(|replaced| replaced.is_some())
    }

    /// Writes a key if it is still in this revision; its new one if it was.
    pub(crate) async fn replace_at<T: Serialize>(
        &self,
        key: &str,
        value: &T,
        revision: u64,
    ) -> Result<Option<u64>, ErrorKind> {
        match self.store.update(key, encoded(value)?, revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes a key if it is still in this revision; says whether it was.
    pub(crate) async fn remove(&self, key: &str, revision: u64) -> Result<bool, ErrorKind> {
        match self.store.delete_expect_revision(key, Some(revision)).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Changes a key that is there; what refuses the change leaves it as it is.
    pub(crate) async fn change<T, R>(
        &self,
        key: &str,
        mut change: impl FnMut(&mut T) -> Result<R, ErrorKind>,
    ) -> Result<Option<R>, ErrorKind>
    where
        T: Serialize + DeserializeOwned,
    {
        for _ in 0..MAX_TRIES {
            let Some(mut stored) = self.read(key).await? else { return Ok(None) };
            let result = change(&mut stored.value)?;
            if self.replace(key, &stored.value, stored.revision).await? {
                return Ok(Some(result));
            }
        }
        Err(contended())
    }

    /// The value that was written in a revision, if it is still the key's last one.
    pub(crate) async fn written_in<T: DeserializeOwned>(
        &self,
        revision: u64,
    ) -> Result<Option<T>, ErrorKind> {
        use async_nats::jetstream::stream::RawMessageErrorKind;
        match self.store.stream.get_raw_message(revision).await {
            Ok(message) if is_gone(Some(&message.headers)) => Ok(None),
            Ok(message) => decode(&message.payload)
                .map(Some)
                .map_err(|error| self.unreadable(&revision, error)),
            Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn stored<T: DeserializeOwned>(&self, entry: Entry) -> Result<Stored<T>, ErrorKind> {
        let value = decode(&entry.value).map_err(|error| self.unreadable(&entry.key, error))?;
        Ok(Stored {
            key: entry.key,
            value,
            revision: entry.revision,
            written_ms: unix_ms(entry.created.unix_timestamp_nanos()),
        })
    }

    fn unreadable(
        &self,
        what: &impl std::fmt::Display,
        error: impl std::fmt::Display,
    ) -> ErrorKind {
        failed(format!("{what} in {}: {error}", self.store.name))
    }
}

fn unix_ms(nanoseconds: i128) -> i64 {
    (nanoseconds / 1_000_000) as i64
}

// JSON, so that `nats kv get` shows it.
fn encoded<T: Serialize>(value: &T) -> Result<Bytes, ErrorKind> {
    Encoding::Json.encode(value).map(Bytes::from).map_err(failed)
}
