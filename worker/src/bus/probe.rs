//! Who holds a name where there are no leases: before it serves, a worker asks; while another
//! process of the name answers, it stands by.
//!
//! Decision 022 in `docs/decisions`.

use std::time::Duration;

use async_nats::Client;
use damocles_client::{call::call, connect::Link};
use shared_msgs::{codec::Encoding, command::verb, snapshot::WorkerSnapshot};
use tokio::{sync::watch, time::sleep};
use tracing::info;

use crate::{
    identity::Worker,
    lease::{LeaseState, stands_by},
};

const ANSWER_TIME: Duration = Duration::from_millis(500);
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Takes the name as soon as no other process answers under it; then waits for another connection.
pub(super) async fn settle(
    worker: &Worker,
    client: &Client,
    link: &mut watch::Receiver<Link>,
    state: &watch::Sender<LeaseState>,
) {
    if *state.borrow() != LeaseState::Unleased {
        while let Some(other) = other_instance(worker, client).await {
            if state.send_replace(LeaseState::StandingBy) != LeaseState::StandingBy {
                stands_by(&other.host, other.pid, other.instance_id);
            }
            // After an outage the other one needs a moment to be back: the time begins anew with
            // each connection.
            tokio::select! {
                () = sleep(ASK_AGAIN) => {}
                _ = link.changed() => return,
            }
        }
        if state.send_replace(LeaseState::Unleased) == LeaseState::StandingBy {
            info!("the other worker of this name is gone; serving now");
        }
    }
    link.changed().await.ok();
}

async fn other_instance(worker: &Worker, client: &Client) -> Option<WorkerSnapshot> {
    let subject = worker.command_subject(verb::LIST);
    let answer = call::<_, WorkerSnapshot>(
        client,
        &subject,
        Encoding::Json,
        &serde_json::Map::new(),
        ANSWER_TIME,
    )
    .await;
    answer.ok().filter(|other| other.instance_id != worker.instance_id)
}
