//! What a thread is, by the rules as an operator reads them: its events, played one after another,
//! must make sense and lead to what its record says.

use damocles_worker::store::record::Record;
use shared_msgs::{
    command::Outcome,
    event::{Event, EventKind},
    snapshot::PausedBy,
};

/// The part of a thread's record that commands and events are about.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadModel {
    /// As in [`Record::revision`], by which events are told apart.
    pub revision: u64,
    /// The state, by its name in the plan.
    pub state: String,
    /// Who paused the thread; nobody if absent.
    pub paused: Option<PausedBy>,
    /// As [`Record::is_pause_pending`] says.
    pub pending: bool,
    /// As [`Record::cordoned`] says.
    pub cordoned: bool,
}

impl ThreadModel {
    /// What the record says.
    pub fn of(record: &Record) -> Self {
        ThreadModel {
            revision: record.revision,
            state: record.state.name().to_owned(),
            paused: record.paused().map(|paused| paused.by),
            pending: record.is_pause_pending(),
            cordoned: record.cordoned,
        }
    }

    /// Whether an operator holds it up, now or as soon as its stage ends.
    pub fn is_held_up(&self) -> bool {
        self.pending || self.paused == Some(PausedBy::Operator)
    }

    /// Plays an event. The error says which rule it breaks.
    pub fn play(&mut self, event: &Event) -> Result<(), String> {
        let before = self.clone();
        self.change(event)?;
        let same_commit =
            event.kind == EventKind::Paused && event.revision == Some(before.revision);
        let changed = *self != before && !same_commit;
        // A step that leads back to its own state is a change too.
        self.revision += u64::from(
            changed || event.kind == EventKind::Transition || event.kind == EventKind::Failure,
        );
        require(event.revision == Some(self.revision), || {
            format!(
                "it is at revision {:?} where {} follows from {}",
                event.revision, self.revision, before.revision
            )
        })
    }

    fn change(&mut self, event: &Event) -> Result<(), String> {
        require(event.from.as_ref() == Some(&self.state), || {
            format!("it says it was in {:?}, not in {}", event.from, self.state)
        })?;
        match event.kind {
            EventKind::Transition => {
                require(self.paused.is_none(), || "a paused thread has moved".into())?;
                self.state = event.to.clone().unwrap_or_default();
            }
            EventKind::Failure => {
                require(self.paused.is_none(), || "a paused thread has failed".into())?;
                self.fail(event)?;
            }
            EventKind::Paused => {
                require(self.pending, || "a pause took effect that was not pending".into())?;
                (self.pending, self.paused) = (false, Some(PausedBy::Operator));
            }
            _ => self.obey(event.outcome.as_ref().ok_or("it has no outcome")?)?,
        }
        Ok(())
    }

    fn fail(&mut self, event: &Event) -> Result<(), String> {
        let level =
            event.error.as_deref().and_then(|error| error.split(':').next()).unwrap_or_default();
        match level {
            "temporary" => {}
            // A pause that was pending takes effect with it, as an event of its own.
            "permanent" | "critical" if self.pending => {}
            "permanent" | "critical" => self.paused = Some(PausedBy::Error),
            "abort" => self.state = "Aborted".into(),
            level => return Err(format!("{level:?} is no level of a failure")),
        }
        require(event.to.as_deref().is_none_or(|to| to == self.state), || {
            format!("it leads to {:?}, not to {}", event.to, self.state)
        })
    }

    fn obey(&mut self, outcome: &Outcome) -> Result<(), String> {
        let fits = match outcome {
            Outcome::Paused => self.paused.is_none() && !self.pending,
            Outcome::PausePending { .. } => self.paused.is_none(),
            Outcome::AlreadyPaused => self.paused.is_some(),
            Outcome::PauseWithdrawn => self.paused.is_none() && self.pending,
            Outcome::Resumed { from, .. } => self.paused.is_some() && *from == self.state,
            Outcome::Cordoned | Outcome::NotCordoned => !self.cordoned,
            Outcome::AlreadyCordoned | Outcome::Uncordoned => self.cordoned,
            Outcome::Other => false,
        };
        require(fits, || format!("{outcome:?} does not fit {self:?}"))?;
        match outcome {
            Outcome::Paused | Outcome::AlreadyPaused => self.paused = Some(PausedBy::Operator),
            Outcome::PausePending { .. } => self.pending = true,
            Outcome::PauseWithdrawn => self.pending = false,
            Outcome::Resumed { to, .. } => (self.paused, self.state) = (None, to.clone()),
            Outcome::Cordoned => self.cordoned = true,
            Outcome::Uncordoned => self.cordoned = false,
            Outcome::AlreadyCordoned | Outcome::NotCordoned | Outcome::Other => {}
        }
        Ok(())
    }
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
