//! The bus over NATS; nothing else here knows the client's types. Each file has the adapter to the
//! port of its name: [`crate::lease`], [`crate::snapshots`], [`crate::commands::serve`],
//! [`crate::events`], [`crate::sector_manager`]; the time of [`crate::server_clock`] is here.

mod commands;
mod events;
mod lease;
mod sector_manager;
mod snapshots;

use std::time::Duration;

use async_nats::Client;
use damocles_client::{bus as client, connect::Link};
use shared_msgs::{codec::Encoding, name::WorkerName, subject::Prefix};
use tokio::sync::watch;

use crate::{presence::Bus, server_clock::ServerTime};

/// One worker's way to NATS.
pub struct NatsBus {
    /// The connection, which is made again after each loss.
    pub client: Client,
    /// Whether the connection is up, and how often it was.
    pub link: watch::Receiver<Link>,
    /// First part of every subject.
    pub prefix: Prefix,
    /// Whose subjects are served and published on.
    pub worker: WorkerName,
    /// How snapshots are written.
    pub encoding: Encoding,
    /// How long to wait for an answer of the sector manager.
    pub timeout: Duration,
    /// How long leases last, for a bucket that has to be made.
    pub lease_ttl: Duration,
}

impl ServerTime for NatsBus {
    async fn server_time_ms(&self) -> Result<i64, String> {
        client::Bus::server_time_ms(&self.client, &self.prefix).await
    }
}

impl Bus for NatsBus {
    fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    async fn close(&self) {
        let mut link = self.link.clone();
        if self.client.drain().await.is_ok() {
            link.wait_for(|link| *link == Link::Closed).await.ok();
        }
    }
}
