//! Three real nats-servers in one cluster with JetStream: what happens to the programs when one of
//! them dies or freezes.
//!
//! ```text
//!  start --> all three have the same metadata leader --> replicate(stream): three replicas, all current
//!        --> leader(stream) | other_than(…): which node to kill, freeze, connect to
//! ```

use std::{net::TcpListener, path::Path, time::Duration};

use async_nats::jetstream::{self, stream};
use tokio::time::{Instant, sleep, timeout};

use crate::{DEADLINE, bus::Bus, nats_server::NatsServer};

const LOOK_AGAIN: Duration = Duration::from_millis(50);
// For one answer: none comes while a stream has no leader.
const PATIENCE: Duration = Duration::from_secs(1);
const NAMES: [&str; 3] = ["n0", "n1", "n2"];

/// The cluster. Its nodes are known by their numbers.
#[derive(Debug)]
pub struct NatsCluster {
    /// The servers, each in the place of its number.
    pub nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts the nodes, and waits until JetStream has a leader that all of them know.
    pub async fn start(directory: &Path) -> NatsCluster {
        let routes = free_ports().map(|port| format!("nats://127.0.0.1:{port}"));
        let all = routes.join(",");
        let starting = NAMES.iter().zip(&routes).map(async |(name, listen)| {
            let directory = directory.join(name);
            std::fs::create_dir(&directory).unwrap();
            NatsServer::start_in_cluster(&directory, name, listen, &all).await
        });
        let nodes = futures::future::join_all(starting).await;
        for node in &nodes {
            node.log().line_with(&["JetStream cluster", "metadata leader"]).await;
        }
        NatsCluster { nodes }
    }

    /// What clients connect to: all nodes.
    pub fn url(&self) -> String {
        self.nodes.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// Gives a stream three replicas, and waits until all of them have what it holds. It must have
    /// been made, or is about to be.
    pub async fn replicate(&self, bus: &Bus, stream: &str) {
        let jetstream = jetstream::new(bus.client.clone());
        until(&format!("{stream} is replicated"), async || {
            let config = info(bus, stream).await?.config;
            if config.num_replicas != NAMES.len() {
                let update =
                    jetstream.update_stream(stream::Config { num_replicas: NAMES.len(), ..config });
                timeout(PATIENCE, update).await.ok()?.ok()?;
            }
            let cluster = info(bus, stream).await?.cluster?;
            (cluster.replicas.len() + 1 == NAMES.len()
                && cluster.replicas.iter().all(|replica| replica.current))
            .then_some(())
        })
        .await;
    }

    /// The node that leads a stream, as soon as there is one.
    pub async fn leader(&self, bus: &Bus, stream: &str) -> usize {
        until(&format!("{stream} has a leader"), async || {
            number(&info(bus, stream).await?.cluster?.leader?)
        })
        .await
    }

    /// The node that leads a stream, once that is another one than this.
    pub async fn leader_other_than(&self, bus: &Bus, stream: &str, number: usize) -> usize {
        until(&format!("{stream} is led by another node than {number}"), async || {
            let leader = self.leader(bus, stream).await;
            if leader != number {
                return Some(leader);
            }
            let down =
                bus.client.request(format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}"), "".into());
            timeout(PATIENCE, down).await.ok();
            None
        })
        .await
    }

    /// The node that leads JetStream: it was the last one to say so.
    pub fn metadata_leader(&self) -> usize {
        let said = |node: &NatsServer| {
            let lines = node.log().lines();
            let line = lines
                .iter()
                .rfind(|line| line.contains("Self is new JetStream cluster metadata leader"))?;
            // Behind the process id stands the time.
            line.split_once("] ").map(|(_, at)| at.to_owned())
        };
        (0..NAMES.len()).max_by_key(|number| said(&self.nodes[*number])).unwrap()
    }

    /// A node that is none of these.
    pub fn other_than(&self, numbers: &[usize]) -> usize {
        (0..NAMES.len()).find(|number| !numbers.contains(number)).unwrap()
    }
}

async fn info(bus: &Bus, stream: &str) -> Option<stream::Info> {
    let jetstream = jetstream::new(bus.client.clone());
    let stream = timeout(PATIENCE, jetstream.get_stream(stream)).await.ok()?.ok()?;
    Some(stream.cached_info().clone())
}

fn number(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        sleep(LOOK_AGAIN).await;
    }
}

// All are taken before the first is given back, so that they differ.
fn free_ports() -> [u16; 3] {
    let taken = NAMES.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    taken.map(|listener| listener.local_addr().unwrap().port())
}
