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
    store::record::{Control, Paused, Record},
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
    /// What it does or waits for, if it is in a step or is held up by more than a pause.
    pub now: Option<Now>,
    /// When its pause took effect.
    pub paused_since: Instant,
    /// When it was cordoned.
    pub cordoned_since: Instant,
    /// Why what it has done or was told cannot be written down at the moment.
    pub store_error: Option<String>,
    /// What is wrong with it beside its job, e.g. with its configuration file.
    pub warning: Option<String>,
    /// Set when its task has ended although the worker goes on: it takes no commands any more.
    pub ended: Option<Ended>,
    /// What the sector manager says of its job, and what waits for the running stage or for an
    /// operator.
    pub verdict: Option<Failure>,
}

/// The end of a thread's task.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Why it has ended, in words.
    pub why: String,
    /// When it has ended, by the monotonic clock.
    pub since: Instant,
}

impl ThreadView {
    /// The status at this moment.
    pub fn status(&self) -> ThreadStatus {
        let millis = |since: Instant| since.elapsed().as_millis() as u64;
        if let Some(Ended { since, .. }) = &self.ended {
            return ThreadStatus::Paused { elapsed_ms: millis(*since), by: PausedBy::Error };
        }
        if let Control::Paused(Paused { by, .. }) = self.record.control {
            return ThreadStatus::Paused { elapsed_ms: millis(self.paused_since), by };
        }
        let Some(Now { kind, since, progress, .. }) = self.now.clone() else {
            return ThreadStatus::Idle;
        };
        let elapsed_ms = millis(since);
        match kind {
            Kind::Waiting { reason } => ThreadStatus::Waiting { elapsed_ms, reason },
            Kind::Running { .. } if self.record.is_pause_pending() => {
                ThreadStatus::PausePending { elapsed_ms, progress }
            }
            Kind::Running { processor } => ThreadStatus::Running {
                elapsed_ms,
                processor: processor.map(|processor| processor.name),
                progress,
            },
        }
    }

    // Of several causes the one that has to go first.
    fn last_err(&self) -> Option<String> {
        let ended = self.ended.as_ref().map(|ended| Failure::critical(&ended.why).to_string());
        let causes = [&ended, &self.store_error, &self.record.last_err, &self.warning];
        causes.into_iter().flatten().next().cloned()
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
            last_err: self.last_err(),
        }
    }
}
