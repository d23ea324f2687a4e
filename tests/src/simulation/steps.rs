//! What does the steps of simulated threads: it only takes its time, waits, fails, and moves on, by
//! the plan's table.

use std::{
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use damocles_worker::{
    activity::{Activity, Processor, StopRefusal},
    failure::Failure,
    plan::step::{Moved, Step, Steps, Yield},
    store::{
        location::Location,
        record::{Job, Sector},
    },
    thread::view::ThreadView,
};
use futures::future::BoxFuture;
use shared_msgs::{
    plan::State,
    sector_manager::{AllocatedSector, SealVersion, SectorId, SectorSize},
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::world::{Phase, World};

/// Does the steps of one process's threads.
pub struct SimulatedSteps {
    /// The world that they happen in.
    pub world: Arc<World>,
    /// The threads, each in its own location.
    pub threads: Vec<SimulatedThread>,
}

/// A thread as its steps know it.
pub struct SimulatedThread {
    /// The directory that tells which thread a step is of.
    pub location: Location,
    /// Which one it is, for messages.
    pub name: String,
    /// What the thread shows.
    pub view: OnceLock<watch::Receiver<ThreadView>>,
    /// There is a step that could go on.
    pub in_step: Arc<AtomicBool>,
}

impl Steps for SimulatedSteps {
    fn run<'a>(
        self: Arc<Self>,
        step: &'a Step<'a>,
    ) -> BoxFuture<'a, Result<Option<Yield>, Failure>> {
        Box::pin(async move {
            let path = step.location.path();
            let thread = self.threads.iter().find(|thread| thread.location.path() == path);
            let thread = thread.ok_or_else(|| Failure::critical("a step of another process"))?;
            let _in_step = InStep::new(thread);
            let mut working = pin!(self.work(step));
            std::future::poll_fn(|context| {
                if thread.view.get().is_some_and(|view| view.borrow().record.is_paused()) {
                    let name = &thread.name;
                    self.world.violated(format!("{name} goes on with a step while it is paused"));
                }
                working.as_mut().poll(context)
            })
            .await
        })
    }
}

struct InStep<'a>(&'a SimulatedThread);

impl<'a> InStep<'a> {
    fn new(thread: &'a SimulatedThread) -> Self {
        thread.in_step.store(true, Ordering::Relaxed);
        InStep(thread)
    }
}

impl Drop for InStep<'_> {
    fn drop(&mut self) {
        self.0.in_step.store(false, Ordering::Relaxed);
    }
}

impl SimulatedSteps {
    async fn work(&self, step: &Step<'_>) -> Result<Option<Yield>, Failure> {
        self.stand_still(step.activity).await;
        let (world, record) = (&self.world, step.record);
        let moved = |state, event, sector: Option<Sector>| {
            let job = sector.map(Job::from);
            Ok(Some(Yield::Moved(Moved { state, event, job, outputs: vec![] }.into())))
        };
        let next = record.plan.row(record.state).map_or(&[][..], |row| row.next);
        let lead = world.draw(|dice| dice.choice(next)).copied();
        match (record.state, lead) {
            (State::Empty, Some((event, state))) => {
                self.wait(step.activity, "sector manager", 10..800).await;
                if world.chance(15) {
                    return Ok(None);
                }
                let id =
                    SectorId { miner: 10_000, number: world.draw(|dice| dice.u64(1..100_000)) };
                moved(
                    state,
                    Some(event),
                    Some(Sector::new(AllocatedSector {
                        id,
                        proof_type: SealVersion::V1_1.of(SectorSize::S2KiB),
                    })),
                )
            }
            (state, Some(_)) if record.went_back => {
                self.run(step.activity, 10..200).await;
                moved(state, None, record.sector().cloned())
            }
            (_, Some((event, state))) => {
                self.phases(step.activity).await?;
                let mut sector = record.sector().cloned();
                sector.iter_mut().for_each(|sector| yielded(sector, state));
                moved(state, Some(event), sector)
            }
            (_, None) => {
                self.wait(step.activity, "sector manager", 10..800).await;
                moved(State::Empty, None, None)
            }
        }
    }

    async fn phases(&self, activity: &Activity) -> Result<(), Failure> {
        let world = &self.world;
        for _ in 0..world.draw(|dice| dice.u8(1..3)) {
            match world.draw(|dice| dice.u8(0..6)) {
                0 => self.wait(activity, "slot", 20..2_500).await,
                1 => self.in_processor(activity).await?,
                _ => self.run(activity, 20..2_500).await,
            }
        }
        match world.draw(|dice| dice.u8(0..100)) {
            0..10 => Err(Failure::temporary("No space left on device")),
            10..18 => Err(Failure::permanent("No cached parameters found")),
            18..20 => Err(Failure::critical("the location is gone")),
            20..23 => Err(Failure::abort("the ticket has expired")),
            _ => Ok(()),
        }
    }

    async fn wait(&self, activity: &Activity, reason: &str, range: std::ops::Range<u64>) {
        activity.wait(reason, sleep(self.world.millis(range))).await;
        self.stand_still(activity).await;
    }

    async fn run(&self, activity: &Activity, range: std::ops::Range<u64>) {
        sleep(self.world.millis(range)).await;
        self.stand_still(activity).await;
    }

    // A processor that can be stopped, unless it works for others too.
    async fn in_processor(&self, activity: &Activity) -> Result<(), Failure> {
        let (stopper, mut stops) = mpsc::unbounded_channel();
        let working = async {
            let mut done = pin!(sleep(self.world.millis(20..2_500)));
            loop {
                tokio::select! {
                    biased;
                    () = &mut done => return Ok(()),
                    // The activity holds a sender.
                    Some(stop) = stops.recv() => {
                        let stop: tokio::sync::oneshot::Sender<_> = stop;
                        if self.world.chance(30) {
                            stop.send(Err(StopRefusal { others: 1 })).ok();
                            continue;
                        }
                        self.world.count("a processor was stopped");
                        stop.send(Ok(())).ok();
                        sleep(self.world.millis(1..400)).await;
                        return Err(Failure::temporary("the processor has ended"));
                    }
                }
            }
        };
        activity.in_processor(Processor { name: "simulated".into(), stopper }, working).await?;
        self.stand_still(activity).await;
        Ok(())
    }

    // At the end of the world nothing moves any more.
    async fn stand_still(&self, activity: &Activity) {
        if self.world.phase() == Phase::Calm {
            activity.wait("the end", std::future::pending::<()>()).await;
        }
    }
}

// What lets an operator go back to these states.
fn yielded(sector: &mut Sector, state: State) {
    match state {
        State::DealsAcquired => sector.deals = Some(vec![]),
        State::PieceAdded => sector.pieces = Some(vec![]),
        _ => {}
    }
}
