//! One step of a plan: from the state that was committed last to the next one.
//!
//! ```text
//!  Empty            ask for a job                -> Allocated, or nothing to do yet
//!  set back         remove what is later         -> the same state
//!  a stage's state  run the stage                -> where its event leads, or the same with a note
//!  Finished         report, remove the files     -> Empty
//!  Aborted          report                       -> the same state, its files are going
//!                   remove the files             -> Empty
//!  let go           keep the files aside         -> Empty
//! ```
//! A thread's owner calls the driver with what was committed last ([`Step`]) and commits what it
//! yields ([`Yield`]). The plan's table says which stage a state has and where its event leads; the
//! driver adds what all plans have in common: how a job begins and how it ends.
//!
//! What always holds:
//! - A step changes no record and no store: it works on files and yields a value. Killed anywhere,
//!   it is done again from the same state, so each stage first clears what an earlier run has left.
//! - Nothing of an earlier worker's processors lives any more when a step begins.
//! - Files are removed, or a replica is replaced, only after a note of that was committed
//!   ([`Yield::Noted`]).
//! - What changes something at the sector manager carries the request id of the record: a step that
//!   is done again asks the same question.
//!
//! Tests: the scenarios `sealing::plans`, `sealing::crash` (killed before and after each commit),
//! `sealing::ends`; the tables have theirs in `inputs.rs` and in `shared_msgs::plan`.
//!
//! Decision 044 in `docs/decisions`.

use std::sync::Arc;

use futures::future::BoxFuture;
use shared_msgs::plan::{Plan, PlanEvent, Stage, State};

use super::{
    step::{Moved, Step, Steps, Work, Yield, ended, next},
    tidy,
};
use crate::{
    failpoint,
    failure::Failure,
    stage::{
        self, Done, Shared, StageRun,
        window_post::{self, WdpostRun},
    },
    store::record::{self, Sector, Wdpost},
};

/// Does them for real.
pub(crate) struct Driver {
    /// What all threads of the worker share.
    pub shared: Arc<Shared>,
}

impl Steps for Driver {
    fn run<'a>(
        self: Arc<Self>,
        step: &'a Step<'a>,
    ) -> BoxFuture<'a, Result<Option<Yield>, Failure>> {
        Box::pin(async move { Work { step, shared: &self.shared }.run().await })
    }
}

/// The stage that a step in this state runs, if it is one that a process can die by.
pub(crate) fn heavy_stage(plan: Plan, state: State) -> Option<Stage> {
    plan.stage(state).filter(|stage| stage::is_heavy(*stage))
}

impl Work<'_> {
    /// Runs the step; `None` when there is no job now.
    async fn run(&self) -> Result<Option<Yield>, Failure> {
        self.shared.processors.cleared(self.step.activity).await;
        let record = self.step.record;
        let moved = match (record.state, &record.job) {
            (State::Empty, _) => self.allocate().await,
            (state, Some(record::Job::Sector(sector))) => {
                return self.step_of_sector(state, sector).await;
            }
            (_, Some(record::Job::Wdpost(_))) if record.let_go.is_some() => Ok(ended()),
            (State::Finished, Some(record::Job::Wdpost(_))) => Ok(ended()),
            (State::Aborted, Some(record::Job::Wdpost(wdpost))) => {
                self.report_wdpost_aborted(wdpost).await
            }
            (state, Some(record::Job::Wdpost(wdpost))) => self.run_wdpost(state, wdpost).await,
            (state, None) => {
                Err(Failure::critical(format!("the thread is in state {state} without a job")))
            }
        };
        Ok(moved?.map(|moved| Yield::Moved(moved.into())))
    }

    async fn step_of_sector(
        &self,
        state: State,
        sector: &Sector,
    ) -> Result<Option<Yield>, Failure> {
        let record = self.step.record;
        let moved = match state {
            _ if record.let_go.is_some() => self.keep_aside(sector).await,
            State::Finished => self.report_finished(sector).await,
            State::Aborted if sector.removing => self.remove_given_up(sector).await,
            State::Aborted => return self.report_aborted(sector).await.map(Some),
            _ if record.went_back => self.remove_later(state, sector).await,
            _ => return self.run_stage(state, sector).await.map(Some),
        };
        Ok(moved?.map(|moved| Yield::Moved(moved.into())))
    }

    async fn remove_later(&self, state: State, sector: &Sector) -> Result<Option<Moved>, Failure> {
        let sector = tidy::remove_later(&self.stage_run(state, sector)).await?;
        Ok(Some(Moved { state, event: None, job: Some(sector.into()), outputs: vec![] }))
    }

    async fn run_stage(&self, state: State, sector: &Sector) -> Result<Yield, Failure> {
        let plan = self.step.record.plan;
        let stage = plan.stage(state).ok_or_else(|| {
            Failure::critical(format!("plan {plan} has no stage for state {state}"))
        })?;
        failpoint::reach("stage", stage.name());
        let Done { event, sector, outputs } =
            stage::run(stage, &self.stage_run(state, sector)).await?;
        let Some(event) = event else { return Ok(Yield::Noted(sector.into())) };
        let state = next(plan, state, event)?;
        Ok(Yield::Moved(
            Moved { state, event: Some(event), job: Some(sector.into()), outputs }.into(),
        ))
    }

    async fn run_wdpost(&self, state: State, wdpost: &Wdpost) -> Result<Option<Moved>, Failure> {
        let plan = self.step.record.plan;
        let (event, wdpost) = match plan.stage(state) {
            Some(Stage::WindowPost) => {
                (PlanEvent::Generate, window_post::generate(&self.wdpost_run(wdpost)).await?)
            }
            Some(Stage::SubmitWindowPost) => {
                (PlanEvent::Finish, window_post::submit(&self.wdpost_run(wdpost)).await?)
            }
            _ => {
                return Err(Failure::critical(format!(
                    "plan {plan} has no stage for state {state}"
                )));
            }
        };
        let state = next(plan, state, event)?;
        Ok(Some(Moved { state, event: Some(event), job: Some(wdpost.into()), outputs: vec![] }))
    }

    fn stage_run<'a>(&'a self, state: State, sector: &'a Sector) -> StageRun<'a> {
        StageRun {
            plan: self.step.record.plan,
            state,
            sector,
            files: self.step.location.sector_files(sector.allocated.id),
            request_id: self.step.record.request_id,
            sealing: self.step.sealing,
            store: self.step.store,
            shared: self.shared,
            activity: self.step.activity,
        }
    }

    fn wdpost_run<'a>(&'a self, wdpost: &'a Wdpost) -> WdpostRun<'a> {
        let Step { record, activity, .. } = self.step;
        WdpostRun { wdpost, request_id: record.request_id, shared: self.shared, activity }
    }
}
