//! What a sidecar shows of a thread: what the last list says of it, and what is wanted of it.

use std::time::Duration;

use damocles_wire::worker::ThreadState;
use shared_msgs::{
    snapshot::{ThreadSnapshot, ThreadStatus},
    text::printable,
};
use tokio::time::Instant;

use super::{
    kept::Kept,
    mirror::{At, Seen},
    release,
};

/// What is shown of a thread.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// As it was listed.
    pub(crate) thread: ThreadSnapshot,
    /// When that was.
    pub(crate) at: Instant,
    /// Since when the worker does not answer, and why.
    pub(crate) unreachable: Option<(Instant, String)>,
}

impl View {
    /// The thread's part of a snapshot taken now.
    pub(crate) fn snapshot(&self) -> ThreadSnapshot {
        let mut thread = self.thread.clone();
        if let Some((since, why)) = &self.unreachable {
            let elapsed_ms = since.elapsed().as_millis() as u64;
            thread.status = ThreadStatus::Unreachable { elapsed_ms, why: why.clone() };
            return thread;
        }
        let since = self.at.elapsed().as_millis() as u64;
        match &mut thread.status {
            ThreadStatus::Running { elapsed_ms, .. }
            | ThreadStatus::Waiting { elapsed_ms, .. }
            | ThreadStatus::PausePending { elapsed_ms, .. }
            | ThreadStatus::Paused { elapsed_ms, .. } => {
                *elapsed_ms = elapsed_ms.saturating_add(since)
            }
            ThreadStatus::Idle | ThreadStatus::Unreachable { .. } | ThreadStatus::Other => {}
        }
        thread
    }
}

/// A thread's part of a snapshot, with that status.
pub(crate) fn snapshot(index: usize, kept: &Kept, status: ThreadStatus) -> ThreadSnapshot {
    let shown = &kept.shown;
    ThreadSnapshot {
        index: index as u32,
        location: shown.location.clone(),
        plan: shown.plan.clone(),
        sector_id: shown.job.clone(),
        state: shown.state.clone(),
        stage: shown.stage.clone(),
        cordoned: kept.cordoned,
        status,
        revision: kept.revision,
        retry: 0,
        end_pending: None,
        last_err: shown.last_err.clone(),
    }
}

/// A thread's status when it was listed. It has stood so for that long, as far as was seen.
pub(crate) fn status(seen: &Seen, kept: &Kept, stands: Duration) -> ThreadStatus {
    let millis = |secs: u64| secs.saturating_mul(1_000);
    let elapsed_ms = match seen.does {
        ThreadState::Paused { elapsed } => {
            let by = seen.shown.paused.unwrap_or_default();
            return ThreadStatus::Paused { elapsed_ms: millis(elapsed), by };
        }
        ThreadState::Waiting { elapsed } | ThreadState::Running { elapsed, .. } => millis(elapsed),
        ThreadState::Idle | ThreadState::NotPaused | ThreadState::Other => {
            stands.as_millis() as u64
        }
    };
    if kept.is_pause_pending() {
        return ThreadStatus::PausePending { elapsed_ms, progress: None };
    }
    let waiting = |reason: &str| ThreadStatus::Waiting { elapsed_ms, reason: reason.into() };
    match &seen.does {
        ThreadState::Running { proc, .. } => {
            let processor = proc.as_deref().map(printable);
            ThreadStatus::Running { elapsed_ms, processor, progress: None }
        }
        ThreadState::Waiting { .. } => waiting("a slot or a processor"),
        ThreadState::Idle | ThreadState::NotPaused if !matches!(seen.at, At::Job(_)) => {
            ThreadStatus::Idle
        }
        // Calls, polls, the seed and the wait before a retry look the same.
        ThreadState::Idle => waiting("unknown"),
        ThreadState::NotPaused if release::waits_by_nature(seen) => waiting("unknown"),
        ThreadState::NotPaused => {
            ThreadStatus::Running { elapsed_ms, processor: None, progress: None }
        }
        ThreadState::Paused { .. } | ThreadState::Other => ThreadStatus::Other,
    }
}
