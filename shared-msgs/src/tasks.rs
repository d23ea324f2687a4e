//! Tasks that must not end while their process runs. One that ends nevertheless is noticed at once, with its name and why.

use std::{any::Any, panic::AssertUnwindSafe};

use futures::FutureExt;
use tokio::{sync::mpsc, task::JoinHandle};

/// A task that has ended and should not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task that {does} has ended: {why}")]
pub struct TaskEnded {
    /// What it did, e.g. `publishes snapshots`.
    pub does: String,
    /// Why it has ended.
    pub why: String,
}

/// Runs what has no end of its own, and says how it has ended.
pub async fn endless(does: impl Into<String>, work: impl Future<Output = ()>) -> TaskEnded {
    // Nothing of it is used again after a panic.
    let why = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(()) => "it has nothing left to do".to_owned(),
        Err(panic) => panicked(&*panic),
    };
    TaskEnded { does: does.into(), why }
}

/// A panic in words.
pub fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("no text"))
}

/// Where endless tasks are spawned.
#[derive(Clone, Debug)]
pub struct Tasks(mpsc::UnboundedSender<TaskEnded>);

/// Hears of their ends.
#[derive(Debug)]
pub struct Ended(mpsc::UnboundedReceiver<TaskEnded>);

impl Tasks {
    /// No task yet, and whoever is to hear of ends.
    pub fn new() -> (Tasks, Ended) {
        let (ended, ends) = mpsc::unbounded_channel();
        (Tasks(ended), Ended(ends))
    }

    /// Spawns one.
    pub fn spawn(&self, does: impl Into<String> + Send + 'static, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let ended = self.0.clone();
        tokio::spawn(async move {
            // When nobody listens any more the process ends anyway.
            ended.send(endless(does, work).await).ok();
        })
    }
}

impl Ended {
    /// Waits for the first task that ends.
    pub async fn first(&mut self) -> TaskEnded {
        match self.0.recv().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_end_is_told_with_its_reason() {
        let (tasks, mut ended) = Tasks::new();
        tasks.spawn("waits", std::future::pending());
        tasks.spawn("fails", async { panic!("at {}", 7) });
        assert_eq!(ended.first().await.to_string(), "the task that fails has ended: panicked: at 7");
        tasks.spawn("returns", async {});
        assert_eq!(ended.first().await.to_string(), "the task that returns has ended: it has nothing left to do");
    }
}
