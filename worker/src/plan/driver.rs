//! One step of a plan: from the state that was committed last to the next one.
//!
//! ```text
//!  Empty            ask for a sector          -> Allocated, or nothing to do yet
//!  a stage's state  run the stage             -> where its event leads
//!  Finished         report, remove the files  -> Empty
//!  Aborted          report, remove the files  -> Empty
//! ```

use shared_msgs::{
    id::Id,
    plan::{Event, Plan, Stage, State},
    sealer::{AllocateSector, ReportAborted, ReportFinalized},
};

use crate::{
    config::Sealing,
    sector_manager,
    stage::{self, Job, Shared, on_disk},
    store::{
        location::Location,
        record::{Blob, Record, Sector, Store},
    },
    thread::{activity::Activity, failure::Failure},
};

/// What a step works with.
pub struct Step<'a> {
    /// What was committed last.
    pub record: &'a Record,
    /// The thread's location.
    pub location: &'a Location,
    /// The thread's store.
    pub store: &'a Store,
    /// The thread's sealing options.
    pub sealing: &'a Sealing,
    /// What all threads share.
    pub shared: &'a Shared,
    /// Where the step says what it is doing.
    pub activity: &'a Activity,
}

/// The next state, to be committed.
#[derive(Debug)]
pub struct Moved {
    /// The state.
    pub state: State,
    /// What led there; `None` when a job has ended.
    pub event: Option<Event>,
    /// The sector.
    pub sector: Option<Sector>,
    /// Large outputs to store with it.
    pub outputs: Vec<(Blob, Vec<u8>)>,
}

/// The plans that this version runs.
pub fn runs(plan: Plan) -> bool {
    plan == Plan::Sealer
}

/// The stage that a step in this state runs, if it is one that a process can die by.
pub fn heavy_stage(plan: Plan, state: State) -> Option<Stage> {
    plan.stage(state).filter(|stage| stage::is_heavy(*stage))
}

impl Step<'_> {
    /// Runs the step; `None` when there is no sector to work on now.
    pub async fn run(&self) -> Result<Option<Moved>, Failure> {
        let record = self.record;
        match (record.state, &record.sector) {
            (State::Empty, _) => self.allocate(record.request_id).await,
            (_, None) => Err(Failure::critical(format!("the thread is in state {} without a sector", record.state))),
            (State::Finished, Some(sector)) => self.report_finished(sector).await,
            (State::Aborted, Some(sector)) => self.report_aborted(sector).await,
            (state, Some(sector)) => self.run_stage(state, sector).await,
        }
    }

    async fn allocate(&self, request_id: Id) -> Result<Option<Moved>, Failure> {
        let request = AllocateSector { request_id, spec: self.sealing.allocation() };
        let Some(allocated) = self.ask(&request).await? else { return Ok(None) };
        if allocated.proof_type.sector_size().is_none() {
            return Err(Failure::temporary(format!(
                "the sector manager allocated seal proof type {}, which does not exist",
                allocated.proof_type.0
            )));
        }
        let sector = Some(Sector::new(allocated));
        let state = next(self.record.plan, State::Empty, Event::Allocate)?;
        Ok(Some(Moved { state, event: Some(Event::Allocate), sector, outputs: vec![] }))
    }

    async fn run_stage(&self, state: State, sector: &Sector) -> Result<Option<Moved>, Failure> {
        let plan = self.record.plan;
        let stage = plan.stage(state).ok_or_else(|| Failure::critical(format!("plan {plan} has no stage for state {state}")))?;
        let job = Job {
            sector,
            files: self.location.sector_files(sector.allocated.id),
            request_id: self.record.request_id,
            sealing: self.sealing,
            store: self.store,
            shared: self.shared,
            activity: self.activity,
        };
        let done = stage::run(stage, &job).await?;
        let state = next(plan, state, done.event)?;
        Ok(Some(Moved { state, event: Some(done.event), sector: Some(done.sector), outputs: done.outputs }))
    }

    async fn report_finished(&self, sector: &Sector) -> Result<Option<Moved>, Failure> {
        self.ask(&ReportFinalized { sector: sector.allocated.id }).await?;
        self.remove_local_files(sector).await?;
        Ok(ended())
    }

    async fn report_aborted(&self, sector: &Sector) -> Result<Option<Moved>, Failure> {
        let id = sector.allocated.id;
        let reason = sector.abort_reason.clone().unwrap_or_default();
        self.ask(&ReportAborted { sector: id, reason }).await?;
        if let Some(name) = &sector.persisted {
            let store = self.shared.attached.iter().find(|store| store.name == *name && !store.readonly);
            let store =
                store.ok_or_else(|| Failure::permanent(format!("{id} has files in store {name:?}, which is not attached any more")))?;
            let store = store.clone();
            on_disk(move || store.remove(id)).await?;
        }
        self.remove_local_files(sector).await?;
        Ok(ended())
    }

    async fn remove_local_files(&self, sector: &Sector) -> Result<(), Failure> {
        let files = self.location.sector_files(sector.allocated.id);
        on_disk(move || files.remove()).await
    }

    async fn ask<Q: shared_msgs::sealer::SealerRequest>(&self, request: &Q) -> Result<Q::Reply, Failure> {
        sector_manager::ask(&self.shared.sector_manager, self.activity, request).await
    }
}

fn ended() -> Option<Moved> {
    Some(Moved { state: State::Empty, event: None, sector: None, outputs: vec![] })
}

fn next(plan: Plan, state: State, event: Event) -> Result<State, Failure> {
    plan.next(state, event).ok_or_else(|| Failure::critical(format!("plan {plan}: {event} means nothing in state {state}")))
}
