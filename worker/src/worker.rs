//! The worker at work, whatever its bus, its clock and its stores are. The daemon runs it over NATS
//! and files, the simulation of the tests over a bus, a clock and disks of its own; only these
//! adapters differ.
//!
//! ```text
//!  Parts --take_up--> Ready (threads are where their stores say) --run--> at work --asked to stop-->
//!    no commands any more -> threads end -> what works for them does -> last events and snapshot
//!    -> the lease is given back -> the bus is left
//! ```
//! Its life: [`Parts::take_up`] opens an owner for each thread and notes that the worker has
//! started; [`Ready::run`] gives each owner a task, and makes the worker felt on the bus
//! ([`crate::presence`]). It stops when it is asked to, or when one of their tasks has ended.
//!
//! What always holds:
//! - Threads run from the start to the stop, whether there is a bus, and whoever holds the lease.
//! - It never goes on half alive: a task that ends, for whatever reason, stops the worker, and is
//!   named. Only a thread may end by itself: it shows that, and the others go on.
//! - A stage that runs has the grace period to end; asked once more, or later than that, it is
//!   given up, and run again by the next start.
//! - What works for the threads is ended after the last of them, and before anything says
//!   "stopped".
//!
//! Tests: the scenarios `sealing::shutdown`, `bus::half_alive`, `bus::nats_outage`,
//! `lease::owning` and `processors::deaths`, and the simulation, which runs this very module.

use std::{sync::Arc, time::Duration};

use damocles_client::server_clock::ServerClock;
use damocles_daemon::tasks::{Ended, Task, TaskEnded, Tasks};
use futures::{Stream, StreamExt, future::join_all, stream::FuturesUnordered};
use shared_msgs::{
    event::EventKind, lease::Lease, name::WorkerName, snapshot::WorkerStatus, subject::Prefix,
};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tracing::{error, info, warn};

use crate::{
    clock::Clock,
    config::ThreadConfig,
    events::EventPublisher,
    identity::Worker,
    lease::LeaseState,
    plan::step::Steps,
    presence::{Bus, Presence},
    store::{
        database::{Outgoing, Store, StoreError},
        location::Location,
        own::OwnStore,
        place::Places,
    },
    thread::{
        heartbeat,
        mailbox::{Commanded, ThreadHandle},
        owner::{Owner, Shutdown, Surroundings},
        report::Reports,
    },
};

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
    /// How its threads are reached.
    pub threads: Vec<ThreadHandle>,
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
        let threads = handles.iter().map(|thread| Arc::new(thread.clone()) as Arc<dyn Commanded>);
        let threads = threads.collect();
        let mut worker =
            Worker::new(name, prefix, self.ping_interval, lease.clone(), threads, clock);
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
            threads: handles,
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
        let presence = Presence {
            bus: self.bus,
            worker: worker.clone(),
            me: self.me,
            own_store: own_store.clone(),
            events: self.events,
            changed: self.changed,
            store_patience: self.store_patience,
            lease: self.keeps_lease,
            clock: self.keeps_clock,
        };
        let mut present = presence.begin(&tasks);
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
        present.stop_serving();
        stop_all(threads, &stop_threads, grace, next(&mut asked)).await;
        stop_steps.await;
        worker.set_status(WorkerStatus::Stopped);
        own_store.note(worker.event(EventKind::WorkerStopped)).await;
        present.leave().await;
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
