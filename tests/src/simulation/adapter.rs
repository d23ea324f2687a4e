//! The bus as a simulated worker has it. What it says and asks goes through [`super::bus`], where
//! it may be lost, doubled or late; the server's part of leases and events is in [`super::leases`]
//! and [`super::stream`].

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use damocles_client::{connect::Link, jetstream::JetStreamError};
use damocles_worker::{
    commands::serve::{CommandSource, Request, Requests},
    identity::Worker,
    lease::{LeaseState, hold::Leases},
    presence::Bus,
    sector_manager::{SectorManager, Unavailable},
    server_clock::ServerTime,
    snapshots::Snapshots,
};
use futures::future::BoxFuture;
use shared_msgs::{
    lease::Lease,
    snapshot::{ThreadStatus, WorkerSnapshot},
};
use tokio::sync::{mpsc, watch};

use super::{
    bus::{self, ask_server},
    clock,
    leases::SimulatedBucket,
    line::Line,
    world::{Subscriber, World},
};

/// One process's way to the bus.
pub struct SimulatedBus {
    /// The world that it is a part of.
    pub world: Arc<World>,
    /// How the process is connected: what is lost or late on the way.
    pub line: Arc<Line>,
    /// Whether there is a step that could go on, by thread.
    pub in_step: Vec<Arc<AtomicBool>>,
    /// Whether the process holds its lease, from its start on.
    pub lease: OnceLock<watch::Receiver<LeaseState>>,
}

/// What a process has subscribed to; gone with the process.
pub struct Subscription(mpsc::UnboundedReceiver<Request>);

impl Bus for SimulatedBus {
    fn link(&self) -> watch::Receiver<Link> {
        self.line.link()
    }

    async fn close(&self) {}
}

impl ServerTime for SimulatedBus {
    async fn server_time_ms(&self) -> Result<i64, String> {
        ask_server(&self.world, &self.line, |_| clock::unix_ms() as i64).await
    }
}

impl Leases for SimulatedBus {
    type Bucket = SimulatedBucket;

    async fn open_leases(&self) -> Result<SimulatedBucket, JetStreamError> {
        let found = ask_server(&self.world, &self.line, |_| ()).await;
        found.map_err(JetStreamError::Failed)?;
        Ok(SimulatedBucket { world: self.world.clone(), line: self.line.clone() })
    }

    // The bucket is never absent.
    async fn other_instance(&self, _me: &Lease) -> Option<WorkerSnapshot> {
        None
    }
}

impl CommandSource for SimulatedBus {
    type Requests = Subscription;

    async fn subscribe(&self, _worker: &Arc<Worker>) -> Result<Subscription, String> {
        let (inbox, requests) = mpsc::unbounded_channel();
        let line = self.line.clone();
        let subscribing = ask_server(&self.world, &self.line, move |world| {
            world.server().subscribers.push(Subscriber { line, inbox });
        });
        subscribing.await?;
        Ok(Subscription(requests))
    }
}

impl Requests for Subscription {
    async fn next(&mut self) -> Option<Request> {
        self.0.recv().await
    }

    async fn unsubscribe(self) {}
}

impl Snapshots for SimulatedBus {
    async fn publish(&self, snapshot: &WorkerSnapshot) {
        for (thread, in_step) in snapshot.threads.iter().zip(&self.in_step) {
            if matches!(thread.status, ThreadStatus::Paused { .. })
                && in_step.load(Ordering::Relaxed)
            {
                self.world.violated(format!(
                    "p{} #{} is shown as paused while it is in a step",
                    self.line.process, thread.index
                ));
            }
        }
        if !self.lease.get().is_some_and(|lease| lease.borrow().is_confirmed()) {
            let process = self.line.process;
            self.world.violated(format!("p{process} reports without a lease that is confirmed"));
        }
        bus::spread(&self.world, &self.line, snapshot.clone());
    }

    async fn publish_last(&self, snapshot: &WorkerSnapshot) {
        self.publish(snapshot).await;
        ask_server(&self.world, &self.line, |_| ()).await.ok();
    }
}

impl SectorManager for SimulatedBus {
    fn ask<'a>(
        &'a self,
        _method: &'static str,
        _body: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, Unavailable>> {
        Box::pin(async { Err(Unavailable("there is no sector manager here".into())) })
    }
}
