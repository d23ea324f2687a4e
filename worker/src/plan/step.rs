//! What a step of a plan works with, and what it yields.

use std::sync::Arc;

use futures::future::BoxFuture;
use shared_msgs::{
    plan::{Plan, PlanEvent, State},
    sector_manager::WorkerRequest,
};

use crate::{
    activity::Activity,
    config::Sealing,
    failure::Failure,
    sector_manager,
    stage::Shared,
    store::{
        database::Store,
        location::Location,
        record::{Blob, Job, Record, Sector},
    },
};

/// What a step works with.
pub struct Step<'a> {
    /// What was committed last.
    pub record: &'a Record,
    /// The thread's location, for the files of its sector.
    pub location: &'a Location,
    /// The thread's store, for the outputs of earlier stages.
    pub store: &'a Store,
    /// The thread's sealing options.
    pub sealing: &'a Sealing,
    /// Where the step says what it is doing.
    pub activity: &'a Activity,
}

/// What does the steps of a plan.
pub trait Steps: Send + Sync {
    /// Does one; `None` when there is no job now.
    fn run<'a>(
        self: Arc<Self>,
        step: &'a Step<'a>,
    ) -> BoxFuture<'a, Result<Option<Yield>, Failure>>;
}

/// What a step yields, to be committed.
#[derive(Debug)]
pub enum Yield {
    /// The job has moved on.
    Moved(Box<Moved>),
    /// The sector with a note of what is going to be done with its files. To everybody else nothing
    /// has changed.
    Noted(Box<Sector>),
}

/// Where a job has got to, and with what.
#[derive(Debug)]
pub struct Moved {
    /// Where the job is from then on.
    pub state: State,
    /// What led there; `None` when a job has ended, or was set back.
    pub event: Option<PlanEvent>,
    /// What is in hand then.
    pub job: Option<Job>,
    /// Large outputs to store with it.
    pub outputs: Vec<(Blob, Vec<u8>)>,
}

// One step, and what all threads share.
pub(super) struct Work<'a> {
    pub(super) step: &'a Step<'a>,
    pub(super) shared: &'a Shared,
}

impl Work<'_> {
    /// Asks the sector manager.
    pub(super) async fn ask<Q: WorkerRequest>(&self, request: &Q) -> Result<Q::Reply, Failure> {
        sector_manager::ask(&self.shared.sector_manager, self.step.activity, request).await
    }
}

pub(super) fn next(plan: Plan, state: State, event: PlanEvent) -> Result<State, Failure> {
    plan.next(state, event).ok_or_else(|| {
        Failure::critical(format!("plan {plan}: {event} means nothing in state {state}"))
    })
}

pub(super) fn ended() -> Option<Moved> {
    Some(Moved { state: State::Empty, event: None, job: None, outputs: vec![] })
}
