//! A server of a cluster dies or freezes: workers keep their leases, and tools answer in time.
//!
//! Three servers; events flow again as soon as their stream has a leader.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::{net::TcpListener, time::Duration};

use damocles_client::worker_client::{Via, WorkerClient};
use damocles_client::{
    call::call,
    connect::{NatsOptions, NatsSettings},
};
use e2e::{
    DEADLINE, binaries,
    bus::{Bus, name},
    cli::{self, CliOutput},
    event_log::{EventLog, of_request},
    leases,
    manager::Manager,
    nats_cluster::NatsCluster,
    scratch::Scratch,
    testbed::Testbed,
    worker::{Worker, WorkerConfig},
};
use futures::future::join_all;
use shared_msgs::{
    codec::Encoding,
    command::{CommandReply, CommandRequest, Outcome, Verb, verb},
    id::Id,
};
use tokio::time::{Instant, sleep};

/// How soon a worker serves that has only lost its connection. Measured: 0.1 to 0.6 s.
const RECONNECTED: Duration = Duration::from_secs(3);
/// How soon one serves whose lease, or all of JetStream, has lost its leader. Measured: the same; 6
/// to 12 s when it forgot its lease.
const LEADERLESS: Duration = Duration::from_secs(5);
/// How soon an event is stored once that can be done, by the word of the issue a second, on a
/// machine that is busy.
const EVENTS_FLOW: Duration = Duration::from_secs(3);
/// How soon a tool has ended, with the time-out of 5 s that is the default.
const TOOL: Duration = Duration::from_secs(10);
/// How soon a program has left a frozen server: two pings of 5 s are not answered, and at the third
/// one it goes. Beside that it has to connect; measured 15 to 18 s.
const UNFROZEN: Duration = Duration::from_secs(25);

/// A cluster with a worker at each node, `w0` to `w2`, and a manager. Declared first, it is dropped
/// last.
struct Fleet {
    _workers: Vec<Worker>,
    manager: Manager,
    bus: Bus,
    cluster: NatsCluster,
    scratch: Scratch,
}

impl Fleet {
    /// Everything that is kept has three replicas. The manager and the test's connection are at the
    /// first node.
    async fn start() -> Fleet {
        let scratch = Scratch::new();
        let cluster = NatsCluster::start(scratch.path()).await;
        let bus = Bus::connect(&cluster.nodes[0].url()).await;
        let manager =
            Manager::start_mock(cluster.nodes[0].url(), scratch.path().join("manager.log"), &[]);
        let workers = cluster.nodes.iter().zip(names()).map(|(node, name)| {
            // Of the other nodes they hear from this one.
            let mut worker = Worker::prepare(
                scratch.path().join(&name),
                node.url(),
                &WorkerConfig::new(&name).idle(),
            );
            worker.start();
            worker
        });
        let workers = workers.collect();
        let fleet = Fleet { _workers: workers, manager, bus, cluster, scratch };
        fleet.replicate().await;
        for name in names() {
            fleet.bus.served(&fleet.bus.command(&name, verb::LIST)).await;
        }
        fleet
    }

    async fn replicate(&self) {
        for stream in
            [self.lease_stream(), self.bus.prefix.state_stream(), self.bus.prefix.events_stream()]
        {
            self.cluster.replicate(&self.bus, &stream).await;
        }
    }

    fn lease_stream(&self) -> String {
        format!("KV_{}", self.bus.prefix.lease_bucket())
    }

    /// A node dies and comes back. Says how soon each worker served.
    async fn outlives(&mut self, victim: usize) -> Vec<Duration> {
        let survivor = self.cluster.other_than(&[victim]);
        // Through another node the servers need a moment to know who is there.
        let bus = Bus::connect(&self.cluster.nodes[survivor].url()).await;
        let mut before = vec![];
        for name in names() {
            bus.served(&bus.command(&name, verb::LIST)).await;
            before.push((bus.list(&name).await, leases::holder(&bus, &name).await.unwrap()));
        }
        self.cluster.nodes[victim].kill9().await;
        let began = Instant::now();
        let request = cordon();
        let id = request.request_id.unwrap();
        let (log, stream) = (EventLog::of(&bus), bus.prefix.events_stream());
        let storable = async {
            self.cluster.leader(&bus, &stream).await;
            began.elapsed()
        };
        let stored = async {
            log.until("the command, once of each worker", |stored| {
                of_request(stored, id).len() == before.len()
            })
            .await;
            began.elapsed()
        };
        let commanded =
            join_all(before.iter().map(|(shown, _)| commanded(&bus, &shown.name, &request, began)));
        let (took, storable, stored) = tokio::join!(commanded, storable, stored);
        let possible = took.iter().copied().max().unwrap().max(storable);
        assert!(
            stored <= possible + EVENTS_FLOW,
            "served after {took:?}, led after {storable:?}, stored after {stored:?}"
        );
        // Nobody has lost his name meanwhile.
        for (shown, (lease, revision)) in &before {
            let renewed = async {
                loop {
                    if let Some((now, _)) =
                        leases::holder(&bus, &shown.name).await.filter(|(_, at)| at > revision)
                    {
                        return now;
                    }
                    sleep(Duration::from_millis(20)).await;
                }
            };
            let now = tokio::time::timeout(DEADLINE, renewed).await.unwrap();
            assert_eq!(
                (now.instance_id, now.epoch),
                (lease.instance_id, shown.epoch),
                "{} kept its lease",
                shown.name
            );
        }
        let stored = log.until("what is stored", |_| true).await;
        assert_eq!(of_request(&stored, id).len(), before.len(), "each acted once");
        self.cluster.nodes[victim].restart().await;
        self.replicate().await;
        took
    }
}

fn names() -> [String; 3] {
    [0, 1, 2].map(|number| format!("w{number}"))
}

// Under an id of its own: it acts once, however often it is sent.
fn cordon() -> CommandRequest {
    CommandRequest { request_id: Some(Id::generate()), ..CommandRequest::to(0) }
}

// Gives a command again and again until it is answered, and says how long that took.
async fn commanded(bus: &Bus, worker: &str, request: &CommandRequest, began: Instant) -> Duration {
    let subject = bus.command(worker, Verb::Cordon.name());
    loop {
        let answer: Result<CommandReply, _> =
            call(&bus.client, &subject, Encoding::Json, request, Duration::from_millis(250)).await;
        if answer.is_ok() {
            return began.elapsed();
        }
        assert!(began.elapsed() < DEADLINE, "{worker}: {answer:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn workers_serve_on_and_keep_their_leases_when_a_node_dies() {
    let mut fleet = Fleet::start().await;
    let leases = fleet.cluster.leader(&fleet.bus, &fleet.lease_stream()).await;
    let other = fleet.cluster.other_than(&[leases, fleet.cluster.metadata_leader()]);
    let took = fleet.outlives(other).await;
    assert!(
        took.iter().all(|took| *took <= RECONNECTED),
        "a node that led neither leases nor JetStream: {took:?}"
    );

    let leases = fleet.cluster.leader(&fleet.bus, &fleet.lease_stream()).await;
    let took = fleet.outlives(leases).await;
    assert!(took.iter().all(|took| *took <= LEADERLESS), "the leader of the leases: {took:?}");

    let took = fleet.outlives(fleet.cluster.metadata_leader()).await;
    assert!(took.iter().all(|took| *took <= LEADERLESS), "the leader of JetStream: {took:?}");
}

// Both tools are told of all servers, and have the default time-out.
async fn tool(url: String, program: &std::path::Path, args: &str) -> (CliOutput, Duration) {
    let began = Instant::now();
    let args: Vec<_> = args.split(' ').chain(["--timeout", "5s"]).collect();
    (cli::run(program, &args, &url, b"").await, began.elapsed())
}

// A tool in this process: connected to that node before it freezes.
async fn connected_to(cluster: &NatsCluster, number: usize, worker: &str) -> WorkerClient {
    let args = NatsOptions {
        server: Some(cluster.url().into()),
        timeout: Some(Duration::from_secs(5)),
        ..NatsOptions::default()
    };
    let settings = NatsSettings::new(&args, &NatsOptions::default()).unwrap();
    loop {
        let client = settings.connect_once("test").await.unwrap();
        if client.client.server_info().port == cluster.nodes[number].port() {
            return WorkerClient {
                bus: std::sync::Arc::new(client),
                prefix: settings.prefix,
                worker: name(worker),
                via: Via::Worker,
                timeout: settings.timeout,
            };
        }
    }
}

#[tokio::test]
async fn a_frozen_node_holds_no_tool_up_and_what_was_connected_to_it_is_back_in_time() {
    let mut fleet = Fleet::start().await;
    let state_stream = fleet.bus.prefix.state_stream();
    let frozen = fleet.cluster.leader_other_than(&fleet.bus, &state_stream, 0).await;
    let beside = fleet.cluster.other_than(&[0, frozen]);
    let second = Manager::start_mock(
        fleet.cluster.nodes[frozen].url(),
        fleet.scratch.path().join("second.log"),
        &[],
    );
    let reader = connected_to(&fleet.cluster, frozen, "w0").await;
    let commander = connected_to(&fleet.cluster, frozen, &format!("w{beside}")).await;
    second.ready().await;

    fleet.cluster.nodes[frozen].process().freeze();
    let began = Instant::now();
    let url = fleet.cluster.url();
    let (its_worker, order) = (format!("w{frozen}"), cordon());
    let back = commanded(&fleet.bus, &its_worker, &order, began);
    let over_the_frozen_one = async {
        let shown = reader.list().await.unwrap();
        assert_eq!(shown.name, "w0");
        assert!(began.elapsed() <= TOOL, "a read over a connection to it: {:?}", began.elapsed());
    };
    let command_over_the_frozen_one = async {
        let done = commander.order(Verb::Pause, CommandRequest::to(0)).await.unwrap();
        assert_eq!(done.outcome, Outcome::Paused);
        assert!(
            began.elapsed() <= TOOL,
            "a command over a connection to it: {:?}",
            began.elapsed()
        );
    };
    let (worker, manager) = (binaries::worker(), binaries::manager());
    let info_of_it = format!("util worker info {its_worker}");
    let tools = [
        (manager, "util worker list -o jsonl", Some(0)),
        (manager, "util worker info w0", Some(0)),
        (manager, "util worker pause w0 0", Some(0)),
        (worker, "worker --name w0 list", Some(0)),
        // Its worker is not heard from yet.
        (manager, info_of_it.as_str(), Some(4)),
        // The stream may have lost its leader, and so may the list of whom to expect.
        (manager, "util worker history -o jsonl", None),
        (manager, "util worker uncordon -w w* --force", None),
    ];
    let running = join_all(tools.iter().map(|(program, args, code)| {
        let url = url.clone();
        async move {
            let (output, took) = tool(url, program, args).await;
            assert!(took <= TOOL, "{args}: {took:?}: {output:?}");
            match code {
                Some(code) => output.expect(*code),
                None => output,
            }
        }
    }));
    let tools_answered = async {
        let outputs = running.await;
        assert_eq!(outputs[0].stdout.lines().count(), 3, "{}", outputs[0].stdout);
        for output in &outputs[5..] {
            assert!(output.code == Some(0) || !output.stderr.is_empty(), "{output:?}");
        }
    };
    let (back, ..) =
        tokio::join!(back, over_the_frozen_one, command_over_the_frozen_one, tools_answered);
    assert!(back <= UNFROZEN, "the worker was connected to it: {back:?}");
    // The other manager was, too.
    fleet.manager.kill9().await;
    fleet
        .bus
        .listed("the workers, by the manager that was connected to the frozen node", |workers| {
            workers.len() == 3
        })
        .await;
    assert!(began.elapsed() <= UNFROZEN, "the manager was connected to it: {:?}", began.elapsed());
    fleet.cluster.nodes[frozen].process().thaw();
}

#[tokio::test]
async fn servers_that_accept_and_say_nothing_leave_time_for_one_that_answers() {
    let mut bed = Testbed::start().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it reports", |_| true).await;
    // The kernel accepts for them.
    let silent = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let urls = silent
        .iter()
        .map(|listener| format!("nats://{}", listener.local_addr().unwrap()))
        .chain([bed.nats.url()]);
    let url = urls.collect::<Vec<_>>().join(",");
    // The client draws in which order it tries them.
    let runs = (0..6).map(|_| tool(url.clone(), binaries::worker(), "worker --name w1 list"));
    for (output, took) in join_all(runs).await {
        output.expect(0);
        assert!(took <= TOOL, "{took:?}");
    }
}
