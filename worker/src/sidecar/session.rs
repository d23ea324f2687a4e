//! One sidecar, from its start to its stop. Each run of the damocles-worker is an instance of its
//! own on the bus, for whoever watches a worker must see that it was restarted.
//!
//! ```text
//!  open (memory locked) --run--> connected --a run of the worker--> felt on the bus --another run--+
//!                                     ^                                   |                        |
//!                                     |                             asked to stop                  |
//!                                     +---------- (room is made) ---------|------------------------+
//!                                                                         v
//!                                               last events and snapshot, the lease is given back
//! ```

use std::{path::Path, sync::Arc, time::Duration};

use damocles_client::{
    connect::{ConnectError, NatsSettings},
    nats::Connection,
};
use damocles_daemon::tasks::{TaskEnded, Tasks};
use damocles_wire::{
    address::Address,
    json_rpc::{JsonRpc, NoClient},
    worker::{NAMESPACE, WorkerSocket},
};
use futures::future::{BoxFuture, join_all};
use shared_msgs::{
    event::{Event, EventKind},
    lease::Lease,
    name::WorkerName,
    snapshot::{ThreadSnapshot, ThreadStatus, WorkerStatus},
};
use tokio::sync::{Notify, mpsc, watch};
use tracing::{Instrument, error, info, info_span};

use super::{
    memory::{Memory, MemoryError},
    owner::{Owner, Parts, Run},
    view::View,
};
use crate::{
    bus::NatsBus,
    clock,
    events::EventPublisher,
    identity::Worker,
    lease::LeaseState,
    presence::{Bus, Presence},
    store::own::OwnStore,
    thread::mailbox::{Command, Commanded},
};

/// The longest time between two of its reports.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const MAILBOX: usize = 64;

/// Why a sidecar does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// It cannot keep what it must not forget.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// It cannot call anybody.
    #[error(transparent)]
    NoClient(#[from] NoClient),
    /// The options for NATS can never work.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Something in it has ended: it must not go on half alive.
    #[error(transparent)]
    TaskEnded(#[from] TaskEnded),
}

/// A sidecar whose memory is open: no other process can have it.
pub struct Sidecar {
    name: WorkerName,
    rpc: Address,
    socket: WorkerSocket,
    memory: Memory,
    settings: NatsSettings,
}

impl Sidecar {
    /// Opens the memory of that worker's sidecar, in the state directory. Blocks.
    pub fn open(
        name: WorkerName,
        rpc: Address,
        state: &Path,
        settings: NatsSettings,
    ) -> Result<Sidecar, SidecarError> {
        let socket = WorkerSocket::new(JsonRpc::new(rpc.url("/"), NAMESPACE)?);
        let memory = Memory::open(state, &name)?;
        Ok(Sidecar { name, rpc, socket, memory, settings })
    }

    /// Speaks for the worker until it is asked to stop.
    pub async fn run(self, stop: watch::Receiver<bool>) -> Result<(), SidecarError> {
        let span = info_span!("sidecar", worker = %self.name);
        self.speak(stop).instrument(span).await
    }

    async fn speak(self, mut stop: watch::Receiver<bool>) -> Result<(), SidecarError> {
        let Sidecar { name, rpc, socket, memory, settings } = self;
        let kept = memory.load().await?;
        let client_name = format!("damocles-worker sidecar {name}");
        let (Connection { client, .. }, link) = settings.connect_daemon(&client_name).await?;
        let bus = Arc::new(NatsBus {
            client,
            link,
            prefix: settings.prefix.clone(),
            worker: name.clone(),
            encoding: settings.encoding,
            timeout: settings.timeout,
            lease_ttl: settings.lease_ttl,
        });
        let (commands, mailbox) = mpsc::channel(MAILBOX);
        let (views, runs) = (watch::Sender::new(vec![]), watch::Sender::new(None));
        let changed = Arc::new(Notify::new());
        let (keeps_lease, _) = watch::channel(LeaseState::Unsettled);
        let (keeps_clock, _) = watch::channel(None);
        let (seen_views, mut seen_runs) = (views.subscribe(), runs.subscribe());
        let own_store = Arc::new(OwnStore::new(vec![memory.store.clone()]));
        let worker_id = own_store.worker_id().await;
        let owner = Owner::new(Parts {
            socket,
            memory: memory.clone(),
            kept,
            mailbox,
            views,
            runs,
            changed: changed.clone(),
            lease: keeps_lease.subscribe(),
            server_clock: keeps_clock.subscribe(),
            clock: clock::system,
        });
        let (tasks, mut ended) = Tasks::new();
        tasks.spawn("lists the threads", owner.run().in_current_span());
        info!(%rpc, servers = settings.servers(), "speaking for the damocles-worker");
        loop {
            let run = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => {
                    bus.close().await;
                    return Ok(());
                }
                ended = ended.first() => return Err(ended.into()),
                run = seen_runs.wait_for(Option::is_some) => match run {
                    Ok(run) => run.clone(),
                    Err(_) => None,
                },
            };
            // The owner's end is told by its task.
            let Some(run) = run else { return Err(ended.first().await.into()) };
            let worker = worker_of(&name, &settings, &run, &keeps_lease, &commands, &seen_views);
            let worker = Arc::new(worker);
            let started = Event {
                reason: Some(format!("seen by its sidecar: {}", run.why)),
                ..worker.event(EventKind::WorkerStarted)
            };
            own_store.note(started).await;
            keeps_lease.send_replace(LeaseState::Unsettled);
            let presence = Presence {
                bus: bus.clone(),
                worker: worker.clone(),
                me: Lease {
                    worker_id,
                    instance_id: worker.instance_id,
                    epoch: None,
                    host: worker.host.clone(),
                    pid: std::process::id(),
                },
                own_store: own_store.clone(),
                events: Arc::new(EventPublisher {
                    stores: vec![memory.store.clone()],
                    outgoing: memory.outgoing.clone(),
                    lease: keeps_lease.subscribe(),
                    instance_id: worker.instance_id,
                    progress: watch::Sender::default(),
                }),
                changed: changed.clone(),
                store_patience: settings.store_patience,
                lease: keeps_lease.clone(),
                clock: keeps_clock.clone(),
            };
            // Those of one run end with it.
            let (of_run, mut of_run_ended) = Tasks::new();
            let mut present = presence.begin(&of_run);
            let fault = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => None,
                ended = ended.first() => Some(ended),
                ended = of_run_ended.first() => Some(ended),
                _ = seen_runs.changed() => {
                    present.make_room().await;
                    continue;
                }
            };
            if let Some(ended) = &fault {
                error!("stopping: {ended}");
            }
            present.stop_serving();
            worker.set_status(WorkerStatus::Stopped);
            let stopped = Event {
                reason: Some("its sidecar ends; nobody has stopped the damocles-worker".into()),
                ..worker.event(EventKind::WorkerStopped)
            };
            own_store.note(stopped).await;
            present.leave().await;
            return fault.map_or(Ok(()), |ended| Err(ended.into()));
        }
    }
}

fn worker_of(
    name: &WorkerName,
    settings: &NatsSettings,
    run: &Run,
    lease: &watch::Sender<LeaseState>,
    commands: &mpsc::Sender<(usize, Command)>,
    views: &watch::Receiver<Vec<View>>,
) -> Worker {
    let thread = |position| {
        let (mailbox, views) = (commands.clone(), views.clone());
        Arc::new(MirroredThread { position, mailbox, views }) as Arc<dyn Commanded>
    };
    let threads = (0..run.threads).map(thread).collect();
    let (prefix, lease) = (settings.prefix.clone(), lease.subscribe());
    let mut worker =
        Worker::new(name.clone(), prefix, PING_INTERVAL, lease, threads, clock::system);
    let behind = run.version.as_deref().unwrap_or("damocles-worker");
    worker.version = format!("{behind} (sidecar {})", worker.version);
    worker
}

// A thread of the damocles-worker.
struct MirroredThread {
    // Its place in the list, which is its index on the bus.
    position: usize,
    mailbox: mpsc::Sender<(usize, Command)>,
    views: watch::Receiver<Vec<View>>,
}

impl Commanded for MirroredThread {
    fn snapshot(&self) -> ThreadSnapshot {
        match self.views.borrow().get(self.position) {
            Some(view) => view.snapshot(),
            // The worker was restarted with fewer threads; another run is about to begin.
            None => ThreadSnapshot {
                index: self.position as u32,
                location: String::new(),
                plan: String::new(),
                sector_id: None,
                state: String::new(),
                stage: None,
                cordoned: false,
                status: ThreadStatus::Other,
                revision: 0,
                retry: 0,
                end_pending: None,
                last_err: None,
            },
        }
    }

    fn give(&self, command: Command) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.mailbox.send((self.position, command)).await.is_ok() })
    }

    fn ended(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(std::future::ready(None))
    }
}

/// Runs sidecars side by side until they are asked to stop, or one of them cannot go on: then all of
/// them stop, for a process must not go on half alive.
pub async fn run_all(
    sidecars: Vec<Sidecar>,
    asked: impl Future<Output = &'static str>,
) -> Result<(), SidecarError> {
    let (stop, stopped) = watch::channel(false);
    let running = join_all(sidecars.into_iter().map(async |sidecar| {
        let ended = sidecar.run(stopped.clone()).await;
        stop.send_replace(true);
        ended
    }));
    let asked = async {
        let signal = asked.await;
        info!(signal, "stopping");
        stop.send_replace(true);
        std::future::pending().await
    };
    let ended = tokio::select! {
        ended = running => ended,
        never = asked => never,
    };
    info!("stopped");
    ended.into_iter().collect()
}
