//! All external processors of a worker: their processes, and the queue before them.
//!
//! A stage hands in a task and waits for its output. The pool knows which processors serve the
//! task's stage, the desk ([`super::desk`], pure) says who gets which of them, and one task a
//! processor ([`super::external`]) speaks to the process.
//!
//! ```text
//!  stage --task--> queue of its stage --desk: a free place--> processor --output--> stage
//!                    |  waits: "a c2 processor"                  |
//!                    +- a pause cuts the waiting off             +- it dies: the task fails, temporary
//! ```
//! The life of the pool is the worker's: it starts all processors at once, starts each again when
//! it has died, and has ended when nothing of any of their process groups lives.
//!
//! What always holds:
//! - A processor has never more tasks in hand than its `concurrent`.
//! - Nobody overtakes anybody who waits for the same processor or the same lock.
//! - A task's waiting can be cut off at any moment and costs nothing; one that has begun ends with
//!   its processor or with its answer.
//!
//! Tests: `pool_tests.rs`, the properties in `desk.rs`, the scenarios `processors::external`,
//! `processors::deaths` and `processors::limits`.

use std::sync::Arc;

use damocles_daemon::tasks::Tasks;
use tokio::sync::{oneshot, watch};

use super::{
    child::Program,
    desk::{self, Desk, Standing},
    external::{Ask, Incarnation, Owner, Place, SharedDesk},
    groups::Groups,
    settings::ProcessorsConfig,
    task::{AddPieces, Task},
};
use crate::{
    activity::{Activity, Processor},
    failure::Failure,
};

/// The external processors, and the queue before them.
pub(crate) struct Pool {
    desk: SharedDesk,
}

impl Pool {
    /// Starts them. They end when `stop` says so; until then each holds its receiver.
    pub(crate) fn start(
        tasks: &Tasks,
        config: &ProcessorsConfig,
        own_bin: &str,
        groups: &Arc<Groups>,
        stop: &watch::Receiver<bool>,
    ) -> Self {
        let all = || {
            config.stages.iter().flat_map(|(stage, processors)| {
                processors.iter().enumerate().map(move |(n, settings)| (stage, n, settings))
            })
        };
        let places = all().map(|(stage, _, settings)| {
            desk::Place::new(stage, settings.concurrent, settings.weight, settings.locks.0.clone())
        });
        let desk =
            Arc::new(watch::Sender::new(Desk::new(places.collect(), config.ext_locks.clone())));
        for (index, (stage, n, settings)) in all().enumerate() {
            let own = (own_bin.to_owned(), vec!["processor".to_owned(), stage.clone()]);
            let token = config.piece_token.as_ref().filter(|_| *stage == AddPieces::STAGE);
            let program = Program::new(settings, &format!("{stage}-{n}"), own, groups);
            let owner = Owner {
                stage: stage.clone(),
                program: program.with_piece_token(token),
                stable_wait: settings.stable_wait,
                auto_restart: settings.auto_restart,
                place: Place { desk: desk.clone(), index },
            };
            tasks.spawn(format!("owns processor {stage}-{n}"), owner.run(stop.clone()));
        }
        Pool { desk }
    }

    /// Whether a stage has processors.
    pub(crate) fn serves(&self, stage: &str) -> bool {
        self.desk.borrow().serves(stage)
    }

    /// Waits, in order of arrival, for a processor of a stage with all that it needs. Can be
    /// interrupted.
    pub(crate) async fn take(&self, stage: &str, activity: &Activity) -> Result<Seat, Failure> {
        let mut request = 0;
        self.desk.send_modify(|desk| request = desk.arrive(stage));
        let seat = Seat { desk: self.desk.clone(), request };
        let mut changes = self.desk.subscribe();
        loop {
            let standing = changes.borrow_and_update().standing(request);
            match &standing {
                Standing::Granted => return Ok(seat),
                Standing::Waits(reason) => {
                    let changed = changes.wait_for(|desk| desk.standing(request) != standing);
                    activity.wait(reason.clone(), async { changed.await.map(drop).ok() }).await;
                }
                Standing::Hopeless => {
                    return Err(Failure::permanent(format!(
                        "processor {stage} has died and is not restarted (auto_restart = false)"
                    )));
                }
            }
        }
    }
}

/// A request at the desk; it leaves when this is dropped.
pub(crate) struct Seat {
    desk: SharedDesk,
    request: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.desk.send_modify(|desk| desk.leave(self.request));
    }
}

impl Seat {
    /// Runs a task in the processor that was granted.
    pub(crate) async fn run<T: Task>(
        self,
        task: &T,
        activity: &Activity,
    ) -> Result<T::Output, Failure> {
        let stage = T::STAGE;
        let gone = || Failure::temporary(format!("processor {stage} died before it took the task"));
        let task = serde_json::value::to_raw_value(task).map_err(Failure::critical)?;
        let Incarnation { pid, asks, stops } =
            self.desk.borrow().line(self.request).ok_or_else(gone)?;
        let (answer, answered) = oneshot::channel();
        asks.send(Ask { task, answer }).map_err(|_| gone())?;
        let processor = Processor { name: format!("{stage} (pid {pid})"), stopper: stops };
        let output = activity.in_processor(processor, answered).await.map_err(|_| gone())??;
        serde_json::from_str(output.get()).map_err(|error| {
            Failure::temporary(format!(
                "processor {stage} answered with an unfitting output: {error}"
            ))
        })
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
