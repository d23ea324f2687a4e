//! What a thread shows of itself, and how it is written into a snapshot.

use std::path::PathBuf;

use shared_msgs::{
    snapshot::{MAX_END_PENDING_BYTES, PausedBy, ThreadSnapshot, ThreadStatus},
    text::cut_text,
};
use tokio::time::Instant;

use crate::{
    activity::{Kind, Now},
    failure::{Failure, Level},
    store::record::Record,
};

/// What a thread shows of itself: its record, and what it is doing right now.
#[derive(Clone, Debug)]
pub struct ThreadView {
    /// Position in the configuration, from 0.
    pub index: u32,
    /// Path of its directory, as configured.
    pub location: PathBuf,
    /// What was committed last.
    pub record: Record,
    /// What it is doing.
    pub doing: Shown,
    /// Why what it has done or was told cannot be written down at the moment.
    pub store_error: Option<String>,
    /// What is wrong with it beside its job, e.g. with its configuration file.
    pub warning: Option<String>,
    /// Why its task has ended, if it has although the worker goes on: it takes no commands any
    /// more.
    pub ended: Option<String>,
    /// What the sector manager says of its job, and what waits for the running stage or for an
    /// operator.
    pub verdict: Option<Failure>,
}

/// What a thread is doing, as it is shown.
#[derive(Clone, Debug)]
pub enum Shown {
    /// Between two steps.
    Idle,
    /// In a step.
    Active(Now),
    /// Paused since then.
    Paused {
        /// Who paused it.
        by: PausedBy,
        /// When the pause took effect.
        since: Instant,
    },
}

impl ThreadView {
    /// Shows that the thread's task has ended.
    pub(super) fn end(&mut self, why: String) {
        self.record.last_err = Some(Failure::critical(&why).to_string());
        self.doing = Shown::Paused { by: PausedBy::Error, since: Instant::now() };
        self.ended = Some(why);
    }

    /// The status at this moment.
    pub fn status(&self) -> ThreadStatus {
        let millis = |since: Instant| since.elapsed().as_millis() as u64;
        match &self.doing {
            Shown::Idle => ThreadStatus::Idle,
            Shown::Paused { by, since } => {
                ThreadStatus::Paused { elapsed_ms: millis(*since), by: *by }
            }
            Shown::Active(Now { kind: Kind::Waiting { reason }, since, .. }) => {
                ThreadStatus::Waiting { elapsed_ms: millis(*since), reason: reason.clone() }
            }
            Shown::Active(Now { since, progress, .. }) if self.record.pause_pending => {
                ThreadStatus::PausePending {
                    elapsed_ms: millis(*since),
                    progress: progress.clone(),
                }
            }
            Shown::Active(Now { kind: Kind::Running { processor }, since, progress, .. }) => {
                ThreadStatus::Running {
                    elapsed_ms: millis(*since),
                    processor: processor.as_ref().map(|processor| processor.name.clone()),
                    progress: progress.clone(),
                }
            }
        }
    }

    /// What becomes of the job when nothing runs any more and nobody holds it up.
    fn end_pending(&self) -> Option<String> {
        let Failure { level, message } = self.verdict.as_ref()?;
        let what = match level {
            Level::Abort => "given up",
            Level::Lost => "let go",
            Level::Temporary | Level::Permanent | Level::Critical => return None,
        };
        Some(cut_text(&format!("{what}, {message}"), MAX_END_PENDING_BYTES))
    }

    /// The thread's part of a snapshot taken now.
    pub fn snapshot(&self) -> ThreadSnapshot {
        let record = &self.record;
        ThreadSnapshot {
            index: self.index,
            location: self.location.display().to_string(),
            plan: record.plan.name().to_owned(),
            sector_id: record.job_name(),
            state: record.state.name().to_owned(),
            stage: record.plan.stage(record.state).map(|stage| stage.name().to_owned()),
            cordoned: record.cordoned,
            status: self.status(),
            revision: record.revision,
            retry: record.retry,
            end_pending: self.end_pending(),
            last_err: [&self.store_error, &record.last_err, &self.warning]
                .into_iter()
                .flatten()
                .next()
                .cloned(),
        }
    }
}
