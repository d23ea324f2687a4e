//! Runs the tasks of a world, one at a time, in an order that the seed decides. (Tokio's own order
//! depends on random numbers that cannot be seeded: whoever waits on a watch channel is woken at
//! random.)

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use fastrand::Rng;
use tokio::task::coop::unconstrained;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whose a task is: with its owner it can be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It ends by itself, or with the world.
    World,
    /// The process of this number, whose end is theirs.
    Process(usize),
}

/// The tasks of a world.
pub struct Executor {
    tasks: Mutex<Tasks>,
    ready: Arc<Ready>,
    order: Mutex<Rng>,
}

#[derive(Default)]
struct Tasks {
    waiting: BTreeMap<u64, (Owner, Task)>,
    ended: Vec<Owner>,
    count: u64,
}

// Those that can go on.
#[derive(Default)]
struct Ready {
    tasks: Mutex<BTreeSet<u64>>,
    executor: Mutex<Option<Waker>>,
}

struct TaskWaker {
    task: u64,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        locked(&self.ready.tasks).insert(self.task);
        let executor = locked(&self.ready.executor).take();
        executor.into_iter().for_each(Waker::wake);
    }
}

impl Executor {
    /// An executor without tasks, whose order the seed decides.
    pub fn new(seed: u64) -> Self {
        Executor {
            tasks: Mutex::default(),
            ready: Arc::default(),
            order: Mutex::new(Rng::with_seed(!seed)),
        }
    }

    /// Adds a task, unless its owner has ended.
    pub fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = locked(&self.tasks);
        if tasks.ended.contains(&owner) {
            return;
        }
        tasks.count += 1;
        let number = tasks.count;
        tasks.waiting.insert(number, (owner, Box::pin(task)));
        locked(&self.ready.tasks).insert(number);
    }

    /// Ends all tasks of an owner; the one that runs, when it waits next.
    pub fn end(&self, owner: Owner) {
        let ended = {
            let mut tasks = locked(&self.tasks);
            tasks.ended.push(owner);
            let all = std::mem::take(&mut tasks.waiting);
            let (ended, left) =
                all.into_iter().partition::<BTreeMap<_, _>, _>(|(_, (of, _))| *of == owner);
            tasks.waiting = left;
            ended
        };
        // What they hold wakes others.
        drop(ended);
    }

    /// Runs until this task has ended.
    pub async fn run(&self, last: impl Future<Output = ()>) {
        let mut last = std::pin::pin!(last);
        let main = Arc::new(TaskWaker { task: 0, ready: self.ready.clone() });
        locked(&self.ready.tasks).insert(0);
        unconstrained(poll_fn(|context| {
            locked(&self.ready.executor).replace(context.waker().clone());
            while let Some(number) = self.next() {
                if number > 0 {
                    self.poll(number);
                } else if last
                    .as_mut()
                    .poll(&mut Context::from_waker(&main.clone().into()))
                    .is_ready()
                {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        }))
        .await;
    }

    fn next(&self) -> Option<u64> {
        let mut ready = locked(&self.ready.tasks);
        if ready.is_empty() {
            return None;
        }
        let chosen = locked(&self.order).usize(0..ready.len());
        let number = ready.iter().nth(chosen).copied()?;
        ready.remove(&number);
        Some(number)
    }

    fn poll(&self, number: u64) {
        let Some((owner, mut task)) = locked(&self.tasks).waiting.remove(&number) else { return };
        let waker = Arc::new(TaskWaker { task: number, ready: self.ready.clone() }).into();
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return;
        }
        let mut tasks = locked(&self.tasks);
        if !tasks.ended.contains(&owner) {
            tasks.waiting.insert(number, (owner, task));
        } else {
            drop(tasks);
            drop(task);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
