//! What the relays of a system remember together, in JetStream: what was asked, before it is asked,
//! and what came of it.
//!
//! ```text
//!  <P>_RELAY_CALLS    <method>.<request id>  -> who asks · what was given        kept for a week
//!  <P>_RELAY_SECTORS  <miner>.<number>       -> the request that was given it    until the sector ends
//! ```
//! A sector's key is made before its request is answered, so no sector is given twice, whichever
//! relay gives it.

use std::time::Duration;

use async_nats::Client;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared_msgs::{error::ErrorKind, id::Id, sector_manager::SectorId, subject::Prefix};

use crate::bus::kv::{Bucket, Created, Stored};

/// A worker that was away for so long still gets what it asked for before.
const CALLS_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Call {
    /// Whose it is: nobody else gets the answer.
    pub(super) worker: String,
    pub(super) state: State,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// A relay asks, or did when it ended.
    Asked { relay: Id },
    /// Nobody knows what came of it. These sectors were open without a state when it was looked at
    /// first: one of them may be the answer.
    Doubtful { candidates: Vec<SectorId> },
    /// The reply, as it is given to the worker.
    Answered { reply: Value },
}

/// Which request a sector was given to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Given {
    pub(super) worker: String,
    pub(super) request_id: Id,
}

#[derive(Clone)]
pub(super) struct Memory {
    client: Client,
    prefix: Prefix,
}

impl Memory {
    pub(super) fn new(client: Client, prefix: Prefix) -> Memory {
        Memory { client, prefix }
    }

    pub(super) async fn calls(&self) -> Result<Bucket, ErrorKind> {
        Bucket::open_for(&self.client, self.prefix.relay_calls_bucket(), CALLS_KEPT).await
    }

    /// The server's clock, Unix milliseconds.
    pub(super) async fn server_time_ms(&self) -> Result<i64, ErrorKind> {
        self.calls().await?.server_time_ms().await
    }

    async fn sectors(&self) -> Result<Bucket, ErrorKind> {
        Bucket::open(&self.client, self.prefix.relay_sectors_bucket()).await
    }

    /// Gives a sector to a request. Says whether it is that one's now, and nobody else's.
    pub(super) async fn give(&self, sector: SectorId, given: &Given) -> Result<bool, ErrorKind> {
        Ok(match self.sectors().await?.create(&key(sector), given).await? {
            Created::New(_) => true,
            Created::Exists(Stored { value, .. }) => value == *given,
        })
    }

    /// Every sector that was given and has not ended, with its request.
    pub(super) async fn given(&self) -> Result<Vec<(SectorId, Given)>, ErrorKind> {
        let all = self.sectors().await?.scan::<Given>().await?;
        let of = |stored: Stored<Given>| Some((sector(&stored.key)?, stored.value));
        Ok(all.into_iter().filter_map(of).collect())
    }

    /// The sector has ended: nobody can be given it any more.
    pub(super) async fn ended(&self, sector: SectorId) -> Result<(), ErrorKind> {
        let (bucket, key) = (self.sectors().await?, key(sector));
        match bucket.read::<Given>(&key).await? {
            Some(Stored { revision, .. }) => bucket.remove(&key, revision).await.map(drop),
            None => Ok(()),
        }
    }
}

fn key(sector: SectorId) -> String {
    format!("{}.{}", sector.miner, sector.number)
}

fn sector(key: &str) -> Option<SectorId> {
    let (miner, number) = key.split_once('.')?;
    Some(SectorId { miner: miner.parse().ok()?, number: number.parse().ok()? })
}
