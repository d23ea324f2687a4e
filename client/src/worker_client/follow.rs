//! One worker's states, as they are published, and asked for where nothing is heard.

use std::time::Duration;

use futures::{StreamExt, stream::BoxStream};
use shared_msgs::{codec::decode, name::WorkerName, snapshot::WorkerSnapshot};
use tokio::time::timeout;

use super::{OrderError, WorkerClient};
use crate::{bus::Message, call::CallError};

// What a worker says of its ping interval is believed between these.
const QUIET: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(200)..=Duration::from_secs(60);

/// Hears one worker. Its states come in no strict order: one that was on its way may come after a
/// newer one.
pub struct Follow<'a> {
    worker: &'a WorkerClient,
    published: BoxStream<'static, Message>,
    // Nothing was heard for so long: ask. At first at once.
    quiet: Duration,
}

/// What there is to know.
pub enum Heard {
    /// A state of the worker.
    State(Box<WorkerSnapshot>),
    /// Nothing is published, and the worker does not answer either.
    Silence(OrderError),
}

impl WorkerClient {
    /// Hears the worker from now on: what it publishes after a command that is sent later is not
    /// missed.
    pub async fn follow(&self) -> Result<Follow<'_>, CallError> {
        let subject = self.prefix.state(&self.worker);
        match self.bus.listen(subject.clone()).await {
            Ok(published) => Ok(Follow { worker: self, published, quiet: Duration::ZERO }),
            Err(error) => Err(CallError::NotHeard(subject, error)),
        }
    }
}

impl<'a> Follow<'a> {
    /// The worker whose snapshots are heard.
    pub fn worker(&self) -> &'a WorkerName {
        &self.worker.worker
    }

    /// Waits for the next state. What cannot be read is passed over.
    pub async fn next(&mut self) -> Heard {
        let readable = async {
            while let Some(message) = self.published.next().await {
                if let Some(Ok(snapshot)) = message.body.as_deref().map(decode) {
                    return snapshot;
                }
            }
            // Closed for good: asking is all that is left.
            std::future::pending().await
        };
        if let Ok(snapshot) = timeout(self.quiet, readable).await {
            return self.heard(snapshot);
        }
        let asked = self.worker.list().await;
        // A worker that is away is asked again as soon as one that says nothing.
        self.quiet = self.quiet.clamp(*QUIET.start(), *QUIET.end());
        match asked {
            Ok(snapshot) => self.heard(snapshot),
            Err(error) => Heard::Silence(error),
        }
    }

    fn heard(&mut self, snapshot: WorkerSnapshot) -> Heard {
        self.quiet =
            Duration::from_millis(snapshot.ping_interval_ms).clamp(*QUIET.start(), *QUIET.end());
        Heard::State(Box::new(snapshot))
    }
}
