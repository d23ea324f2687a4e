//! A model-based simulation: whole systems in memory, each decided by a seed, with everything going
//! wrong that can. The workers are the real ones, from their start to their stop, and so is the
//! managers' read model; the bus, the server, disks, time and what the steps do are not.
//!
//! ```text
//!  operator ---- bus (lost, doubled, late) ----> process: damocles_worker::worker
//!     ^                                             |            |             |
//!     |  incidents: killed, stopped, cut off,       | snapshots  | disk        | server: leases, stream
//!     |  cloned, a second one of the name           v            v             v
//!     +---------------------------------------- managers      checks: history, model
//! ```
//! - [`world`]: what there is, and the dice; [`executor`]: its tasks; [`clock`]: its time;
//!   [`ground`]: what all worlds share
//! - [`process`], [`steps`]: a worker; [`disk`]: what outlives it; [`operator`]: who commands it;
//!   [`managers`]: who watches it
//! - [`adapter`], [`mod@line`]: the bus as a worker has it, [`client_bus`]: as an operator's client
//!   has it; [`bus`], [`leases`], [`stream`]: the bus;
//!   [`incidents`]: what goes wrong
//! - [`many`]: many worlds at once
//! - [`history`], [`model`], [`checks`]: what happened, what it means, and what must be so
//!
//! A seed gives the same world each time: `SEED=7 make soak` shows what happens in it.

pub mod adapter;
pub mod bus;
pub mod checks;
pub mod client_bus;
pub mod clock;
pub mod disk;
pub mod executor;
pub mod ground;
pub mod history;
pub mod incidents;
pub mod leases;
pub mod line;
pub mod managers;
pub mod many;
pub mod model;
pub mod operator;
pub mod process;
pub mod steps;
pub mod stream;
pub mod world;

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use self::{
    executor::Owner,
    ground::Ground,
    leases::TTL,
    process::Process,
    world::{Phase, Remains, Tally, World},
};

// More than anything takes once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a world ended.
#[derive(Default)]
pub struct Ended {
    /// What was not as it must be.
    pub violations: Vec<String>,
    /// How often what happened.
    pub tally: Tally,
    /// What happened, if it was to be told.
    pub trace: Vec<String>,
}

/// Lets a world run to its end.
pub fn run(ground: &Arc<Ground>, seed: u64, traced: bool) -> Ended {
    // The worker's jitter.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (mut ended, remains) = runtime.block_on(async {
        clock::begin();
        let world = Arc::new(World::new(ground.clone(), seed, traced));
        world.executor.run(live(&world)).await;
        (0..world.names.len())
            .flat_map(|name| world.living(name))
            .for_each(|process| process.note_last(&world));
        // Tasks hold the world; and stores need not be closed in good order.
        world.processes().iter().for_each(|process| process.end(&world));
        world.executor.end(Owner::World);
        let mut tally = std::mem::take(&mut world.history().tally);
        let wrong = checks::violations(&world, &mut tally);
        wrong.into_iter().for_each(|what| world.violated(what));
        let violations = std::mem::take(&mut world.history().violations);
        let mut remains = vec![Remains::of("the world".into(), &world)];
        remains.extend(world.processes().iter().flat_map(|process| process.remains()));
        (Ended { violations, tally, trace: world.trace() }, remains)
    });
    // With its tasks.
    drop(runtime);
    ended.violations.extend(remains.iter().filter_map(Remains::held));
    ended
}

async fn live(world: &Arc<World>) {
    incidents::begin(world).await;
    world.spawn(incidents::run(world.clone()));
    for number in 0..world.draw(|dice| dice.usize(2..4)) {
        world.spawn(operator::run(world.clone(), number));
    }
    sleep(incidents::BUSY).await;
    world.phase.send_replace(Phase::Calm);
    world.say(|| "nothing goes wrong any more".into());
    // Whoever was to come back by itself has.
    sleep(Duration::from_secs(6)).await;
    incidents::start_all(world).await;
    until(world, "every command is answered", async || {
        world.open_orders.load(std::sync::atomic::Ordering::Relaxed) == 0
    })
    .await;
    until(world, "every lease has a holder", async || {
        (0..world.names.len()).all(|name| speaker(world, name).is_some())
    })
    .await;
    until(world, "every manager shows who holds a lease", async || {
        (0..world.names.len()).all(|name| {
            let speaker = speaker(world, name).map(|process| process.worker.instance_id);
            world.managers.iter().all(|manager| manager.shows(world, name) == speaker)
        })
    })
    .await;
    operator::last_orders(world).await;
    let before = acquired(world);
    sleep(TTL).await;
    if acquired(world) != before {
        world.violated("a lease is taken over and over while all is well".into());
    }
    until(world, "every event is published", async || all_published(world).await).await;
}

// A process that stands by publishes nothing: once the holder has published all, it makes
// way.
async fn all_published(world: &Arc<World>) -> bool {
    let mut left = false;
    for name in 0..world.names.len() {
        let speaker = speaker(world, name);
        let mut waiting = None;
        for process in world.living(name) {
            if process.has_events().await {
                left = true;
                waiting = Some(process.number);
            }
        }
        let (Some(speaker), Some(_)) = (speaker, waiting) else { continue };
        if !speaker.has_events().await {
            speaker.kill(world);
        }
    }
    !left
}

fn acquired(world: &World) -> usize {
    world
        .server()
        .leases
        .iter()
        .flat_map(|key| &key.stored)
        .filter(|stored| stored.acquired)
        .count()
}

fn speaker(world: &World, name: usize) -> Option<Arc<Process>> {
    world.living(name).into_iter().find(|process| process.lease.borrow().is_confirmed())
}

async fn until(world: &Arc<World>, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        if Instant::now() > deadline {
            return world.violated(format!("not within {PATIENCE:?} after all was well: {what}"));
        }
        sleep(Duration::from_millis(100)).await;
    }
}
