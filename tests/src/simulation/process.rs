//! A worker's process: the real owners, commands, lease keeper and publisher of events over a
//! simulated bus and disks. What starts and stops it follows `damocles_worker::daemon` and
//! `damocles_worker::bus`.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use damocles_daemon::tasks::Tasks;
use damocles_worker::{
    commands::Commands,
    events::EventPublisher,
    identity::Worker,
    lease::{Keeper, LeaseState, keep, until_connected},
    store::{
        database::{Outgoing, Store},
        outbox::WaitingId,
        own::OwnStore,
    },
    thread::{
        owner::{Owner as Thread, Shutdown, Surroundings},
        report::Reports,
    },
};
use shared_msgs::{
    event::EventKind,
    id::Id,
    lease::Lease,
    plan::Plan,
    snapshot::{ThreadStatus, WorkerStatus},
    subject::Prefix,
};
use tokio::{
    sync::{Notify, oneshot, watch},
    time::{sleep, timeout},
};

use super::{
    bus::{self, Asked, Reply},
    clock,
    disk::Power,
    executor::Owner,
    history::Opening,
    leases::{SimulatedBucket, TTL},
    model::ThreadModel,
    steps::SimulatedSteps,
    stream::SimulatedStream,
    world::{Remains, World},
};

const PING: Duration = Duration::from_secs(1);
const SMALLEST_GAP: Duration = Duration::from_millis(50);
const GRACE: Duration = Duration::from_secs(2);
const LEAVE: Duration = Duration::from_secs(1);
// What its threads do: a long plan, and shorter ones.
const PLANS: [Plan; 3] = [Plan::Sealer, Plan::Snapup, Plan::Unseal];

/// A process.
pub struct Process {
    /// Counts all processes of the world.
    pub number: usize,
    /// The name it goes by.
    pub name: usize,
    /// Where it runs.
    pub machine: usize,
    /// What it says about itself.
    pub worker: Arc<Worker>,
    /// Its stores, one a thread.
    pub stores: Vec<Store>,
    /// Whether it holds its lease.
    pub lease: watch::Receiver<LeaseState>,
    commands: Arc<Commands>,
    // Whether there is a step that could go on, by thread. The steps themselves hold the world,
    // which holds its processes.
    in_step: Vec<Arc<AtomicBool>>,
    openings: Vec<usize>,
    serving: AtomicBool,
    cut: AtomicBool,
    link: watch::Sender<bool>,
    power: Power,
    stop_threads: watch::Sender<Shutdown>,
    release: Mutex<Option<oneshot::Sender<()>>>,
    events: Arc<EventPublisher>,
}

impl Process {
    /// Starts one on a machine.
    pub async fn start(world: &Arc<World>, machine: usize) {
        let number = world.processes().len();
        let on = world.machines()[machine].clone();
        let (power, outgoing, changed) =
            (Power::default(), Arc::<Outgoing>::default(), Arc::new(Notify::new()));
        let (lease, seen_lease) = watch::channel(LeaseState::Unsettled);
        let (stop_threads, stop) = watch::channel(Shutdown::No);
        let reports = Reports::start(
            &Tasks::new().0,
            on.name.to_string(),
            world.ground.sector_manager.clone(),
        );
        let (mut stores, mut in_step, mut openings, mut owners, mut handles) =
            (vec![], vec![], vec![], vec![], vec![]);
        for (index, disk) in on.disks.iter().enumerate() {
            let (disk, powered) = (disk.clone(), power.clone());
            let store = Store::in_memory(move || disk.attach(&powered), outgoing.clone()).unwrap();
            let before = store.load().await.unwrap().map(|record| ThreadModel::of(&record));
            for WaitingId { id, .. } in store.event_ids().await.unwrap() {
                world.history().inherit(id.store, on.opened[index]);
            }
            let doing = Arc::new(SimulatedSteps {
                world: world.clone(),
                name: format!("{} p{number} #{index}", world.names[on.name]),
                view: OnceLock::new(),
                in_step: Arc::default(),
            });
            let surroundings = Surroundings {
                steps: doing.clone(),
                lease: seen_lease.clone(),
                reports: reports.clone(),
                changed: changed.clone(),
                clock: clock::unix_ms,
                places: Arc::default(),
            };
            let plan = PLANS[(machine + index) % PLANS.len()];
            let location = world.ground.location.clone();
            let opened = Thread::open(
                index as u32,
                location,
                store.clone(),
                Ok(()),
                world.ground.thread(plan),
                surroundings,
            );
            let (owner, handle) = opened.await;
            let first = ThreadModel::of(&handle.view.borrow().record);
            let opening =
                Opening { process: number, machine, index: index as u32, first, last: None };
            openings.push(world.history().opened(opening, before, on.opened[index]));
            doing.view.set(handle.view.clone()).ok();
            stores.push(store);
            in_step.push(doing.in_step.clone());
            owners.push(owner);
            handles.push(handle);
        }
        let own_store = Arc::new(OwnStore::new(stores.clone()));
        let worker_id = own_store.worker_id().await;
        let worker = Arc::new(Worker::new(
            world.names[on.name].clone(),
            Prefix::default(),
            PING,
            seen_lease.clone(),
            handles,
        ));
        own_store.note(worker.event(EventKind::WorkerStarted)).await;
        let events = Arc::new(EventPublisher {
            stores: stores.clone(),
            outgoing,
            lease: seen_lease.clone(),
            instance_id: worker.instance_id,
            progress: watch::Sender::default(),
        });
        let (release, released) = oneshot::channel();
        let process = Arc::new(Process {
            number,
            name: on.name,
            machine,
            commands: Arc::new(Commands {
                worker: worker.clone(),
                store: own_store,
                lease: seen_lease.clone(),
            }),
            worker,
            stores,
            lease: seen_lease,
            in_step,
            openings: openings.clone(),
            serving: AtomicBool::new(true),
            cut: AtomicBool::new(false),
            link: watch::Sender::new(true),
            power,
            stop_threads,
            release: Mutex::new(Some(release)),
            events,
        });
        {
            let mut machines = world.machines();
            machines[machine].process = Some(process.clone());
            machines[machine].opened = openings.into_iter().map(Some).collect();
        }
        world.processes().push(process.clone());
        world.say(|| format!("p{number} starts on m{machine} as {}", world.names[process.name]));
        for owner in owners {
            process.spawn(world, owner.run(stop.clone()));
        }
        process
            .spawn(world, keep_lease(world.clone(), process.clone(), worker_id, lease, released));
        process.spawn(world, publish(world.clone(), process.clone(), changed));
        let stream = SimulatedStream { world: world.clone(), process: process.clone() };
        process.spawn(world, {
            let process = process.clone();
            async move { process.events.run(&stream).await }
        });
    }

    /// Kills it.
    pub fn kill(&self, world: &World) {
        self.end(world);
        self.ended(world, "is killed");
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(self: &Arc<Self>, world: &Arc<World>) {
        self.serving.store(false, Ordering::Relaxed);
        self.worker.set_status(WorkerStatus::Stopping);
        self.stop_threads.send_replace(Shutdown::AtSafePoint);
        if timeout(GRACE, self.threads_end()).await.is_err() {
            self.stop_threads.send_replace(Shutdown::Now);
            self.threads_end().await;
        }
        self.worker.set_status(WorkerStatus::Stopped);
        self.commands.store.note(self.worker.event(EventKind::WorkerStopped)).await;
        if self.power.is_cut() {
            // It was killed meanwhile.
            return;
        }
        let confirmed = self.lease.borrow().is_confirmed();
        if confirmed && timeout(LEAVE, self.events.all_published()).await.is_ok() {
            world.count("a worker stopped with all published");
        }
        if self.lease.borrow().is_confirmed() {
            bus::spread(world, self, self.worker.snapshot());
        }
        let release = self.release.lock().unwrap_or_else(PoisonError::into_inner).take();
        release.map(|release| release.send(()));
        sleep(Duration::from_millis(100)).await;
        self.end(world);
        self.ended(world, "has stopped");
    }

    /// Answers a command, if it serves any.
    pub fn serve(self: &Arc<Self>, world: &Arc<World>, asked: Asked) {
        if !self.serving.load(Ordering::Relaxed) || !self.lease.borrow().is_holder() {
            return;
        }
        let (process, here, world) = (self.clone(), world, world.clone());
        self.spawn(here, async move {
            let answer = match asked.to_all {
                true => {
                    process.commands.answer_all(asked.verb.name(), &asked.payload, usize::MAX).await
                }
                false => Some(
                    process.commands.answer(asked.verb.name(), &asked.payload, usize::MAX).await,
                ),
            };
            let Some(reply) = answer.map(|answer| Reply::read(&answer)) else { return };
            world.say(|| {
                format!("p{} answers o{}: {}", process.number, asked.order, described(&reply))
            });
            world.history().answered(process.number, asked.order, reply.clone());
            bus::reply(&world, &process, asked, reply);
        });
    }

    /// Whether the bus is out of its reach.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Cuts it off the bus; it notices after a while, if it is not back by then.
    pub async fn cut_off(&self, world: &World, unnoticed: Duration, noticed: Duration) {
        world.say(|| format!("p{} is cut off for {unnoticed:?} + {noticed:?}", self.number));
        self.cut.store(true, Ordering::Relaxed);
        sleep(unnoticed).await;
        if !noticed.is_zero() {
            self.link.send_replace(false);
            sleep(noticed).await;
        }
        self.cut.store(false, Ordering::Relaxed);
        self.link.send_replace(true);
        world.say(|| format!("p{} is back", self.number));
    }

    /// Whether it was asked to stop.
    pub fn is_stopping(&self) -> bool {
        !self.serving.load(Ordering::Relaxed)
    }

    /// Waits until it is not cut off.
    pub async fn reconnected(&self) {
        while self.is_cut() {
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether its stores hold events that are not published.
    pub async fn has_events(&self) -> bool {
        for store in &self.stores {
            if store.first_event().await.unwrap().is_some() {
                return true;
            }
        }
        false
    }

    /// Ends its tasks, and lets it write nothing any more.
    pub fn end(&self, world: &World) {
        self.power.cut();
        world.executor.end(Owner::Process(self.number));
    }

    /// What must be gone when its world is: who it was, and the power of its disks, which each of
    /// its stores holds and so whatever holds a store.
    pub fn remains(&self) -> [Remains; 2] {
        let number = self.number;
        [
            Remains::of(format!("the worker of p{number}"), &self.worker),
            Remains::of(format!("a store of p{number}"), &self.power.0),
        ]
    }

    /// Notes what its threads' records say.
    pub fn note_last(&self, world: &World) {
        for (thread, opening) in self.worker.threads.iter().zip(&self.openings) {
            world.history().openings[*opening].last =
                Some(ThreadModel::of(&thread.view.borrow().record));
        }
    }

    fn ended(&self, world: &World, how: &str) {
        world.say(|| format!("p{} {how}", self.number));
        self.note_last(world);
        let mut machines = world.machines();
        let process = &mut machines[self.machine].process;
        process.take_if(|process| process.number == self.number);
    }

    async fn threads_end(&self) {
        for thread in &self.worker.threads {
            thread.mailbox.closed().await;
        }
    }

    fn spawn(&self, world: &World, task: impl Future<Output = ()> + Send + 'static) {
        world.executor.spawn(Owner::Process(self.number), task);
    }
}

// From one connection to the next, until the lease is given back.
async fn keep_lease(
    world: Arc<World>,
    process: Arc<Process>,
    worker_id: Id,
    lease: watch::Sender<LeaseState>,
    released: oneshot::Receiver<()>,
) {
    let me = Lease {
        worker_id,
        instance_id: process.worker.instance_id,
        epoch: None,
        host: "h".into(),
        pid: 1,
    };
    let mut keeper = Keeper::new(me);
    let bucket = SimulatedBucket { world: world.clone(), process: process.clone() };
    let mut link = process.link.subscribe();
    let keeping = async {
        while until_connected(&lease, async { link.wait_for(|up| *up).await.is_ok() }).await {
            let lost = async { drop(link.wait_for(|up| !*up).await) };
            keep(&mut keeper, &bucket, TTL, &lease, lost).await;
        }
    };
    tokio::select! {
        biased;
        _ = released => {}
        () = keeping => {}
    }
    if let Some(revision) = keeper.revision() {
        let name = process.name;
        bus::ask_server(&world, &process, move |world| {
            world.server().leases[name].release(revision)
        })
        .await
        .ok();
    }
}

async fn publish(world: Arc<World>, process: Arc<Process>, changed: Arc<Notify>) {
    let (mut lease, mut link) = (process.lease.clone(), process.link.subscribe());
    loop {
        if link.wait_for(|up| *up).await.is_err()
            || lease.wait_for(LeaseState::is_confirmed).await.is_err()
        {
            return;
        }
        if *link.borrow_and_update() {
            let snapshot = process.worker.snapshot();
            for (thread, in_step) in snapshot.threads.iter().zip(&process.in_step) {
                if matches!(thread.status, ThreadStatus::Paused { .. })
                    && in_step.load(Ordering::Relaxed)
                {
                    world.violated(format!(
                        "p{} #{} is shown as paused while it is in a step",
                        process.number, thread.index
                    ));
                }
            }
            bus::spread(&world, &process, snapshot);
            tokio::select! {
                biased;
                () = changed.notified() => {}
                () = sleep(PING) => {}
                _ = link.changed() => {}
            }
        }
        sleep(SMALLEST_GAP).await;
    }
}

fn described(reply: &Reply) -> String {
    match reply {
        Reply::One(one) => format!("#{} r{} {:?}", one.index, one.revision, one.outcome),
        Reply::Many(many) => {
            let each = many.threads.iter().map(|thread| match (&thread.outcome, &thread.error) {
                (Some(outcome), _) => format!("#{} {outcome:?}", thread.index),
                (None, error) => {
                    format!("#{} {:?}", thread.index, error.as_ref().map(|error| &error.kind))
                }
            });
            format!("[{}]", each.collect::<Vec<_>>().join(", "))
        }
        Reply::Refused(refusal) => format!("{refusal:?}"),
    }
}
