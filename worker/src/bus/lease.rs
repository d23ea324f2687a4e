//! The lease of the worker's name over NATS: kept in the bucket of leases where there is JetStream;
//! where there is none, whoever answers under the name holds it (see [`super::probe`]).

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    Client,
    jetstream::{
        self,
        kv::{CreateErrorKind, Operation, Store, UpdateErrorKind},
    },
};
use damocles_client::{
    connect::Link,
    hedged::{ASK_AGAIN, hedged},
    jetstream::{JetStreamError, present},
    lease::open_bucket,
};
use futures::future::BoxFuture;
use shared_msgs::{
    codec::{Encoding, decode},
    lease::{Lease, key, standby_key},
    name::WorkerName,
    subject::Prefix,
};
use tokio::{sync::watch, time::timeout};
use tracing::{debug, info, warn};

use super::{link::connected, probe};
use crate::{
    identity::Worker,
    lease::{Answer, Ask, Ended, Keeper, LeaseBucket, LeaseState, keep, until_connected},
};

// For one attempt to open the bucket.
const PATIENCE: Duration = Duration::from_secs(5);

/// One name's lease, as its worker keeps it.
pub(crate) struct NatsLease {
    /// The connection.
    pub client: Client,
    /// First part of every subject.
    pub prefix: Prefix,
    /// How long leases last, for a bucket that has to be made.
    pub ttl: Duration,
}

impl NatsLease {
    /// Keeps the lease, from one connection to the next, until `stop`; then gives it back.
    pub(crate) async fn run(
        &self,
        worker: &Worker,
        me: Lease,
        mut link: watch::Receiver<Link>,
        state: watch::Sender<LeaseState>,
        stop: impl Future<Output = ()>,
    ) {
        let mut keeper = Keeper::new(me);
        // Once it is open it is asked directly: who makes and finds buckets may be away for longer
        // than their leaders.
        let mut bucket: Option<Bucket> = None;
        let keeping = async {
            while until_connected(&state, connected(&mut link)).await {
                link.borrow_and_update();
                if bucket.is_none() {
                    let opened = tokio::select! {
                        opened = self.open(worker) => opened,
                        _ = link.changed() => continue,
                    };
                    bucket = opened;
                }
                match &bucket {
                    Some(open) => {
                        let lost = async { drop(link.changed().await) };
                        if keep(&mut keeper, open, open.ttl, &state, lost).await == Ended::Silent {
                            bucket = None;
                        }
                    }
                    None => {
                        info!(
                            "NATS has no JetStream: no lease of the name, no history, and nothing is kept for managers"
                        );
                        probe::settle(worker, &self.client, &mut link, &state).await;
                    }
                }
            }
        };
        tokio::select! {
            () = keeping => {}
            () = stop => {}
        }
        if let (Some(Bucket { store, .. }), Some(revision)) = (bucket, keeper.revision()) {
            let released =
                timeout(PATIENCE, store.delete_expect_revision(key(&worker.name), Some(revision)))
                    .await;
            debug!(?released, "the lease is given back");
        }
    }

    // `None` where there is no JetStream.
    async fn open(&self, worker: &Worker) -> Option<Bucket> {
        let said = Mutex::new(String::new());
        let (store, ttl) = hedged(ASK_AGAIN, || async {
            let opened = timeout(PATIENCE, self.try_to_open()).await;
            match opened
                .unwrap_or_else(|_| Err(JetStreamError::Failed("JetStream does not answer".into())))
            {
                Ok(opened) => Some(Some(opened)),
                Err(JetStreamError::Absent) => Some(None),
                Err(JetStreamError::Failed(error)) => {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    if *said != error {
                        warn!(error, "commands cannot be served yet");
                        *said = error;
                    }
                    None
                }
            }
        })
        .await?;
        if ttl != self.ttl {
            info!(?ttl, configured = ?self.ttl, "the lease bucket was made with another time to live, and keeps it");
        }
        Some(Bucket { store, ttl, worker: worker.name.clone() })
    }

    async fn try_to_open(&self) -> Result<(Store, Duration), JetStreamError> {
        let jetstream = jetstream::new(self.client.clone());
        // A bucket that is there can be found while nobody can say whether there is JetStream: only
        // its own leader is asked.
        match open_bucket(&jetstream, &self.prefix, self.ttl).await {
            Ok(opened) => Ok(opened),
            Err(error) => present(&jetstream).await.and(Err(error)),
        }
    }
}

struct Bucket {
    store: Store,
    ttl: Duration,
    worker: WorkerName,
}

impl LeaseBucket for Bucket {
    fn ask(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        Box::pin(async move {
            match ask {
                Ask::Create(lease) => {
                    match self.store.create(key(&self.worker), encode(&lease)?.into()).await {
                        Ok(revision) => Ok(Answer::Stored(revision)),
                        Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
                            Ok(Answer::Refused)
                        }
                        Err(error) => Err(error.to_string()),
                    }
                }
                Ask::Update(lease, revision) => match self
                    .store
                    .update(key(&self.worker), encode(&lease)?.into(), revision)
                    .await
                {
                    Ok(revision) => Ok(Answer::Stored(revision)),
                    Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                        Ok(Answer::Refused)
                    }
                    Err(error) => Err(error.to_string()),
                },
                Ask::Read => self.read().await,
                Ask::StandBy(lease) => {
                    let claim = encode(&lease)?;
                    self.store
                        .put(standby_key(&self.worker, lease.instance_id), claim.into())
                        .await
                        .map_err(|error| error.to_string())?;
                    self.read().await
                }
            }
        })
    }
}

impl Bucket {
    async fn read(&self) -> Result<Answer, String> {
        let entry = self.store.entry(key(&self.worker)).await.map_err(|error| error.to_string())?;
        let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
            return Ok(Answer::Found(None));
        };
        // What nobody of ours has written is nobody's lease, and expires.
        let lease = decode(&entry.value)
            .map_err(|error| format!("the lease of {}: {error}", self.worker))?;
        Ok(Answer::Found(Some((lease, entry.revision))))
    }
}

fn encode(lease: &Lease) -> Result<Vec<u8>, String> {
    Encoding::Json.encode(lease).map_err(|error| error.to_string())
}
