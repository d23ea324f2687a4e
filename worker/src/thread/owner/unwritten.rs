//! What a thread cannot write down at the moment, because its disk is full or has failed: it is
//! kept and tried again, so that hours of a stage are not lost for it. Commands are answered
//! meanwhile; one that cannot be written down is refused.
//!
//! Decision 036 in `docs/decisions`.

use std::{sync::Arc, time::Duration};

use shared_msgs::{
    event::Event, id::Id, plan::State, snapshot::MAX_LAST_ERR_BYTES, text::cut_text,
};
use tracing::{error, info, warn};

use super::Owner;
use crate::{
    failpoint,
    failure::{Failure, Level},
    plan::step::Moved,
    store::{
        database::{Change, StoreError},
        record::{Blob, Record},
    },
    thread::control::{self, NextState},
};

const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What is to be written down.
pub(super) struct Unwritten {
    what: What,
    /// The record as it would be after the last try, which may have worked in spite of its error.
    tried: Option<Record>,
}

enum What {
    /// What a restart did to the record.
    Restarted { events: Vec<Event> },
    /// Where a step has led.
    Moved(Box<DoneStep>),
    /// How a step has failed.
    Failed(Failure),
}

/// A step that was done.
struct DoneStep {
    from: State,
    job: Option<String>,
    to: NextState,
    /// Its event's name; absent where a job has ended, or was set back.
    event: Option<&'static str>,
    outputs: Arc<[(Blob, Vec<u8>)]>,
}

// What one try writes.
struct Try {
    after: Record,
    outputs: Arc<[(Blob, Vec<u8>)]>,
    events: Vec<Event>,
    failure: Option<Failure>,
}

impl Unwritten {
    fn new(what: What) -> Self {
        Unwritten { what, tried: None }
    }

    pub(super) fn restarted(events: Vec<Event>) -> Self {
        Unwritten::new(What::Restarted { events })
    }

    pub(super) fn failed(failure: Failure) -> Self {
        Unwritten::new(What::Failed(failure))
    }

    pub(super) fn moved(record: &Record, moved: Moved) -> Self {
        let Moved { state, event, job, outputs } = moved;
        Unwritten::new(What::Moved(Box::new(DoneStep {
            from: record.state,
            job: record.job_name(),
            to: NextState { state, job, request_id: Id::generate() },
            event: event.map(|event| event.name()),
            outputs: outputs.into(),
        })))
    }

    // Whether the record has gone another way meanwhile.
    fn is_superseded(&self, record: &Record) -> bool {
        match &self.what {
            What::Moved(step) => step.from != record.state || step.job != record.job_name(),
            What::Restarted { .. } | What::Failed(_) => false,
        }
    }

    fn kept(&self, record: &Record) -> String {
        match &self.what {
            What::Restarted { .. } => String::new(),
            What::Moved(step) => {
                let stage =
                    record.plan.stage(step.from).map_or(step.from.name(), |stage| stage.name());
                format!("; the result of {stage} is kept until it can be written")
            }
            What::Failed(failure) => format!("; after {failure}"),
        }
    }
}

impl Owner {
    /// Writes it down, now or as soon as it can be.
    pub(super) async fn write_down(&mut self, unwritten: Unwritten) {
        self.held.unwritten = Some(unwritten);
        self.try_to_write_down().await;
    }

    /// Tries once more before the process ends.
    pub(super) async fn write_down_at_last(&mut self) {
        if self.held.unwritten.is_some() {
            self.try_to_write_down().await;
        }
        if self.held.unwritten.is_some() {
            let lost = self.held.store_error.as_deref().unwrap_or_default();
            error!(thread = self.index, state = %self.record.state, lost, "what could not be written is lost; the stage runs again after the next start");
        }
    }

    /// Takes over what the store says after a write of which nobody knew whether it took place.
    pub(super) async fn settle(&mut self) -> Result<(), StoreError> {
        let Some(record) = self.store.settle().await? else { return Ok(()) };
        let before = std::mem::replace(&mut self.record, record);
        self.adopt_from(&before);
        if let Some(written) =
            self.held.unwritten.take_if(|unwritten| unwritten.tried.as_ref() == Some(&self.record))
        {
            self.written(&written, &before);
            self.store_works();
        }
        Ok(())
    }

    /// Waits before the store is used again.
    pub(super) fn hold_for_store(&mut self, error: &StoreError) {
        let kept = self
            .held
            .unwritten
            .as_ref()
            .map(|unwritten| unwritten.kept(&self.record))
            .unwrap_or_default();
        let said = cut_text(&format!("{}{kept}", Failure::temporary(error)), MAX_LAST_ERR_BYTES);
        if self.held.store_error.as_ref() != Some(&said) {
            warn!(thread = self.index, sector = self.record.job_name(), "{said}");
            self.held.store_error = Some(said);
        }
        self.hold_off("its store", TRY_AGAIN);
    }

    /// A write has worked: what was said of the store is over.
    pub(super) fn store_works(&mut self) {
        if self.held.unwritten.is_none() && self.held.store_error.take().is_some() {
            info!(thread = self.index, "its store can be written to again");
        }
    }

    /// Tries to write down what could not be written before.
    pub(super) async fn try_to_write_down(&mut self) {
        if let Err(error) = self.try_once().await {
            self.hold_for_store(&error);
        }
    }

    async fn try_once(&mut self) -> Result<(), StoreError> {
        self.settle().await?;
        let Some(mut unwritten) = self.held.unwritten.take() else { return Ok(()) };
        if unwritten.is_superseded(&self.record) {
            info!(thread = self.index, state = %self.record.state, "what a step had yielded is not wanted any more");
            return Ok(());
        }
        let Try { after, outputs, events, failure } = self.apply(&unwritten.what);
        let moves_to = matches!(unwritten.what, What::Moved(_)).then(|| after.state.name());
        moves_to.inspect(|state| failpoint::reach("before-commit", state));
        if let Err(error) =
            self.store.commit(Change { outputs, events, ..Change::to(&after) }).await
        {
            unwritten.tried = Some(after);
            self.held.unwritten = Some(unwritten);
            return Err(error);
        }
        moves_to.inspect(|state| failpoint::reach("after-commit", state));
        self.store_works();
        let before = self.record.clone();
        self.adopt(after);
        if let Some(failure) = failure {
            unwritten.what = What::Failed(failure);
        }
        self.written(&unwritten, &before);
        Ok(())
    }

    fn apply(&self, what: &What) -> Try {
        let mut after = self.record.clone();
        let (outputs, events, failure) = match what {
            What::Restarted { events } => (Arc::default(), events.clone(), None),
            What::Moved(step) => {
                control::move_on(&mut after, step.to.clone(), self.now_ms());
                (step.outputs.clone(), self.changed_to(&after).transition(), None)
            }
            What::Failed(failure) => {
                let failure = control::fail(
                    &mut after,
                    failure.clone(),
                    self.config.sealing.max_retries,
                    self.now_ms(),
                );
                (Arc::default(), self.changed_to(&after).failure(&failure), Some(failure))
            }
        };
        Try { after, outputs, events, failure }
    }

    // What follows from it, once it is durable.
    fn written(&mut self, Unwritten { what, .. }: &Unwritten, before: &Record) {
        let sector = self.record.job_name().or(before.job_name());
        match what {
            What::Restarted { .. } => {}
            What::Moved(step) => {
                if before.failed_for_good() {
                    // Sectors must not be burnt one after another.
                    self.hold_off("next sector", self.config.sealing.seal_interval);
                }
                info!(thread = self.index, sector, from = %before.state, state = %step.to.state, "moved");
                if let Some(event) = step.event {
                    self.report(before.state, event, None);
                }
            }
            What::Failed(failure) => {
                let (level, retry) = (failure.level, self.record.retry);
                warn!(thread = self.index, sector, state = %before.state, level = level.name(), retry, "{}", failure.message);
                if level == Level::Temporary {
                    let reason = format!("retry {retry} of {}", self.config.sealing.max_retries);
                    self.hold_off(&reason, self.config.sealing.recover_interval);
                }
                // Whoever has the job now reports it.
                if level != Level::Lost {
                    self.report(before.state, "Failure", Some(failure));
                }
            }
        }
    }
}
