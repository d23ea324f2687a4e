//! What a bucket holds: the last value of each key, and from then on every change, removals and
//! expiries included.

use std::fmt;

use async_nats::{
    Client, HeaderMap, Subject,
    jetstream::{
        consumer::{
            DeliverPolicy,
            push::{Ordered, OrderedConfig},
        },
        stream::Stream,
    },
};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::timeout;

use crate::jetstream::{JetStreamError, PATIENCE};

/// The entries of a bucket, in the order in which they were stored. A consumer notices a gap.
pub struct Entries {
    messages: Ordered,
    caught_up: bool,
}

/// What a key got: a value, or its end.
pub struct Entry {
    /// The subject of the key in the bucket's stream, `$KV.<bucket>.<key>`.
    pub subject: Subject,
    /// The value as it was stored; empty if the key is gone.
    pub payload: Bytes,
    /// The key was deleted or purged, or its time has passed.
    pub gone: bool,
    /// When it was stored, Unix milliseconds by the server's clock.
    pub stored_ms: i64,
    /// Its number in the bucket.
    pub revision: u64,
}

impl Entries {
    /// Begins to read the keys of these subjects.
    pub async fn open(
        client: &Client,
        stream: &Stream,
        keys: String,
        description: &str,
    ) -> Result<Entries, JetStreamError> {
        let config = OrderedConfig {
            deliver_subject: client.new_inbox(),
            description: Some(description.into()),
            filter_subject: keys,
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..OrderedConfig::default()
        };
        let consumer = in_time("a consumer", stream.create_consumer(config)).await?;
        let caught_up = consumer.cached_info().num_pending == 0;
        let messages = in_time("the consumer's messages", consumer.messages()).await?;
        Ok(Entries { messages, caught_up })
    }

    /// The next entry of those that were there at first; `None` after the last one.
    pub async fn next_stored(&mut self) -> Result<Option<Entry>, JetStreamError> {
        if self.caught_up {
            return Ok(None);
        }
        in_time("the next stored entry", self.next()).await.map(Some)
    }

    /// The next entry, whenever there is one.
    pub async fn next(&mut self) -> Result<Entry, JetStreamError> {
        let failed = |error: &dyn fmt::Display| JetStreamError::Failed(error.to_string());
        let next = self.messages.next().await;
        let message = next.ok_or_else(|| failed(&"the consumer has ended"))?;
        let message = message.map_err(|error| failed(&error))?;
        let info = message.info().map_err(|error| failed(&error))?;
        self.caught_up |= info.pending == 0;
        Ok(Entry {
            gone: is_gone(message.headers.as_ref()),
            stored_ms: (info.published.unix_timestamp_nanos() / 1_000_000) as i64,
            revision: info.stream_sequence,
            subject: message.subject.clone(),
            payload: message.payload.clone(),
        })
    }
}

/// Waits for an answer of JetStream, not for ever.
pub async fn in_time<T, E: fmt::Display>(
    what: &str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, JetStreamError> {
    let failed = match timeout(PATIENCE, answer).await {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => format!("{what}: {error}"),
        Err(_) => format!("{what}: no answer within {}", shared_msgs::duration::human(PATIENCE)),
    };
    Err(JetStreamError::Failed(failed))
}

/// Whether an entry with these headers says that its key is gone: deleted, purged, or removed by a
/// limit.
pub fn is_gone(headers: Option<&HeaderMap>) -> bool {
    let Some(headers) = headers else { return false };
    let operation = headers.get("KV-Operation").map(|value| value.as_str());
    matches!(operation, Some("DEL" | "PURGE")) || headers.get("Nats-Marker-Reason").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_purged_and_expired_keys_are_gone() {
        assert!(!is_gone(None) && !is_gone(Some(&HeaderMap::new())));
        for (name, value) in
            [("KV-Operation", "DEL"), ("KV-Operation", "PURGE"), ("Nats-Marker-Reason", "MaxAge")]
        {
            let mut headers = HeaderMap::new();
            headers.insert(name, value);
            assert!(is_gone(Some(&headers)), "{name}: {value}");
        }
    }
}
