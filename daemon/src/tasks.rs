//! Tasks that must not end while their process runs. One that ends nevertheless is noticed at once,
//! with its name and why.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{AbortHandle, BoxFuture, abortable},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// A task that has ended and should not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task that {does} has ended: {why}")]
pub struct TaskEnded {
    /// What it did, e.g. `publishes snapshots`.
    pub does: String,
    /// Why it has ended.
    pub why: Why,
}

/// Why a task has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It came to an end; what it lives on may have gone with another task.
    #[error("it has nothing left to do")]
    Returned,
    /// It panicked, with this message.
    #[error("{0}")]
    Panicked(String),
}

/// So long a task that has only returned may be the consequence of one whose panic is not told yet.
const CAUSE: Duration = Duration::from_millis(200);

/// Runs what has no end of its own, and says how it has ended.
pub async fn endless(does: impl Into<String>, work: impl Future<Output = ()>) -> TaskEnded {
    // Nothing of it is used again after a panic.
    let why = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(()) => Why::Returned,
        Err(panic) => Why::Panicked(panicked(&*panic)),
    };
    TaskEnded { does: does.into(), why }
}

/// A panic in words.
pub fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("no text"))
}

/// Runs a task beside others: tokio, or whoever decides when it goes on.
pub type Executor = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// Where tasks are spawned.
#[derive(Clone)]
pub struct Tasks {
    executor: Executor,
    ended: mpsc::UnboundedSender<TaskEnded>,
}

/// A task that was spawned; it goes on without this.
#[derive(Debug)]
pub struct Task {
    running: AbortHandle,
    ended: oneshot::Receiver<()>,
}

/// Hears of the ends of endless tasks.
#[derive(Debug)]
pub struct Ended(mpsc::UnboundedReceiver<TaskEnded>);

impl Tasks {
    /// No task yet, and whoever is to hear of ends.
    pub fn new() -> (Tasks, Ended) {
        Tasks::on(Arc::new(|task| drop(tokio::spawn(task))))
    }

    /// The same, on that executor.
    pub fn on(executor: Executor) -> (Tasks, Ended) {
        let (ended, ends) = mpsc::unbounded_channel();
        (Tasks { executor, ended }, Ended(ends))
    }

    /// Spawns one that must not end.
    pub fn spawn(
        &self,
        does: impl Into<String> + Send + 'static,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Task {
        let ended = self.ended.clone();
        self.start(async move {
            // When nobody listens any more the process ends anyway.
            ended.send(endless(does, work).await).ok();
        })
    }

    /// Spawns one that has an end of its own.
    pub fn start(&self, work: impl Future<Output = ()> + Send + 'static) -> Task {
        let (work, running) = abortable(work);
        let (end, ended) = oneshot::channel::<()>();
        (self.executor)(Box::pin(async move {
            let _end = end;
            // Whoever has aborted it knows.
            work.await.ok();
        }));
        Task { running, ended }
    }
}

impl Task {
    /// Ends it where it waits.
    pub fn abort(&self) {
        self.running.abort();
    }

    /// Waits until it has ended, in whatever way.
    pub async fn ended(self) {
        self.ended.await.ok();
    }
}

impl Ended {
    /// Waits for the first task that ends. A panic takes away what other tasks live on: of those
    /// that end at the same time it is the one.
    pub async fn first(&mut self) -> TaskEnded {
        let Some(first) = self.0.recv().await else { return std::future::pending().await };
        if first.why != Why::Returned {
            return first;
        }
        let cause = async {
            loop {
                match self.0.recv().await {
                    Some(TaskEnded { why: Why::Returned, .. }) => {}
                    Some(cause) => return cause,
                    None => return std::future::pending().await,
                }
            }
        };
        timeout(CAUSE, cause).await.unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_cause_is_told_not_what_ended_with_it() {
        let (tasks, mut ended) = Tasks::new();
        let (source, mut life) = tokio::sync::watch::channel(());
        tasks.spawn("lives on another", async move { while life.changed().await.is_ok() {} });
        tasks.spawn("fails", async move {
            let _source = source;
            panic!("first")
        });
        assert_eq!(
            ended.first().await.to_string(),
            "the task that fails has ended: panicked: first"
        );
        tasks.spawn("returns before", async {});
        tokio::task::yield_now().await;
        tasks.spawn("fails later", async { panic!("second") });
        assert_eq!(ended.first().await.does, "fails later");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_end_is_told_with_its_reason() {
        let (tasks, mut ended) = Tasks::new();
        tasks.spawn("waits", std::future::pending());
        tasks.spawn("fails", async { panic!("at {}", 7) });
        assert_eq!(
            ended.first().await.to_string(),
            "the task that fails has ended: panicked: at 7"
        );
        tasks.spawn("returns", async {});
        assert_eq!(
            ended.first().await.to_string(),
            "the task that returns has ended: it has nothing left to do"
        );
    }
}
