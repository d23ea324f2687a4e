//! A damocles system: its workers, and any manager.

use std::{fmt::Debug, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use shared_msgs::{
    api::{ListWorkersReply, ListWorkersRequest, WorkerView, verb},
    codec::Encoding,
    name::WorkerName,
    subject::Prefix,
};

use crate::{
    bus::Bus,
    call::{CallError, call, read},
    connect::{ConnectError, NatsOptions, NatsSettings},
    worker_client::{Via, WorkerClient},
};

/// A damocles system, reached over a bus.
#[derive(Clone)]
pub struct System {
    /// The way to NATS, shared by all that is asked over it.
    pub bus: Arc<dyn Bus>,
    /// First part of every subject.
    pub prefix: Prefix,
    /// Who is asked for what its workers are to do.
    pub via: Via,
    /// How long a request may take, from its first attempt to its answer.
    pub timeout: Duration,
}

/// A list in pages that goes back to this cursor: it would never end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("goes back to {0}")]
pub struct GoesBack(pub String);

/// The cursor of the next page, after this one; `None` after the last page.
pub fn next_page<K: PartialOrd + Debug>(
    after: &Option<K>,
    next: Option<K>,
) -> Result<Option<K>, GoesBack> {
    match next {
        Some(next) if after.as_ref().is_some_and(|after| next <= *after) => {
            Err(GoesBack(format!("{next:?}")))
        }
        next => Ok(next),
    }
}

/// Why the managers' list of workers cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// No manager answers, or it refuses.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What managers answer makes no sense.
    #[error("a manager's list {0}")]
    GoesBack(#[from] GoesBack),
}

impl System {
    /// Connects now, or fails; `client_name` is what NATS shows of this connection.
    pub async fn connect(options: &NatsOptions, client_name: &str) -> Result<System, ConnectError> {
        let settings = NatsSettings::new(options, &NatsOptions::default())?;
        let client = settings.connect_once(client_name).await?;
        let NatsSettings { prefix, timeout, .. } = settings;
        Ok(System { bus: Arc::new(client), prefix, via: Via::Worker, timeout })
    }

    /// Somebody who commands this worker.
    pub fn worker(&self, worker: WorkerName) -> WorkerClient {
        let System { bus, prefix, via, timeout } = self.clone();
        WorkerClient { bus, prefix, worker, via, timeout }
    }

    /// The workers that the managers know, by name, and what is wrong with what they know, for
    /// people.
    pub async fn workers(&self) -> Result<(Vec<WorkerView>, Vec<String>), ListError> {
        let mut workers: Vec<WorkerView> = Vec::new();
        let mut after = None;
        // Page after page; each may come from another manager. The last one's notes are the
        // newest.
        loop {
            let request = ListWorkersRequest { after: after.clone(), limit: None };
            let page: ListWorkersReply = self.read_managers(verb::LIST, &request).await?;
            workers.extend(page.workers);
            after = next_page(&after, page.next)?;
            if after.is_none() {
                return Ok((workers, page.notes));
            }
        }
    }

    /// Asks the managers for something that changes nothing.
    pub async fn read_managers<Q: Serialize, R: DeserializeOwned>(
        &self,
        verb: &str,
        request: &Q,
    ) -> Result<R, CallError> {
        let subject = self.prefix.api(verb);
        read(&*self.bus, &subject, Encoding::Msgpack, request, self.timeout).await
    }

    /// Asks the managers for a change.
    pub async fn ask_managers<Q: Serialize, R: DeserializeOwned>(
        &self,
        verb: &str,
        request: &Q,
    ) -> Result<R, CallError> {
        let subject = self.prefix.api(verb);
        call(&*self.bus, &subject, Encoding::Msgpack, request, self.timeout).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_rise_from_page_to_page() {
        assert_eq!(next_page(&None, Some("a")), Ok(Some("a")));
        assert_eq!(next_page(&Some("a"), Some("b")), Ok(Some("b")));
        assert_eq!(next_page(&Some("b"), None), Ok(None));
        for back in ["a", "b"] {
            assert_eq!(next_page(&Some("b"), Some(back)), Err(GoesBack(format!("{back:?}"))));
        }
    }
}
