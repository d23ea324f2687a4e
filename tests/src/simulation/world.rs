//! One world: machines, the server, managers, operators, and the dice that decide what goes wrong.
//! Everything in it is decided by its seed.

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use damocles_worker::{
    commands::serve::Request,
    lease::{Answer, Ask},
};
use fastrand::Rng;
use shared_msgs::{event::Event, name::WorkerName, snapshot::WorkerSnapshot};
use tokio::sync::{mpsc, watch};

use super::{
    clock,
    disk::Disk,
    executor::{Executor, Owner},
    ground::Ground,
    history::History,
    leases::LeaseKey,
    line::Line,
    managers::Manager,
    process::Process,
};

/// Whether things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Operators command, and things go wrong.
    Busy,
    /// Nothing goes wrong any more, threads stand still, and what was asked is answered.
    Calm,
}

/// A system in memory: its server, machines and processes, and the dice.
pub struct World {
    /// What all worlds share.
    pub ground: Arc<Ground>,
    /// The workers, by the number of a name.
    pub names: Vec<WorkerName>,
    /// The managers that watch, each from what arrives there.
    pub managers: Vec<Manager>,
    /// Whether things go wrong, for whoever waits for the calm.
    pub phase: watch::Sender<Phase>,
    /// Runs all tasks of the world, in an order of the seed's.
    pub executor: Executor,
    /// Commands that nobody has answered yet.
    pub open_orders: AtomicUsize,
    dice: Mutex<Rng>,
    history: Mutex<History>,
    server: Mutex<Server>,
    machines: Mutex<Vec<Machine>>,
    processes: Mutex<Vec<Arc<Process>>>,
    shown: Mutex<Vec<Option<Shown>>>,
    trace: Option<Mutex<Vec<String>>>,
}

/// What the server keeps.
#[derive(Default)]
pub struct Server {
    /// The keys of the lease bucket, by the number of a name.
    pub leases: Vec<LeaseKey>,
    revision: u64,
    /// Events with their sequences, by name.
    pub events: Vec<Vec<(u64, Event)>>,
    /// The stream's last sequence.
    pub sequence: u64,
    /// Who has subscribed to commands.
    pub subscribers: Vec<Subscriber>,
}

/// Somebody who hears a name's commands.
#[derive(Clone)]
pub struct Subscriber {
    /// How the subscriber is connected.
    pub line: Arc<Line>,
    /// Where they are put.
    pub inbox: mpsc::UnboundedSender<Request>,
}

/// What the bucket of states keeps of a name.
#[derive(Clone)]
pub struct Shown {
    /// The last one that arrived.
    pub snapshot: Arc<WorkerSnapshot>,
    /// When it arrived, milliseconds of the world's clock.
    pub at: u64,
    /// How many arrived until then.
    pub revision: u64,
}

/// A machine: disks, and the process that uses them.
#[derive(Clone)]
pub struct Machine {
    /// The name of its worker.
    pub name: usize,
    /// What its threads have stored, by their index.
    pub disks: Vec<Disk>,
    /// The openings of its disks that were the last ones, by thread.
    pub opened: Vec<Option<usize>>,
    /// The process that runs on it.
    pub process: Option<Arc<Process>>,
}

/// Something that must not outlive its world, or a million of them do not fit into memory; nor may
/// it outlive its use in a worker that runs for months.
pub struct Remains {
    what: String,
    of: Weak<dyn Any + Send + Sync>,
}

/// What becomes of a message and of its answer.
pub struct Fate {
    /// How long it takes.
    pub there: Duration,
    /// How long the answer takes.
    pub back: Duration,
    /// It does not arrive.
    pub lost_there: bool,
    /// The answer does not.
    pub lost_back: bool,
}

impl World {
    /// A world with so many names, in which nothing has begun.
    pub fn new(ground: Arc<Ground>, seed: u64, traced: bool) -> World {
        let mut dice = Rng::with_seed(seed);
        let names: Vec<WorkerName> = (0..1 + usize::from(dice.u8(..) < 90))
            .map(|n| format!("w{n}").parse().unwrap())
            .collect();
        let server = Server {
            leases: names.iter().map(|_| LeaseKey::default()).collect(),
            events: names.iter().map(|_| vec![]).collect(),
            ..Server::default()
        };
        World {
            managers: (0..2).map(|number| Manager::new(number, names.len())).collect(),
            phase: watch::Sender::new(Phase::Busy),
            executor: Executor::new(seed),
            open_orders: AtomicUsize::new(0),
            dice: Mutex::new(dice),
            history: Mutex::default(),
            server: Mutex::new(server),
            machines: Mutex::default(),
            processes: Mutex::default(),
            shown: Mutex::new(vec![None; names.len()]),
            trace: traced.then(Mutex::default),
            names,
            ground,
        }
    }

    /// Begins a task that is no process's.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(Owner::World, task);
    }

    /// Draws from the dice, the only chance that there is.
    pub fn draw<T>(&self, how: impl FnOnce(&mut Rng) -> T) -> T {
        how(&mut locked(&self.dice))
    }

    /// So likely, in percent.
    pub fn chance(&self, percent: u32) -> bool {
        self.draw(|dice| dice.u32(0..100) < percent)
    }

    /// Milliseconds drawn from this range.
    pub fn millis(&self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.draw(|dice| dice.u64(range)))
    }

    /// What becomes of the next message.
    pub fn fate(&self) -> Fate {
        if self.phase() != Phase::Busy {
            let quick = || self.millis(1..4);
            return Fate { there: quick(), back: quick(), lost_there: false, lost_back: false };
        }
        let delay = || if self.chance(8) { self.millis(100..2_500) } else { self.millis(1..20) };
        Fate {
            there: delay(),
            back: delay(),
            lost_there: self.chance(4),
            lost_back: self.chance(6),
        }
    }

    /// How often a message is sent.
    pub fn copies(&self) -> usize {
        1 + usize::from(self.phase() == Phase::Busy && self.chance(6))
    }

    /// Whether things go wrong at this moment.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// What has happened so far, to be read or added to.
    pub fn history(&self) -> MutexGuard<'_, History> {
        locked(&self.history)
    }

    /// What the server keeps.
    pub fn server(&self) -> MutexGuard<'_, Server> {
        locked(&self.server)
    }

    /// The machines, by their numbers.
    pub fn machines(&self) -> MutexGuard<'_, Vec<Machine>> {
        locked(&self.machines)
    }

    /// All processes that ever were.
    pub fn processes(&self) -> MutexGuard<'_, Vec<Arc<Process>>> {
        locked(&self.processes)
    }

    /// Those of a name that live.
    pub fn living(&self, name: usize) -> Vec<Arc<Process>> {
        self.machines()
            .iter()
            .filter(|machine| machine.name == name)
            .filter_map(|machine| machine.process.clone())
            .collect()
    }

    /// A snapshot arrives in the bucket of states.
    pub fn show(&self, name: usize, snapshot: Arc<WorkerSnapshot>) {
        let shown = &mut locked(&self.shown)[name];
        let revision = shown.as_ref().map_or(0, |shown| shown.revision) + 1;
        *shown = Some(Shown { snapshot, at: clock::unix_ms(), revision });
    }

    /// What the bucket of states says of a name.
    pub fn shown(&self, name: usize) -> Option<Shown> {
        locked(&self.shown)[name].clone()
    }

    /// Something was not as it must be.
    pub fn violated(&self, what: String) {
        self.say(|| format!("VIOLATED {what}"));
        self.history().violations.push(what);
    }

    /// Counts that this has happened once more.
    pub fn count(&self, what: &'static str) {
        self.history().count(what);
    }

    /// A line of the trace.
    pub fn say(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            locked(trace).push(format!("{:>7} {}", clock::since_begin().as_millis(), line()));
        }
    }

    /// The trace so far.
    pub fn trace(&self) -> Vec<String> {
        self.trace.as_ref().map(|trace| locked(trace).clone()).unwrap_or_default()
    }

    /// One more command that waits for its answer.
    pub fn order_opened(&self) {
        self.open_orders.fetch_add(1, Ordering::Relaxed);
    }

    /// One command less that waits for its answer.
    pub fn order_closed(&self) {
        self.open_orders.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Remains {
    /// Of this, which messages call so.
    pub fn of<T: Send + Sync + 'static>(what: String, thing: &Arc<T>) -> Self {
        let of: Weak<T> = Arc::downgrade(thing);
        Remains { what, of }
    }

    /// What is wrong if somebody still holds it.
    pub fn held(&self) -> Option<String> {
        let holders = self.of.strong_count();
        (holders > 0).then(|| format!("{} is held {holders} times after its end", self.what))
    }
}

impl Server {
    /// Answers what a worker asks for its lease.
    pub fn lease(&mut self, name: usize, ask: Ask) -> Answer {
        self.leases[name].answer(ask, &mut self.revision, clock::unix_ms())
    }

    /// Who hears the commands of a name. What is closed is a subscription that has ended, or its
    /// process has.
    pub fn subscribers(&mut self, name: usize) -> Vec<Subscriber> {
        self.subscribers.retain(|subscriber| !subscriber.inbox.is_closed());
        self.subscribers.iter().filter(|subscriber| subscriber.line.name == name).cloned().collect()
    }

    /// The sequence of the last event of a name.
    pub fn last_event(&self, name: usize) -> u64 {
        self.events[name].last().map_or(0, |(sequence, _)| *sequence)
    }
}

/// What happened how often.
pub type Tally = BTreeMap<&'static str, u64>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
