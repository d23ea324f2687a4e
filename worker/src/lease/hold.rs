//! Holding a name, from one connection to the next: by its lease; where the server keeps nothing,
//! because no other process answers under it.
//!
//! Decision 022 in `docs/decisions`.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use damocles_client::{
    connect::Link,
    hedged::{ASK_AGAIN, hedged},
    jetstream::JetStreamError,
    server_clock::ServerClock,
};
use shared_msgs::{lease::Lease, snapshot::WorkerSnapshot};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{Ask, Ended, Keeper, LeaseBucket, LeaseState, keep, stands_by, until_connected};
use crate::link::connected;

// For one attempt to open the bucket, and for giving a lease back.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Where leases are kept, and whom else one can ask.
pub trait Leases: Send + Sync {
    /// The bucket that is open.
    type Bucket: LeaseBucket;
    /// Opens the bucket of leases, made if it is missing.
    fn open_leases(&self) -> impl Future<Output = Result<Self::Bucket, JetStreamError>> + Send;
    /// What another process of this name answers, if one does.
    fn other_instance(&self, me: &Lease) -> impl Future<Output = Option<WorkerSnapshot>> + Send;
}

/// Keeps the lease, from one connection to the next, until `stop`; then gives it back. It is not
/// sought before the server's `clock` is known: a command says until when, by that clock, it may be
/// carried out.
pub async fn hold<L: Leases>(
    leases: &L,
    me: Lease,
    mut link: watch::Receiver<Link>,
    mut clock: watch::Receiver<Option<ServerClock>>,
    state: watch::Sender<LeaseState>,
    stop: impl Future<Output = ()>,
) {
    let mut keeper = Keeper::new(me.clone());
    // Once it is open it is asked directly: who makes and finds buckets may be away for longer
    // than their leaders.
    let mut bucket: Option<L::Bucket> = None;
    let keeping = async {
        while until_connected(&state, connected(&mut link)).await {
            link.borrow_and_update();
            if bucket.is_none() {
                let opened = async {
                    let opened = open(leases).await;
                    if opened.is_some() {
                        until_read(&mut clock).await;
                    }
                    opened
                };
                bucket = tokio::select! {
                    biased;
                    _ = link.changed() => continue,
                    opened = opened => opened,
                };
            }
            match &bucket {
                Some(open) => {
                    let lost = async { drop(link.changed().await) };
                    if keep(&mut keeper, open, &state, lost).await == Ended::Silent {
                        bucket = None;
                    }
                }
                None => {
                    info!(
                        "NATS has no JetStream: no lease of the name, no history, and nothing is kept for managers"
                    );
                    hold_without_lease(leases, &me, &mut link, &state).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop => {}
        () = keeping => {}
    }
    if let Some(bucket) = bucket
        && let Some(revision) = keeper.to_give_back(bucket.ttl(), Instant::now())
    {
        let released = timeout(PATIENCE, bucket.ask(Ask::Release(revision))).await;
        debug!(?released, "the lease is given back");
    }
}

// `None` where the server keeps nothing.
async fn open<L: Leases>(leases: &L) -> Option<L::Bucket> {
    let said = Mutex::new(String::new());
    hedged(ASK_AGAIN, || async {
        let silent = || Err(JetStreamError::Failed("JetStream does not answer".into()));
        match timeout(PATIENCE, leases.open_leases()).await.unwrap_or_else(|_| silent()) {
            Ok(bucket) => Some(Some(bucket)),
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
    .await
}

async fn until_read(clock: &mut watch::Receiver<Option<ServerClock>>) {
    let mut read = std::pin::pin!(clock.wait_for(Option::is_some));
    if timeout(PATIENCE, &mut read).await.is_err() {
        warn!("commands cannot be served yet: the server's time cannot be read");
        read.await.ok();
    }
}

// Takes the name as soon as no other process answers under it; then waits for another connection.
async fn hold_without_lease(
    leases: &impl Leases,
    me: &Lease,
    link: &mut watch::Receiver<Link>,
    state: &watch::Sender<LeaseState>,
) {
    if *state.borrow() != LeaseState::Unleased {
        while let Some(other) = leases.other_instance(me).await {
            if state.send_replace(LeaseState::StandingBy) != LeaseState::StandingBy {
                stands_by(&other.host, other.pid, other.instance_id);
            }
            // After an outage the other one needs a moment to be back: the time begins anew with
            // each connection.
            tokio::select! {
                biased;
                () = sleep(LOOK_AGAIN) => {}
                _ = link.changed() => return,
            }
        }
        if state.send_replace(LeaseState::Unleased) == LeaseState::StandingBy {
            info!("the other worker of this name is gone; serving now");
        }
    }
    link.changed().await.ok();
}
