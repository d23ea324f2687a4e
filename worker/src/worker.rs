//! The worker at work, whatever its bus, its clock and its stores are. The daemon runs it over NATS
//! and files, the simulation of the tests over a bus, a clock and disks of its own; only these
//! adapters differ.
//!
//! ```text
//!  Parts --take_up--> Ready (threads are where their stores say) --run--> at work --asked to stop-->
//!    no commands any more -> threads end -> what works for them does -> last events and snapshot
//!    -> the lease is given back -> the bus is left
//! ```
//! What it needs of the bus is the trait [`Bus`], put together from a small trait beside each of its
//! users: [`Leases`], [`CommandSource`], [`Snapshots`], [`EventStream`], [`SectorManager`] and
//! [`ServerTime`]. Over NATS they are in [`crate::bus`], simulated in the tests' `simulation/adapter.rs`.
//!
//! Its life: [`Parts::take_up`] opens an owner for each thread and notes that the worker has
//! started; [`Ready::run`] gives each owner a task, and one each to the lease, the commands, the
//! snapshots and the events. It stops when it is asked to, or when one of these tasks has ended.
//!
//! What always holds:
//! - Threads run from the start to the stop, whether there is a bus, and whoever holds the lease.
//! - It never goes on half alive: a task that ends, for whatever reason, stops the worker, and is
//!   named. Only a thread may end by itself: it shows that, and the others go on.
//! - A stage that runs has the grace period to end; asked once more, or later than that, it is
//!   given up, and run again by the next start.
//! - What works for the threads is ended after the last of them, and before anything says
//!   "stopped".
//! - The last events and the last snapshot go out while the lease is held: it is given back after
//!   them, so no other process of the name speaks between.
//! - A bus that is silent does not hold up the end: each step of leaving it has a time of its own.
//!
//! Tests: the scenarios `sealing::shutdown`, `bus::half_alive`, `bus::nats_outage`,
//! `lease::owning` and `processors::deaths`, and the simulation, which runs this very module.

use std::{sync::Arc, time::Duration};

use damocles_client::{connect::Link, server_clock::ServerClock};
use damocles_daemon::tasks::{Ended, Task, TaskEnded, Tasks};
use futures::{Stream, StreamExt, future::join_all, stream::FuturesUnordered};
use shared_msgs::{
    event::EventKind, lease::Lease, name::WorkerName, snapshot::WorkerStatus, subject::Prefix,
};
use tokio::{
    sync::{Notify, oneshot, watch},
    time::{sleep, timeout},
};
use tracing::{debug, error, info, warn};

use crate::{
    clock::Clock,
    commands::{
        Commands,
        serve::{CommandSource, Server},
    },
    config::ThreadConfig,
    events::{EventPublisher, EventStream},
    identity::Worker,
    lease::{
        LeaseState,
        hold::{Leases, hold},
    },
    plan::step::Steps,
    sector_manager::SectorManager,
    server_clock::{self, ServerTime},
    snapshots::{self, Snapshots},
    stillness,
    store::{
        database::{Outgoing, Store, StoreError},
        location::Location,
        own::OwnStore,
        place::Places,
    },
    thread::{
        heartbeat,
        owner::{Owner, Shutdown, Surroundings},
        report::Reports,
    },
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

/// What a worker is put together from.
pub struct Parts<B> {
    /// Its name, under which it acquires a lease.
    pub name: WorkerName,
    /// First part of every subject.
    pub prefix: Prefix,
    /// The longest time between two of its reports.
    pub ping_interval: Duration,
    /// How long stages that run may take once it is asked to stop.
    pub grace: Duration,
    /// How long the history may stand still before it is said.
    pub store_patience: Duration,
    /// Its threads, of which there is at least one.
    pub threads: Vec<ThreadParts>,
    /// What their stores share.
    pub outgoing: Arc<Outgoing>,
    /// Which directory is which.
    pub places: Arc<Places>,
    /// What does the steps of its threads.
    pub steps: Arc<dyn Steps>,
    /// Its way to everybody else.
    pub bus: Arc<B>,
    /// The time of day.
    pub clock: Clock,
    /// Where its tasks run, and whoever hears of their ends.
    pub tasks: (Tasks, Ended),
}

/// What a thread is put together from.
pub struct ThreadParts {
    /// The directory that is its own.
    pub location: Location,
    /// Its record, results and events, in that location.
    pub store: Store,
    /// What became of opening that.
    pub opened: Result<(), StoreError>,
    /// What it does and how, as the worker's file has it.
    pub config: ThreadConfig,
}

/// A worker whose threads were taken up, and do not run yet.
pub struct Ready<B> {
    /// What it says about itself.
    pub worker: Arc<Worker>,
    /// Whether this process holds its lease.
    pub lease: watch::Receiver<LeaseState>,
    owners: Vec<Owner>,
    stop_threads: watch::Sender<Shutdown>,
    keeps_lease: watch::Sender<LeaseState>,
    keeps_clock: watch::Sender<Option<ServerClock>>,
    me: Lease,
    own_store: Arc<OwnStore>,
    events: Arc<EventPublisher>,
    changed: Arc<Notify>,
    grace: Duration,
    store_patience: Duration,
    bus: Arc<B>,
    tasks: Tasks,
    ended: Ended,
}

impl<B: Bus> Parts<B> {
    /// Takes the threads up where their stores say they were.
    pub async fn take_up(self) -> Ready<B> {
        let Parts { name, prefix, bus, clock, steps, places, outgoing, .. } = self;
        let (tasks, ended) = self.tasks;
        let changed = Arc::new(Notify::new());
        let (stop_threads, _) = watch::channel(Shutdown::No);
        let (keeps_lease, lease) = watch::channel(LeaseState::Unsettled);
        let (keeps_clock, server_clock) = watch::channel(None);
        let reports = Reports::start(&tasks, name.to_string(), bus.clone());
        let stores: Vec<_> = self.threads.iter().map(|thread| thread.store.clone()).collect();
        let own_store = Arc::new(OwnStore::new(stores.clone()));
        let worker_id = own_store.worker_id().await;
        let first = self.threads.first().map(|thread| thread.location.path().to_owned());
        let opening = self.threads.into_iter().enumerate().map(|(index, thread)| {
            let ThreadParts { location, store, opened, config } = thread;
            let surroundings = Surroundings {
                steps: steps.clone(),
                lease: lease.clone(),
                server_clock: server_clock.clone(),
                reports: reports.clone(),
                changed: changed.clone(),
                clock,
                places: places.clone(),
            };
            Owner::open(index as u32, location, store, opened, config, surroundings)
        });
        let (owners, handles): (Vec<_>, Vec<_>) = join_all(opening).await.into_iter().unzip();
        let beats =
            heartbeat::send_all(name.to_string(), self.ping_interval, bus.clone(), handles.clone());
        tasks.spawn("sends heartbeats", beats);
        let mut worker =
            Worker::new(name, prefix, self.ping_interval, lease.clone(), handles, clock);
        worker.location_id = first.and_then(|path| places.remembered(&path));
        own_store.note(worker.event(EventKind::WorkerStarted)).await;
        Ready {
            me: Lease {
                worker_id,
                instance_id: worker.instance_id,
                epoch: None,
                host: worker.host.clone(),
                pid: std::process::id(),
            },
            events: Arc::new(EventPublisher {
                stores,
                outgoing,
                lease: lease.clone(),
                instance_id: worker.instance_id,
                progress: watch::Sender::default(),
            }),
            worker: Arc::new(worker),
            lease,
            owners,
            stop_threads,
            keeps_lease,
            keeps_clock,
            own_store,
            changed,
            grace: self.grace,
            store_patience: self.store_patience,
            bus,
            tasks,
            ended,
        }
    }
}

impl<B: Bus> Ready<B> {
    /// Works until it is `asked` to stop, or one of its tasks has ended. Asked once more, stages
    /// that run are given up at once. When no thread runs any more, `stop_steps` ends what has
    /// worked for them.
    pub async fn run(
        self,
        mut asked: impl Stream<Item = &'static str> + Send + Unpin,
        stop_steps: impl Future<Output = ()> + Send,
    ) -> Result<(), TaskEnded> {
        let Ready { worker, owners, stop_threads, own_store, grace, tasks, mut ended, .. } = self;
        let threads: Vec<Task> = owners
            .into_iter()
            .map(|owner| tasks.start(owner.run(stop_threads.subscribe())))
            .collect();
        let (stop_serving, serving_stopped) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let (serving, seen_serving) = watch::channel(false);
        let (link, bus, lease) = (self.bus.link(), self.bus, self.lease);
        let (events, changed) = (self.events, self.changed);
        tasks.spawn(
            "watches whether the history goes on",
            stillness::watch(
                worker.clone(),
                events.clone(),
                link.clone(),
                changed.clone(),
                self.store_patience,
            ),
        );
        let server_clock = self.keeps_clock.subscribe();
        let keeping = tasks.spawn("keeps the lease", {
            let (bus, me, link, state) = (bus.clone(), self.me, link.clone(), self.keeps_lease);
            let clock = server_clock.clone();
            async move { hold(&*bus, me, link, clock, state, async { drop(released.await) }).await }
        });
        tasks.spawn("reads the server's clock", {
            let (bus, link, clock) = (bus.clone(), link.clone(), self.keeps_clock);
            async move { server_clock::keep(&*bus, link, clock).await }
        });
        let commands = Commands {
            worker: worker.clone(),
            store: own_store.clone(),
            lease: lease.clone(),
            server_clock,
        };
        let server = Server { commands: Arc::new(commands), tasks: tasks.clone(), serving };
        tasks.spawn("serves commands", {
            let (bus, link) = (bus.clone(), link.clone());
            async move { server.run(&*bus, link, serving_stopped).await }
        });
        let snapshots = tasks.spawn("publishes snapshots", {
            let (bus, worker, link, lease) =
                (bus.clone(), worker.clone(), link.clone(), lease.clone());
            async move {
                snapshots::publish_all(&*bus, &worker, link, lease, seen_serving, changed).await
            }
        });
        let history = tasks.spawn("publishes events", {
            let (bus, events) = (bus.clone(), events.clone());
            async move { events.run(&*bus).await }
        });

        let fault = tokio::select! {
            biased;
            ended = ended.first() => {
                error!("stopping: {ended}");
                Some(ended)
            }
            signal = next(&mut asked) => {
                info!(signal, "stopping");
                None
            }
        };
        worker.set_status(WorkerStatus::Stopping);
        stop_serving.send(()).ok();
        stop_all(threads, &stop_threads, grace, next(&mut asked)).await;
        stop_steps.await;
        worker.set_status(WorkerStatus::Stopped);
        own_store.note(worker.event(EventKind::WorkerStopped)).await;
        let up = matches!(*link.borrow(), Link::Up(_));
        let state = *lease.borrow();
        // Without a lease there is no stream.
        if up
            && state.epoch().is_some()
            && state.is_confirmed()
            && timeout(LEAVE, events.all_published()).await.is_err()
        {
            debug!("some events are published after the next start");
        }
        snapshots.abort();
        history.abort();
        // By now another process may hold the lease.
        if up && lease.borrow().is_confirmed() {
            let last = worker.snapshot();
            if timeout(LEAVE, bus.publish_last(&last)).await.is_err() {
                debug!("nobody confirmed the last state in time");
            }
        }
        release.send(()).ok();
        if up && timeout(LEAVE, keeping.ended()).await.is_err() {
            debug!("the lease was not given back in time; it expires");
        }
        if up && timeout(LEAVE, bus.close()).await.is_err() {
            warn!("the connection to NATS was not closed in time");
        }
        info!("stopped");
        fault.map_or(Ok(()), Err)
    }
}

// Nobody who asks any more asks never.
async fn next(asked: &mut (impl Stream<Item = &'static str> + Unpin)) -> &'static str {
    match asked.next().await {
        Some(signal) => signal,
        None => std::future::pending().await,
    }
}

async fn stop_all(
    threads: Vec<Task>,
    stop: &watch::Sender<Shutdown>,
    grace: Duration,
    asked_again: impl Future<Output = &'static str>,
) {
    stop.send_replace(Shutdown::AtSafePoint);
    let mut running: FuturesUnordered<_> = threads.into_iter().map(Task::ended).collect();
    let all_ended = async { while running.next().await.is_some() {} };
    let why = tokio::select! {
        biased;
        () = all_ended => return info!("all threads are at a safe point"),
        () = sleep(grace) => "the grace period is over",
        signal = asked_again => signal,
    };
    warn!(
        threads = running.len(),
        why,
        ?grace,
        "stages that still run are given up; the next start runs them again"
    );
    stop.send_replace(Shutdown::Now);
    while running.next().await.is_some() {}
}
