//! The sector manager over NATS: `sector_manager.<w>.<method>`, request-reply.

use std::time::Duration;

use async_nats::Client;
use damocles_client::connect::Link;
use futures::future::BoxFuture;
use shared_msgs::{name::WorkerName, subject::Prefix};
use tokio::{sync::watch, time::timeout};

use super::link::connected;
use crate::sector_manager::{SectorManager, Unavailable};

/// The way to the sector manager over a NATS connection.
pub(crate) struct NatsSectorManager {
    /// The connection.
    pub client: Client,
    /// Its state.
    pub link: watch::Receiver<Link>,
    /// First part of every subject.
    pub prefix: Prefix,
    /// Who asks.
    pub worker: WorkerName,
    /// How long to wait for one answer.
    pub timeout: Duration,
}

impl SectorManager for NatsSectorManager {
    fn ask<'a>(
        &'a self,
        method: &'static str,
        body: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, Unavailable>> {
        Box::pin(async move {
            let mut link = self.link.clone();
            if !connected(&mut link).await {
                return Err(Unavailable("the connection to NATS is closed".into()));
            }
            let subject = self.prefix.sector_manager(&self.worker, method);
            let asking = self.client.request(subject, body.into());
            match timeout(self.timeout, asking).await {
                Ok(Ok(message)) => Ok(message.payload.to_vec()),
                Ok(Err(error)) => Err(Unavailable(error.to_string())),
                Err(_) => Err(Unavailable(format!(
                    "no answer within {}",
                    shared_msgs::duration::human(self.timeout)
                ))),
            }
        })
    }
}
