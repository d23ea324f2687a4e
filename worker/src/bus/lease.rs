//! The lease of the worker's name over NATS: kept in the bucket of leases where there is JetStream; where there is none,
//! whoever answers under the name has it (see [`super::probe`]).

use std::time::Duration;

use async_nats::{
    Client,
    jetstream::{
        self,
        kv::{CreateErrorKind, Operation, Store, UpdateErrorKind},
    },
};
use futures::future::BoxFuture;
use shared_msgs::{
    codec::{Encoding, decode},
    connect::Link,
    jetstream::{JetStreamError, present},
    lease::{Lease, key, open_bucket, standby_key},
    name::WorkerName,
    subject::Prefix,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::probe;
use crate::{
    identity::Worker,
    tenure::{Answer, Ask, Keeper, LeaseBucket, Tenure, keep},
};

const TRY_AGAIN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

/// One name's lease, as its worker keeps it.
pub struct NatsLease {
    /// The connection.
    pub client: Client,
    /// First part of every subject.
    pub prefix: Prefix,
    /// How long leases last, for a bucket that has to be made.
    pub ttl: Duration,
}

impl NatsLease {
    /// Keeps the lease, from one connection to the next, until `stop`; then gives it back.
    pub async fn run(
        &self,
        worker: &Worker,
        me: Lease,
        mut link: watch::Receiver<Link>,
        tenure: watch::Sender<Tenure>,
        stop: impl Future<Output = ()>,
    ) {
        let mut keeper = Keeper::new(me);
        let mut bucket = None;
        let keeping = async {
            let mut said = String::new();
            while super::connected(&mut link).await {
                link.borrow_and_update();
                match self.open().await {
                    Ok((store, ttl)) => {
                        said.clear();
                        if ttl != self.ttl {
                            info!(?ttl, configured = ?self.ttl, "the lease bucket was made with another time to live, and keeps it");
                        }
                        let lease = Bucket { store: store.clone(), worker: worker.name.clone() };
                        bucket = Some(store);
                        let lost = async { drop(link.changed().await) };
                        keep(&mut keeper, &lease, ttl, &tenure, lost).await;
                    }
                    Err(JetStreamError::Absent) => {
                        if said.is_empty() {
                            info!("NATS has no JetStream: no lease of the name, no history, and nothing is kept for managers");
                            said = "said".into();
                        }
                        probe::settle(worker, &self.client, &mut link, &tenure).await;
                    }
                    Err(JetStreamError::Failed(error)) => {
                        if said != error {
                            warn!(error, "commands cannot be served yet");
                            said = error;
                        }
                        tokio::select! {
                            () = sleep(TRY_AGAIN) => {}
                            _ = link.changed() => {}
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = keeping => {}
            () = stop => {}
        }
        if let (Some(bucket), Some(revision)) = (bucket, keeper.revision()) {
            let released = timeout(PATIENCE, bucket.delete_expect_revision(key(&worker.name), Some(revision))).await;
            debug!(?released, "the lease is given back");
        }
    }

    async fn open(&self) -> Result<(Store, Duration), JetStreamError> {
        let jetstream = jetstream::new(self.client.clone());
        let opening = async {
            present(&jetstream).await?;
            open_bucket(&jetstream, &self.prefix, self.ttl).await.map_err(JetStreamError::Failed)
        };
        timeout(PATIENCE, opening).await.unwrap_or_else(|_| Err(JetStreamError::Failed("JetStream does not answer".into())))
    }
}

struct Bucket {
    store: Store,
    worker: WorkerName,
}

impl LeaseBucket for Bucket {
    fn ask(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        Box::pin(async move {
            match ask {
                Ask::Create(lease) => match self.store.create(key(&self.worker), encode(&lease)?.into()).await {
                    Ok(revision) => Ok(Answer::Stored(revision)),
                    Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(Answer::Refused),
                    Err(error) => Err(error.to_string()),
                },
                Ask::Update(lease, revision) => match self.store.update(key(&self.worker), encode(&lease)?.into(), revision).await {
                    Ok(revision) => Ok(Answer::Stored(revision)),
                    Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(Answer::Refused),
                    Err(error) => Err(error.to_string()),
                },
                Ask::Read => self.read().await,
                Ask::StandBy(lease) => {
                    let claim = encode(&lease)?;
                    self.store.put(standby_key(&self.worker, lease.instance_id), claim.into()).await.map_err(|error| error.to_string())?;
                    self.read().await
                }
            }
        })
    }
}

impl Bucket {
    async fn read(&self) -> Result<Answer, String> {
        let entry = self.store.entry(key(&self.worker)).await.map_err(|error| error.to_string())?;
        let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else { return Ok(Answer::Found(None)) };
        // What nobody of ours has written is nobody's lease, and expires.
        let lease = decode(&entry.value).map_err(|error| format!("the lease of {}: {error}", self.worker))?;
        Ok(Answer::Found(Some((lease, entry.revision))))
    }
}

fn encode(lease: &Lease) -> Result<Vec<u8>, String> {
    Encoding::Json.encode(lease).map_err(|error| error.to_string())
}
