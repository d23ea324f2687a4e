//! The lease of the worker's name over NATS: a key of the bucket of leases. Where there is no
//! JetStream, other processes of the name are asked for what they serve.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    kv::{CreateErrorKind, Operation, Store, UpdateErrorKind},
};
use damocles_client::{
    call::call,
    jetstream::{JetStreamError, present},
    lease::open_bucket,
};
use futures::future::BoxFuture;
use shared_msgs::{
    codec::{Encoding, decode},
    command::verb,
    lease::{Lease, key, standby_key},
    name::WorkerName,
    snapshot::WorkerSnapshot,
};
use tracing::info;

use super::NatsBus;
use crate::lease::{Answer, Ask, LeaseBucket, hold::Leases};

const ANSWER_TIME: Duration = Duration::from_millis(500);

impl Leases for NatsBus {
    type Bucket = Bucket;

    async fn open_leases(&self) -> Result<Bucket, JetStreamError> {
        let jetstream = jetstream::new(self.client.clone());
        // A bucket that is there can be found while nobody can say whether there is JetStream: only
        // its own leader is asked.
        let (store, ttl) = match open_bucket(&jetstream, &self.prefix, self.lease_ttl).await {
            Ok(opened) => opened,
            Err(error) => return present(&jetstream).await.and(Err(error)),
        };
        if ttl != self.lease_ttl {
            info!(?ttl, configured = ?self.lease_ttl, "the lease bucket was made with another time to live, and keeps it");
        }
        Ok(Bucket { store, ttl, worker: self.worker.clone() })
    }

    async fn other_instance(&self, me: &Lease) -> Option<WorkerSnapshot> {
        let subject = self.prefix.command(&self.worker, verb::LIST);
        let answer = call::<_, WorkerSnapshot>(
            &self.client,
            &subject,
            Encoding::Json,
            &serde_json::Map::new(),
            ANSWER_TIME,
        )
        .await;
        answer.ok().filter(|other| other.instance_id != me.instance_id)
    }
}

/// The bucket of leases, for one name.
pub struct Bucket {
    store: Store,
    ttl: Duration,
    worker: WorkerName,
}

impl LeaseBucket for Bucket {
    fn ttl(&self) -> Duration {
        self.ttl
    }

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
                Ask::Release(revision) => {
                    let key = key(&self.worker);
                    match self.store.delete_expect_revision(key, Some(revision)).await {
                        Ok(()) => Ok(Answer::Found(None)),
                        Err(error) => Err(error.to_string()),
                    }
                }
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
