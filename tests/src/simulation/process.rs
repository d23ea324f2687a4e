//! A worker's process: the real worker, from its start to its end, over a simulated bus and disks.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use damocles_daemon::tasks::{TaskEnded, Tasks};
use damocles_worker::{
    identity::Worker,
    lease::LeaseState,
    store::{
        database::{Outgoing, Store},
        outbox::WaitingId,
    },
    thread::ThreadHandle,
    worker::{Parts, Ready, ThreadParts},
};
use futures::stream;
use shared_msgs::{plan::Plan, subject::Prefix};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{
    adapter::SimulatedBus,
    clock,
    disk::Power,
    executor::Owner,
    history::Opening,
    line::Line,
    model::ThreadModel,
    steps::{SimulatedSteps, SimulatedThread},
    world::{Machine, Remains, World},
};

const PING: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(2);
const STORE_PATIENCE: Duration = Duration::from_secs(12);
// What its threads do: a long plan, and shorter ones.
const PLANS: [Plan; 3] = [Plan::Sealer, Plan::Snapup, Plan::Unseal];

/// A worker's process, from its start to its end.
pub struct Process {
    /// Counts all processes of the world.
    pub number: usize,
    /// The name it goes by.
    pub name: usize,
    /// Number of the machine that it runs on.
    pub machine: usize,
    /// How it is connected; gone with it.
    pub line: Arc<Line>,
    /// What it says about itself.
    pub worker: Arc<Worker>,
    threads: Vec<ThreadHandle>,
    /// Its stores, one a thread.
    pub stores: Vec<Store>,
    /// Whether it holds its lease.
    pub lease: watch::Receiver<LeaseState>,
    openings: Vec<usize>,
    power: Power,
    signals: mpsc::UnboundedSender<&'static str>,
    stopping: AtomicBool,
    over: watch::Sender<bool>,
}

// A worker that is put together, and what its stores said until then.
struct Prepared {
    ready: Ready<SimulatedBus>,
    stores: Vec<Store>,
    before: Vec<Option<ThreadModel>>,
    power: Power,
    line: Arc<Line>,
}

impl Process {
    /// Starts one on a machine.
    pub async fn start(world: &Arc<World>, machine: usize) {
        let number = world.processes().len();
        let on = world.machines()[machine].clone();
        let Prepared { ready, stores, before, power, line } =
            prepare(world, number, machine, &on).await;
        let mut openings = vec![];
        for (index, (thread, before)) in ready.threads.iter().zip(before).enumerate() {
            let first = ThreadModel::of(&thread.view.borrow().record);
            let opening =
                Opening { process: number, machine, index: index as u32, first, last: None };
            openings.push(world.history().opened(opening, before, on.opened[index]));
        }
        let (signals, asked) = mpsc::unbounded_channel();
        let process = Arc::new(Process {
            number,
            name: on.name,
            machine,
            line,
            worker: ready.worker.clone(),
            threads: ready.threads.clone(),
            stores,
            lease: ready.lease.clone(),
            openings: openings.clone(),
            power,
            signals,
            stopping: AtomicBool::new(false),
            over: watch::Sender::new(false),
        });
        {
            let mut machines = world.machines();
            machines[machine].process = Some(process.clone());
            machines[machine].opened = openings.into_iter().map(Some).collect();
        }
        world.processes().push(process.clone());
        world.say(|| format!("p{number} starts on m{machine} as {}", world.names[process.name]));
        let here = world.clone();
        world.executor.spawn(Owner::Process(number), async move {
            let mut asked = asked;
            let asked = stream::poll_fn(move |context| asked.poll_recv(context));
            let ended = ready.run(asked, async {}).await;
            process.has_stopped(&here, ended).await;
        });
    }

    /// Ends it as `kill -9` would: nothing more is written or sent.
    pub fn kill(&self, world: &World) {
        self.end(world);
        self.ended(world, "is killed");
    }

    /// Asks it to stop, sometimes impatiently, and waits until it has, or was killed.
    pub async fn stop(&self, world: &World) {
        self.stopping.store(true, Ordering::Relaxed);
        self.signals.send("SIGTERM").ok();
        if world.chance(25) {
            sleep(world.millis(1..2_000)).await;
            self.signals.send("SIGTERM").ok();
        }
        self.over.subscribe().wait_for(|over| *over).await.ok();
    }

    async fn has_stopped(&self, world: &World, ended: Result<(), TaskEnded>) {
        if let Err(fault) = ended {
            world.violated(format!("p{}: {fault}", self.number));
        }
        if !self.has_events().await {
            world.count("a worker stopped with all published");
        }
        self.end(world);
        self.ended(world, "has stopped");
    }

    /// Whether it was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
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
        for (thread, opening) in self.threads.iter().zip(&self.openings) {
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
        self.over.send_replace(true);
    }
}

// Puts the real worker together: over this world's bus, clock and disks.
async fn prepare(world: &Arc<World>, number: usize, machine: usize, on: &Machine) -> Prepared {
    let (power, outgoing) = (Power::default(), Arc::<Outgoing>::default());
    let line = Arc::new(Line::new(number, on.name));
    let (mut stores, mut before, mut threads, mut steps) = (vec![], vec![], vec![], vec![]);
    for (index, disk) in on.disks.iter().enumerate() {
        let (disk, powered) = (disk.clone(), power.clone());
        let store = Store::in_memory(move || disk.attach(&powered), outgoing.clone()).unwrap();
        before.push(store.load().await.unwrap().map(|record| ThreadModel::of(&record)));
        for WaitingId { id, .. } in store.event_ids().await.unwrap() {
            world.history().inherit(id.store, on.opened[index]);
        }
        let location = world.ground.locations[index].clone();
        let plan = PLANS[(machine + index) % PLANS.len()];
        steps.push(SimulatedThread {
            location: location.clone(),
            name: format!("{} p{number} #{index}", world.names[on.name]),
            view: OnceLock::new(),
            in_step: Arc::default(),
        });
        stores.push(store.clone());
        let config = world.ground.thread(index, plan);
        threads.push(ThreadParts { location, store, opened: Ok(()), config });
    }
    let in_step = steps.iter().map(|thread| thread.in_step.clone()).collect();
    let steps = Arc::new(SimulatedSteps { world: world.clone(), threads: steps });
    let here = world.clone();
    let executor = Arc::new(move |task| here.executor.spawn(Owner::Process(number), task));
    let bus =
        SimulatedBus { world: world.clone(), line: line.clone(), in_step, lease: OnceLock::new() };
    let bus = Arc::new(bus);
    let parts = Parts {
        name: world.names[on.name].clone(),
        prefix: Prefix::default(),
        ping_interval: PING,
        grace: GRACE,
        store_patience: STORE_PATIENCE,
        threads,
        outgoing,
        places: Arc::default(),
        steps: steps.clone(),
        bus: bus.clone(),
        clock: clock::unix_ms,
        tasks: Tasks::on(executor),
    };
    let ready = parts.take_up().await;
    bus.lease.set(ready.lease.clone()).ok();
    for (thread, handle) in steps.threads.iter().zip(&ready.threads) {
        thread.view.set(handle.view.clone()).ok();
    }
    Prepared { ready, stores, before, power, line }
}
