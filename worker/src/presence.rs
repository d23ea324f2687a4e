//! A worker's presence on the bus: what speaks and listens under its name, whoever it is that seals
//! (threads of this process, [`crate::worker`]; another program, [`crate::sidecar`]).
//!
//! ```text
//!  Presence --begin--> Present: the lease, the server's clock, commands, snapshots, events
//!    --stop_serving--> no commands any more --leave--> last events, last snapshot, lease given back
//! ```
//! What it needs of the bus is the trait [`Bus`], put together from a small trait beside each of its
//! users: [`Leases`], [`CommandSource`], [`Snapshots`], [`EventStream`], [`SectorManager`] and
//! [`ServerTime`]. Over NATS they are in [`crate::bus`], simulated in the tests'
//! `simulation/adapter.rs`.
//!
//! What always holds:
//! - The last events and the last snapshot go out while the lease is held: it is given back after
//!   them, so no other process of the name speaks between.
//! - A bus that is silent does not hold up the end: each step of leaving it has a time of its own.
//!
//! Tests: as of [`crate::worker`].

use std::{sync::Arc, time::Duration};

use damocles_client::{connect::Link, server_clock::ServerClock};
use damocles_daemon::tasks::{Task, Tasks};
use shared_msgs::lease::Lease;
use tokio::{
    sync::{Notify, oneshot, watch},
    time::timeout,
};
use tracing::{debug, warn};

use crate::{
    commands::{
        Commands,
        serve::{CommandSource, Server},
    },
    events::{EventPublisher, EventStream},
    identity::Worker,
    lease::{
        LeaseState,
        hold::{Leases, hold},
    },
    sector_manager::SectorManager,
    server_clock::{self, ServerTime},
    snapshots::{self, Snapshots},
    stillness,
    store::own::OwnStore,
};

/// How long each step of leaving the bus may take.
const LEAVE: Duration = Duration::from_secs(2);

/// A worker's way to the bus.
pub trait Bus:
    Leases + CommandSource + Snapshots + EventStream + SectorManager + ServerTime + 'static
{
    /// The state of the connection.
    fn link(&self) -> watch::Receiver<Link>;
    /// Sends what is left to be sent, and closes the connection.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// What a presence is put together from.
pub(crate) struct Presence<B> {
    /// The way to everybody else.
    pub(crate) bus: Arc<B>,
    /// What is said about the worker, and who carries its commands out.
    pub(crate) worker: Arc<Worker>,
    /// This process, as its lease names it.
    pub(crate) me: Lease,
    /// Where commands for many threads are written down.
    pub(crate) own_store: Arc<OwnStore>,
    /// What has happened, and is to be published.
    pub(crate) events: Arc<EventPublisher>,
    /// Told when there is something new to show.
    pub(crate) changed: Arc<Notify>,
    /// How long the history may stand still before it is said.
    pub(crate) store_patience: Duration,
    /// Whether this process holds its lease: said here.
    pub(crate) lease: watch::Sender<LeaseState>,
    /// The server's clock, once it is read: said here.
    pub(crate) clock: watch::Sender<Option<ServerClock>>,
}

/// A presence that is felt.
pub(crate) struct Present<B> {
    bus: Arc<B>,
    worker: Arc<Worker>,
    events: Arc<EventPublisher>,
    lease: watch::Receiver<LeaseState>,
    stop_serving: Option<oneshot::Sender<()>>,
    release: oneshot::Sender<()>,
    keeping: Task,
    // Those that publish, and those that only look.
    publishing: [Task; 2],
    looking: [Task; 2],
}

impl<B: Bus> Presence<B> {
    /// Gives each part of it a task.
    pub(crate) fn begin(self, tasks: &Tasks) -> Present<B> {
        let Presence { bus, worker, events, changed, .. } = self;
        let (link, lease) = (bus.link(), self.lease.subscribe());
        let (stop_serving, serving_stopped) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let (serving, seen_serving) = watch::channel(false);
        let history_goes_on = tasks.spawn(
            "watches whether the history goes on",
            stillness::watch(
                worker.clone(),
                events.clone(),
                link.clone(),
                changed.clone(),
                self.store_patience,
            ),
        );
        let server_clock = self.clock.subscribe();
        let keeping = tasks.spawn("keeps the lease", {
            let (bus, me, link, state) = (bus.clone(), self.me, link.clone(), self.lease);
            let clock = server_clock.clone();
            async move { hold(&*bus, me, link, clock, state, async { drop(released.await) }).await }
        });
        let reads_clock = tasks.spawn("reads the server's clock", {
            let (bus, link, clock) = (bus.clone(), link.clone(), self.clock);
            async move { server_clock::keep(&*bus, link, clock).await }
        });
        let commands = Commands {
            worker: worker.clone(),
            store: self.own_store,
            lease: lease.clone(),
            server_clock,
        };
        let server = Server { commands: Arc::new(commands), tasks: tasks.clone(), serving };
        tasks.spawn("serves commands", {
            let (bus, link) = (bus.clone(), link.clone());
            async move { server.run(&*bus, link, serving_stopped).await }
        });
        let snapshots = tasks.spawn("publishes snapshots", {
            let (bus, worker, lease) = (bus.clone(), worker.clone(), lease.clone());
            async move {
                snapshots::publish_all(&*bus, &worker, link, lease, seen_serving, changed).await
            }
        });
        let history = tasks.spawn("publishes events", {
            let (bus, events) = (bus.clone(), events.clone());
            async move { events.run(&*bus).await }
        });
        Present {
            bus,
            worker,
            events,
            lease,
            stop_serving: Some(stop_serving),
            release,
            keeping,
            publishing: [snapshots, history],
            looking: [history_goes_on, reads_clock],
        }
    }
}

impl<B: Bus> Present<B> {
    /// Takes no commands from now on.
    pub(crate) fn stop_serving(&mut self) {
        if let Some(stop) = self.stop_serving.take() {
            stop.send(()).ok();
        }
    }

    /// Ends it, and leaves the bus: what the worker says last is so from now on.
    pub(crate) async fn leave(self) {
        self.last_events().await;
        // By now another process may hold the lease.
        if self.is_up() && self.lease.borrow().is_confirmed() {
            let last = self.worker.snapshot();
            if timeout(LEAVE, self.bus.publish_last(&last)).await.is_err() {
                debug!("nobody confirmed the last state in time");
            }
        }
        let bus = self.bus.clone();
        let up = self.is_up();
        self.give_back().await;
        if up && timeout(LEAVE, bus.close()).await.is_err() {
            warn!("the connection to NATS was not closed in time");
        }
    }

    /// Ends it for another one, under another instance id over the same connection, which publishes
    /// what is left.
    pub(crate) async fn make_room(mut self) {
        self.stop_serving();
        self.publishing.iter().chain(&self.looking).for_each(Task::abort);
        self.give_back().await;
    }

    fn is_up(&self) -> bool {
        matches!(*self.bus.link().borrow(), Link::Up(_))
    }

    async fn last_events(&self) {
        let state = *self.lease.borrow();
        // Without a lease there is no stream.
        if self.is_up()
            && state.epoch().is_some()
            && state.is_confirmed()
            && timeout(LEAVE, self.events.all_published()).await.is_err()
        {
            debug!("some events are published after the next start");
        }
        self.publishing.iter().for_each(Task::abort);
    }

    async fn give_back(self) {
        let up = self.is_up();
        self.release.send(()).ok();
        if up && timeout(LEAVE, self.keeping.ended()).await.is_err() {
            debug!("the lease was not given back in time; it expires");
        }
    }
}
