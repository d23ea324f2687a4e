//! Listening to what workers ask of the sector manager.

use std::{collections::BTreeSet, time::Duration};

use async_nats::Subscriber;
use futures::StreamExt;
use shared_msgs::{
    codec::decode,
    sector_manager::{ReportFinalized, SectorId, WorkerRequest},
};
use tokio::time::{Instant, timeout_at};

use crate::{DEADLINE, bus::Bus};

/// The requests of all workers, in the order they were sent.
#[derive(Debug)]
pub struct SectorManagerRequests {
    sent: Subscriber,
    seen: Vec<(String, Vec<u8>)>,
    patience: Duration,
}

impl SectorManagerRequests {
    /// Hears every request from now on. Answers come from whoever is the sector manager.
    pub async fn start(bus: &Bus) -> SectorManagerRequests {
        let sent = bus.client.subscribe(bus.prefix.sector_manager_of_all()).await.unwrap();
        bus.client.flush().await.unwrap();
        SectorManagerRequests { sent, seen: Vec::new(), patience: DEADLINE }
    }

    /// Waits for so long from now on.
    pub fn wait_up_to(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Waits for a request of one kind of which `holds` is true, and returns it. Requests that an
    /// earlier wait has looked at do not count.
    pub async fn until<R: WorkerRequest>(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&R) -> bool,
    ) -> R {
        let deadline = Instant::now() + self.patience;
        loop {
            let Ok(Some(message)) = timeout_at(deadline, self.sent.next()).await else {
                let methods: Vec<_> =
                    self.seen.iter().rev().take(20).map(|(method, _)| method.as_str()).collect();
                panic!(
                    "no {} ({what}) within {:?}. Newest requests first: {methods:?}",
                    R::METHOD,
                    self.patience
                );
            };
            let method = message.subject.rsplit('.').next().unwrap_or_default().to_owned();
            self.seen.push((method.clone(), message.payload.to_vec()));
            if method == R::METHOD {
                let request = decode(&message.payload).unwrap();
                if holds(&request) {
                    return request;
                }
            }
        }
    }

    /// Waits until a sector is reported finalized.
    pub async fn until_finalized(&mut self, sector: SectorId) {
        self.until::<ReportFinalized>(&format!("of {sector}"), |request| request.sector == sector)
            .await;
    }

    /// Waits until the first sectors are reported finalized, in whatever order.
    pub async fn until_first_finalized(&mut self, count: u64) {
        let mut missing: BTreeSet<u64> = (1..=count).collect();
        let what = format!("of all sectors up to {count}");
        self.until::<ReportFinalized>(&what, |request| {
            missing.remove(&request.sector.number);
            missing.is_empty()
        })
        .await;
    }

    /// Every request of one kind that a wait has looked at.
    pub fn seen<R: WorkerRequest>(&self) -> Vec<R> {
        let of_kind = self.seen.iter().filter(|(method, _)| method == R::METHOD);
        of_kind.map(|(_, payload)| decode(payload).unwrap()).collect()
    }
}
