//! Three servers in a cluster, of which one dies or freezes: workers keep their names and serve on, events flow again as soon as
//! their stream has a leader, and the tools answer in time.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::time::Duration;

use e2e::{
    bus::Bus,
    event_log::{EventLog, of_request},
    leases,
    manager::Manager,
    nats_cluster::NatsCluster,
    nats_server::NatsServer,
    scratch::Scratch,
    worker::{Worker, WorkerConfig},
};
use shared_msgs::{
    client::call,
    codec::Encoding,
    command::{CommandReply, CommandRequest, Outcome, Verb},
    id::Id,
    lease,
};
use tokio::time::Instant;

/// A cluster with a worker at each node, `w0` to `w2`, and a manager. Declared first, it is dropped last.
struct Fleet {
    workers: Vec<Worker>,
    _manager: Manager,
    bus: Bus,
    cluster: NatsCluster,
    _scratch: Scratch,
}

impl Fleet {
    /// Everything that is kept has three replicas. The manager and the test's connection are at the node `here`.
    async fn start(here: usize) -> Fleet {
        let scratch = Scratch::new();
        let cluster = NatsCluster::start(scratch.path()).await;
        let bus = Bus::connect(&cluster.nodes[here].url()).await;
        let manager = Manager::start_mock(cluster.nodes[here].url(), scratch.path().join("manager.log"), &[]);
        let workers = cluster.nodes.iter().enumerate().map(|(number, node)| {
            let name = format!("w{number}");
            // Of the other nodes they hear from this one.
            let mut worker = Worker::prepare(scratch.path().join(&name), node.url(), &WorkerConfig::new(&name).idle());
            worker.start();
            worker
        });
        let workers: Vec<_> = workers.collect();
        let fleet = Fleet { workers, _manager: manager, bus, cluster, _scratch: scratch };
        fleet.replicate().await;
        for name in names() {
            fleet.bus.served(&fleet.bus.command(&name, "list")).await;
        }
        fleet
    }

    async fn replicate(&self) {
        let prefix = &self.bus.prefix;
        for stream in [format!("KV_{}", prefix.lease_bucket()), prefix.state_stream(), prefix.events_stream()] {
            self.cluster.replicate(&self.bus, &stream).await;
        }
    }

    async fn leases_leader(&self) -> usize {
        self.cluster.leader(&self.bus, &format!("KV_{}", self.bus.prefix.lease_bucket())).await
    }
}

fn names() -> [String; 3] {
    [0, 1, 2].map(|number| format!("w{number}"))
}

// Gives a command again and again under one id until it is answered, and says how long that took since `began`.
async fn commanded(bus: &Bus, worker: &str, request: &CommandRequest, began: Instant) -> Duration {
    let subject = bus.command(worker, Verb::Cordon.name());
    loop {
        let answer: Result<CommandReply, _> = call(&bus.client, &subject, Encoding::Json, request, Duration::from_millis(250)).await;
        if answer.is_ok() {
            return began.elapsed();
        }
        assert!(began.elapsed() < e2e::DEADLINE, "{worker}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn dies(fleet: &mut Fleet, victim: usize) -> Vec<Duration> {
    let survivor = fleet.cluster.other_than(&[victim]);
    let bus = Bus::connect(&fleet.cluster.nodes[survivor].url()).await;
    let mut before = vec![];
    for name in names() {
        before.push((bus.list(&name).await, leases::holder(&bus, &name).await.unwrap()));
    }
    fleet.cluster.nodes[victim].kill9().await;
    let began = Instant::now();
    let request = CommandRequest { request_id: Some(Id::generate()), ..CommandRequest::to(0) };
    let names = names();
    let took = futures::future::join_all(names.iter().map(|name| commanded(&bus, name, &request, began))).await;
    eprintln!("FIG took {took:?}");
    let log = EventLog::make(&bus).await;
    eprintln!("FIG events stream readable {:?}", began.elapsed());
    let id = request.request_id.unwrap();
    log.until("the command of all workers", |stored| of_request(stored, id).len() == 3).await;
    eprintln!("FIG events {:?}", began.elapsed());
    for (name, (shown, (lease, revision))) in names.iter().zip(before) {
        loop {
            if let Some((now, at)) = leases::holder(&bus, name).await
                && at > revision
            {
                assert_eq!(now.instance_id, lease.instance_id);
                assert_eq!(now.epoch, shown.epoch, "{name} kept its lease");
                break;
            }
        }
    }
    eprintln!("FIG renewed {:?}", began.elapsed());
    fleet.cluster.nodes[victim].restart().await;
    fleet.replicate().await;
    eprintln!("FIG back {:?}", began.elapsed());
    took
}

#[tokio::test]
async fn a_worker_serves_on_when_a_node_dies() {
    let t = Instant::now();
    let mut fleet = Fleet::start(0).await;
    eprintln!("FIG start {:?}", t.elapsed());
    let leader = fleet.leases_leader().await;
    let meta = fleet.cluster.metadata_leader();
    let other = fleet.cluster.other_than(&[leader, meta]);
    eprintln!("FIG leader {leader} meta {meta} other {other}");
    eprintln!("FIG other");
    dies(&mut fleet, other).await;
    eprintln!("FIG leader");
    let leader = fleet.leases_leader().await;
    dies(&mut fleet, leader).await;
    eprintln!("FIG meta");
    let leader = fleet.cluster.metadata_leader();
    dies(&mut fleet, leader).await;
}
