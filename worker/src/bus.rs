//! The worker's edge to NATS; nothing else here knows the client's types.
//!
//! - [`lease`]: whether this process holds its lease; [`probe`]: the same without JetStream
//! - [`snapshots`]: the worker's snapshots; [`events`]: what has happened; [`commands`]: its commands
//! - [`sector_manager`]: asking the sector manager

pub(crate) mod commands;
pub(crate) mod events;
pub(crate) mod lease;
mod link;
mod probe;
pub(crate) mod sector_manager;
pub(crate) mod snapshots;

use std::{sync::Arc, time::Duration};

use async_nats::Client;
use damocles_client::connect::Link;
use damocles_daemon::tasks::Tasks;
use shared_msgs::{id::Id, lease::Lease, subject::Prefix};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use tracing::{debug, warn};

use self::{commands::Server, events::NatsEvents, lease::NatsLease, snapshots::Publisher};
use crate::{
    commands::Commands, events::EventPublisher, identity::Worker, lease::LeaseState, stillness,
};

/// How long each step of leaving the bus may take.
const LEAVE: Duration = Duration::from_secs(2);

/// What a worker's side of the bus is made of.
pub struct Bus {
    /// Of snapshots.
    pub publisher: Publisher,
    /// Publishes what has happened, each once.
    pub events: EventPublisher,
    /// Who is on the bus, with the threads that it shows.
    pub worker: Arc<Worker>,
    /// The connection.
    pub client: Client,
    /// First part of every subject.
    pub prefix: Prefix,
    /// The connection's state.
    pub link: watch::Receiver<Link>,
    /// How long a lease lasts, for a bucket that has to be made.
    pub lease_ttl: Duration,
    /// How long the history may stand still before it is said.
    pub store_patience: Duration,
    /// The same from one start of the worker to the next.
    pub worker_id: Id,
}

/// A worker's side of the bus at work.
pub struct Running {
    stop_serving: oneshot::Sender<()>,
    leaving: Leaving,
}

/// One that takes no commands any more.
pub struct Leaving {
    publisher: Arc<Publisher>,
    events: Arc<EventPublisher>,
    client: Client,
    link: watch::Receiver<Link>,
    publishing: [JoinHandle<()>; 2],
    keeping: JoinHandle<()>,
    release: oneshot::Sender<()>,
}

impl Bus {
    /// Keeps the lease, serves, and publishes.
    pub fn start(
        self,
        tasks: &Tasks,
        commands: Commands,
        lease: watch::Sender<LeaseState>,
        changed: Arc<Notify>,
    ) -> Running {
        let Bus {
            publisher,
            events,
            worker,
            client,
            prefix,
            link,
            lease_ttl,
            store_patience,
            worker_id,
        } = self;
        let (publisher, events) = (Arc::new(publisher), Arc::new(events));
        let (stop_serving, serving_stopped) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let (serving, seen_serving) = watch::channel(false);
        let me = Lease {
            worker_id,
            instance_id: worker.instance_id,
            epoch: None,
            host: worker.host.clone(),
            pid: std::process::id(),
        };
        let stream = NatsEvents {
            client: client.clone(),
            prefix: prefix.clone(),
            worker: worker.name.clone(),
            link: link.clone(),
        };
        let server = Server {
            commands: Arc::new(commands),
            client: client.clone(),
            prefix: prefix.clone(),
            serving,
        };
        let keeper = NatsLease { client: client.clone(), prefix, ttl: lease_ttl };
        tasks.spawn(
            "watches whether the history goes on",
            stillness::watch(
                worker.clone(),
                events.clone(),
                link.clone(),
                changed.clone(),
                store_patience,
            ),
        );
        let keeping =
            tasks.spawn("keeps the lease", {
                let link = link.clone();
                async move {
                    keeper.run(&worker, me, link, lease, async { drop(released.await) }).await
                }
            });
        tasks.spawn("serves commands", {
            let link = link.clone();
            async move { server.run(link, serving_stopped).await }
        });
        let snapshots = tasks.spawn("publishes snapshots", {
            let (publisher, link) = (publisher.clone(), link.clone());
            async move { publisher.run(link, seen_serving, changed).await }
        });
        let history = tasks.spawn("publishes events", {
            let events = events.clone();
            async move { events.run(&stream).await }
        });
        Running {
            stop_serving,
            leaving: Leaving {
                publisher,
                events,
                client,
                link,
                publishing: [snapshots, history],
                keeping,
                release,
            },
        }
    }
}

impl Running {
    /// Takes no commands from now on.
    pub fn stop_serving(self) -> Leaving {
        self.stop_serving.send(()).ok();
        self.leaving
    }
}

impl Leaving {
    /// Publishes what is left to say, gives the lease back, and closes the connection.
    pub async fn leave(self) {
        let Leaving { publisher, events, client, mut link, publishing, keeping, release } = self;
        let lease = *publisher.lease.borrow();
        let up = matches!(*link.borrow(), Link::Up(_));
        if up
            && lease.epoch().is_some()
            && lease.is_confirmed()
            && timeout(LEAVE, events.all_published()).await.is_err()
        {
            debug!("some events are published after the next start");
        }
        publishing.iter().for_each(JoinHandle::abort);
        // By now another process may hold the lease.
        if up && publisher.lease.borrow().is_confirmed() {
            publisher.publish_last(LEAVE).await;
        }
        release.send(()).ok();
        if up && timeout(LEAVE, keeping).await.is_err() {
            debug!("the lease was not given back in time; it expires");
        }
        if up
            && client.drain().await.is_ok()
            && timeout(LEAVE, link.wait_for(|link| *link == Link::Closed)).await.is_err()
        {
            warn!("the connection to NATS was not closed in time");
        }
    }
}
