//! Whether this process is the one that acts under its name. Two processes of one name would both act on a command, so
//! a worker asks before it serves: while another one answers, it seals on, but serves and publishes nothing.

use std::time::Duration;

use async_nats::Client;
use shared_msgs::{client::call, codec::Encoding, command::verb, connect::Link, snapshot::WorkerSnapshot};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use crate::identity::Worker;

const ANSWER_TIME: Duration = Duration::from_millis(500);
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What this process is under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not known yet.
    Unknown,
    /// It serves and publishes.
    Acting,
    /// Another process of the name does.
    StandingBy,
}

/// Waits until no other process of the name answers. `false` when the connection is closed before that.
pub async fn settle(worker: &Worker, client: &Client, link: &mut watch::Receiver<Link>, role: &watch::Sender<Role>) -> bool {
    while super::connected(link).await {
        let Some(other) = other_instance(worker, client).await else {
            if *role.borrow() == Role::StandingBy {
                info!(worker = %worker.name, "the other worker of this name is gone; serving now");
            }
            return true;
        };
        if role.send_replace(Role::StandingBy) != Role::StandingBy {
            warn!(
                worker = %worker.name, host = other.host, pid = other.pid,
                "another worker of this name is running; this one seals on, but serves no commands and reports nothing"
            );
        }
        // After an outage the other one needs a moment to be back: the time begins anew with each connection.
        loop {
            link.borrow_and_update();
            tokio::select! {
                () = sleep(ASK_AGAIN) => break,
                changed = link.changed() => if changed.is_err() { return false },
            }
        }
    }
    false
}

async fn other_instance(worker: &Worker, client: &Client) -> Option<WorkerSnapshot> {
    let subject = worker.command_subject(verb::LIST);
    let answer = call::<_, WorkerSnapshot>(client, &subject, Encoding::Json, &serde_json::Map::new(), ANSWER_TIME).await;
    answer.ok().filter(|other| other.instance_id != worker.instance_id)
}
