//! What a manager answers: `api.list`, `api.remove`, and what it gives on ([`super::orders`]). Any manager
//! can answer any request.

use std::time::Duration;

use async_nats::{
    Client,
    jetstream::{self, kv::UpdateErrorKind},
};
use bytes::Bytes;
use damocles_client::{bus::Bus, nats::Connection, state_bucket::last_report};
use damocles_daemon::answering;
use shared_msgs::{
    api::{ListWorkersReply, ListWorkersRequest, RemoveReply, RemoveRequest, WorkerView, verb},
    codec::Encoding,
    error::ErrorKind,
    name::WorkerName,
    snapshot::{WorkerStatus, is_expired},
    subject::Prefix,
};
use tokio::sync::watch;
use tracing::info;

use super::{
    SharedRegistry,
    orders::{self, Orders},
    responder::answer,
};

/// The most bytes in one page: half of what NATS carries by default, and no more than it carries
/// here.
pub(crate) fn max_page_bytes(client: &Client) -> usize {
    answering::room(client).min(MAX_PAGE_BYTES)
}

const MAX_PAGE_BYTES: usize = 512 * 1024;
// The page's own fields, a name of 64 bytes with every character escaped among them.
const PAGE_FRAME_BYTES: usize = 512;
// For JetStream to answer a removal.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) struct Api {
    connection: Connection,
    prefix: Prefix,
    registry: SharedRegistry,
    bucket_trouble: watch::Receiver<Option<String>>,
    orders: Orders,
}

impl Api {
    /// Answers from this registry; what is wrong with the state bucket is said beside.
    pub(crate) fn new(
        connection: Connection,
        prefix: Prefix,
        registry: SharedRegistry,
        bucket_trouble: watch::Receiver<Option<String>>,
        timeout: Duration,
    ) -> Self {
        let orders = Orders::new(connection.clone(), prefix.clone(), timeout);
        Api { connection, prefix, registry, bucket_trouble, orders }
    }

    /// Whether an answer to this verb waits for workers.
    pub(crate) fn takes_long(verb: &str) -> bool {
        orders::names().any(|name| name == verb)
    }

    pub(crate) async fn handle(&self, verb: &str, payload: Bytes) -> Result<Vec<u8>, ErrorKind> {
        match verb {
            verb::LIST => {
                answer(&payload, async |request, encoding| self.list(request, encoding)).await
            }
            verb::REMOVE => answer(&payload, async |request, _| self.remove(request).await).await,
            other => match self.orders.handle(other, &payload).await {
                Some(answer) => answer,
                None => {
                    let verbs: Vec<_> =
                        [verb::LIST, verb::REMOVE].into_iter().chain(orders::names()).collect();
                    Err(ErrorKind::bad_request(format!(
                        "a manager has no verb {other:?}; its verbs are {}",
                        verbs.join(", ")
                    )))
                }
            },
        }
    }

    fn list(
        &self,
        request: ListWorkersRequest,
        encoding: Encoding,
    ) -> Result<ListWorkersReply, ErrorKind> {
        let after: Option<WorkerName> = match request.after.as_deref() {
            None | Some("") => None,
            Some(name) => Some(name.parse().map_err(ErrorKind::bad_request)?),
        };
        if request.limit == Some(0) {
            return Err(ErrorKind::bad_request("limit is at least 1"));
        }
        let limit = request.limit.map_or(usize::MAX, |limit| limit as usize);
        let notes: Vec<_> = self.bucket_trouble.borrow().iter().cloned().collect();
        self.registry.with(|registry, now| {
            page(
                notes,
                registry.list(after.as_ref(), now),
                limit,
                max_page_bytes(&self.connection.client),
                encoding,
            )
        })
    }

    // Purges the key that every manager follows; with the revision that was judged, so that a
    // worker that speaks meanwhile is not lost.
    async fn remove(&self, request: RemoveRequest) -> Result<RemoveReply, ErrorKind> {
        let worker = self.prefix.worker_named(&request.worker).map_err(ErrorKind::bad_request)?;
        let failed = |error: &dyn std::fmt::Display| {
            ErrorKind::internal(format!(
                "worker {worker} cannot be removed from the state bucket: {error}"
            ))
        };
        let last = last_report(&self.connection, &self.prefix, &worker, PATIENCE)
            .await
            .map_err(|error| failed(&error))?;
        let last = last.ok_or_else(|| ErrorKind::WorkerNotFound { worker: worker.to_string() })?;
        let reports = |age: Duration| ErrorKind::WorkerReports {
            worker: worker.to_string(),
            last_ping_ms: age.as_millis() as u64,
        };
        if last.snapshot.status != WorkerStatus::Stopped
            && !is_expired(last.age, last.snapshot.ping_interval_ms)
        {
            return Err(reports(last.age));
        }
        let purge = async {
            let jetstream = jetstream::new(self.connection.client.clone());
            let bucket = jetstream.get_key_value(self.prefix.state_bucket()).await;
            let bucket = bucket.map_err(|error| failed(&error))?;
            let purged = bucket.purge_expect_revision(worker.token(), Some(last.revision)).await;
            purged.map_err(|error| match error.kind() {
                UpdateErrorKind::WrongLastRevision => reports(Duration::ZERO),
                _ => failed(&error),
            })
        };
        let key = self.prefix.state_key(&worker.token());
        let denial = self.connection.denied(&key);
        tokio::select! {
            biased;
            purged = tokio::time::timeout(PATIENCE, purge) => {
                purged.map_err(|_| failed(&"JetStream does not answer"))??;
            }
            denial = denial => return Err(orders::denied(denial, "the state bucket")),
        }
        self.registry.with(|registry, _| registry.remove(&worker));
        info!(%worker, "removed on request");
        Ok(RemoveReply { removed: worker.to_string() })
    }
}

// As many of the workers as fit, one at least.
fn page(
    notes: Vec<String>,
    workers: impl Iterator<Item = WorkerView>,
    limit: usize,
    max_bytes: usize,
    encoding: Encoding,
) -> Result<ListWorkersReply, ErrorKind> {
    let frame = encoding.encode(&notes).map_err(ErrorKind::internal)?.len() + PAGE_FRAME_BYTES;
    let views = workers.map(|worker| (worker.name.clone(), worker));
    let (workers, next) = answering::page(views, limit, frame, max_bytes, encoding)?;
    Ok(ListWorkersReply { workers, next, notes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared_msgs::id::Id;

    use super::*;

    fn view(name: String) -> WorkerView {
        let json = serde_json::json!({"name": name, "last_ping_ms": 5, "instance_id": Id::NIL, "ping_interval_ms": 10_000, "host": name});
        serde_json::from_value(json).unwrap()
    }

    // Asks page after page, as a client does.
    fn all_pages(
        names: &[String],
        limit: usize,
        max_bytes: usize,
        encoding: Encoding,
    ) -> Vec<ListWorkersReply> {
        let mut pages: Vec<ListWorkersReply> = Vec::new();
        loop {
            let after = pages.last().and_then(|page| page.next.clone());
            let rest = names.iter().filter(|name| after.as_ref().is_none_or(|after| *name > after));
            pages.push(page(vec![], rest.cloned().map(view), limit, max_bytes, encoding).unwrap());
            if pages.last().unwrap().next.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn no_workers_are_one_empty_page() {
        let pages = all_pages(&[], usize::MAX, MAX_PAGE_BYTES, Encoding::Json);
        assert_eq!(pages, [ListWorkersReply::default()]);
    }

    #[test]
    fn the_limit_is_kept_and_the_last_page_names_no_next() {
        let names: Vec<_> = ["a", "b", "c", "d"].map(String::from).into();
        let pages = all_pages(&names, 2, MAX_PAGE_BYTES, Encoding::Json);
        assert_eq!(
            (pages.len(), pages[0].next.as_deref(), pages[1].next.as_deref()),
            (2, Some("b"), None)
        );
    }

    proptest! {
        #[test]
        fn pages_fit_and_together_name_every_worker_once(names in prop::collection::btree_set("[ -~矿]{1,21}", 0..60), limit in 1usize..80) {
            let names: Vec<_> = names.into_iter().collect();
            for encoding in [Encoding::Json, Encoding::Msgpack] {
                let pages = all_pages(&names, limit, 3_000, encoding);
                let listed: Vec<_> = pages.iter().flat_map(|page| page.workers.iter().map(|worker| worker.name.clone())).collect();
                prop_assert_eq!(&listed, &names);
                for page in &pages {
                    prop_assert!(encoding.encode(page).unwrap().len() <= 3_000 && page.workers.len() <= limit);
                }
            }
        }
    }
}
