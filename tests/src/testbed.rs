//! What every scenario starts with: its own NATS server and directory, and a connection that
//! listens.

use std::{path::Path, process::Command, time::Duration};

use shared_msgs::{
    command::Outcome,
    sector_manager::SectorId,
    snapshot::{PausedBy, ThreadSnapshot, WorkerSnapshot, WorkerStatus},
};
use tokio::task::JoinHandle;

use crate::{
    binaries,
    bus::Bus,
    cli::{self, CliOutput},
    damocles::sector_manager::SectorManager,
    fake_sector_manager::FakeSectorManager,
    gate::Gate,
    manager::Manager,
    nats_server::NatsServer,
    process::Process,
    proxy::Proxy,
    scratch::Scratch,
    sector_manager_requests::SectorManagerRequests,
    state_watch::{StateWatch, in_hand, is_paused, waits_for},
    worker::{Worker, WorkerConfig},
};

/// The miner that mock managers allocate sectors for.
pub const MINER: u64 = 10000;

/// A sector of [`MINER`].
pub fn sector(number: u64) -> SectorId {
    SectorId { miner: MINER, number }
}

/// One test's world. Declared first, it is dropped last: the directory must outlive everything in
/// it.
#[derive(Debug)]
pub struct Testbed {
    /// The test's own connection to the server.
    pub bus: Bus,
    /// What workers publish, from the start of the test on.
    pub states: StateWatch,
    /// What workers ask of the sector manager.
    pub requests: SectorManagerRequests,
    /// The server, which only this test uses.
    pub nats: NatsServer,
    /// The directory of everything.
    pub scratch: Scratch,
}

impl Testbed {
    /// Starts the server and connects to it.
    pub async fn start() -> Testbed {
        let scratch = Scratch::new();
        let nats = NatsServer::start(scratch.path()).await;
        Testbed::connect(scratch, nats).await
    }

    /// Starts a server with this in its configuration, and connects to it.
    pub async fn start_configured(config: &str) -> Testbed {
        let scratch = Scratch::new();
        let nats = NatsServer::start_configured(scratch.path(), config).await;
        Testbed::connect(scratch, nats).await
    }

    /// Starts a server that keeps nothing, and connects to it.
    pub async fn start_without_jetstream() -> Testbed {
        let scratch = Scratch::new();
        let nats = NatsServer::start_without_jetstream(scratch.path()).await;
        Testbed::connect(scratch, nats).await
    }

    async fn connect(scratch: Scratch, nats: NatsServer) -> Testbed {
        let bus = Bus::connect(&nats.url()).await;
        let (states, requests) =
            (StateWatch::start(&bus).await, SectorManagerRequests::start(&bus).await);
        Testbed { bus, states, requests, nats, scratch }
    }

    /// Waits for states and requests up to so long, from now on.
    pub fn wait_up_to(&mut self, patience: Duration) {
        self.states.wait_up_to(patience);
        self.requests.wait_up_to(patience);
    }

    /// Keeps what workers report, for tests without managers: a worker that stops waits until its
    /// last report is kept.
    pub async fn keep_states(&self) {
        let jetstream = async_nats::jetstream::new(self.bus.client.clone());
        let subjects = vec![self.bus.prefix.state_of_all()];
        let config = async_nats::jetstream::stream::Config {
            name: "STATES".into(),
            subjects,
            ..Default::default()
        };
        jetstream.create_stream(config).await.unwrap();
    }

    /// Starts a mock manager and waits until it answers.
    pub async fn mock_manager(&self) -> Manager {
        self.mock_manager_with(&[]).await
    }

    /// Starts a mock manager with further options and waits until it answers.
    pub async fn mock_manager_with(&self, options: &[&str]) -> Manager {
        let manager = self.start_mock_manager_with("manager", options);
        manager.answers(&self.bus).await;
        manager
    }

    /// Starts a mock manager with further options; `name` is for its log.
    pub fn start_mock_manager_with(&self, name: &str, options: &[&str]) -> Manager {
        Manager::start_mock(
            self.nats.url(),
            self.scratch.path().join(format!("{name}.log")),
            options,
        )
    }

    /// Starts a manager that relays to this sector manager, and waits until it answers; `name` is
    /// for its log. A number whose answer was lost is found again after a second.
    pub async fn relay(&self, name: &str, to: &SectorManager) -> Manager {
        let (log, file) = (format!("{name}.log"), self.scratch.path().join(format!("{name}.toml")));
        std::fs::write(&file, "[sector_manager]\nadopt_after = '1s'").unwrap();
        let (file, url) = (file.display().to_string(), to.url());
        let options = ["daemon", "-c", &file, "--sector-manager", &url];
        let manager = Manager::start(self.nats.url(), self.scratch.path().join(log), &options);
        manager.relays().await;
        manager
    }

    /// Starts a mock manager; `name` is for its log.
    pub fn start_mock_manager(&self, name: &str) -> Manager {
        self.start_mock_manager_with(name, &[])
    }

    /// How many sectors the mock managers have allocated: the number of the newest one.
    pub async fn allocated(&self) -> u64 {
        let jetstream = async_nats::jetstream::new(self.bus.client.clone());
        let bucket = format!("KV_{}", self.bus.prefix.sectors_bucket(MINER));
        jetstream.get_stream(bucket).await.unwrap().cached_info().state.last_sequence
    }

    /// The sectors that were allocated and are neither in the attached store of the only worker
    /// there was, nor in hand by its last report. It must have been stopped.
    pub async fn lost_sectors(&mut self, name: &str, worker: &mut Worker) -> Vec<u64> {
        let pid = worker.pid();
        let stopped = |snapshot: &WorkerSnapshot| {
            snapshot.status == WorkerStatus::Stopped && snapshot.pid == pid
        };
        let last = self.states.until(name, "its last report", stopped).await;
        let (persisted, in_hand) = (worker.persisted(), in_hand(&last));
        // A thread that was stopped while it asked for a sector asks again with the same id, and
        // gets the same sector.
        let asked_for = self.allocated().await - u64::from(last.summary.empty);
        (1..=asked_for)
            .filter(|number| !persisted.contains(number) && !in_hand.contains(number))
            .collect()
    }

    /// Waits until one of worker `w1`'s two threads waits for that, with the other one as it should
    /// be; pauses and resumes it meanwhile, which must not take longer than asking.
    pub async fn one_of_two_waits(
        &mut self,
        reason: &str,
        other: impl Fn(&ThreadSnapshot) -> bool,
    ) {
        let waiting =
            |snapshot: &WorkerSnapshot| snapshot.threads.iter().position(waits_for(reason));
        let stands = |snapshot: &WorkerSnapshot| {
            waiting(snapshot).is_some_and(|index| other(&snapshot.threads[1 - index]))
        };
        let index = waiting(&self.states.until("w1", reason, stands).await).unwrap();
        assert_eq!(self.bus.pause("w1", index as u32).await.unwrap().outcome, Outcome::Paused);
        assert!(is_paused(&self.bus.list("w1").await.threads[index], PausedBy::Operator));
        self.bus.resume("w1", index as u32, None).await.unwrap();
        self.states.until_thread("w1", index, "it waits again", waits_for(reason)).await;
    }

    /// Answers for the sector manager as the test says.
    pub async fn fake_sector_manager(
        &self,
        answer: impl FnMut(&str, serde_json::Value) -> serde_json::Value + Send + 'static,
    ) -> FakeSectorManager {
        FakeSectorManager::start(&self.bus, answer).await
    }

    /// Configures a worker in a directory of that name; starts nothing.
    pub fn prepare_worker(&self, directory: &str, config: &WorkerConfig) -> Worker {
        Worker::prepare(self.scratch.path().join(directory), self.nats.url(), config)
    }

    /// Configures a worker that reaches NATS through a proxy; starts nothing.
    pub fn prepare_worker_behind(
        &self,
        proxy: &Proxy,
        directory: &str,
        config: &WorkerConfig,
    ) -> Worker {
        Worker::prepare(self.scratch.path().join(directory), proxy.url(), config)
    }

    /// A proxy before the server.
    pub async fn proxy(&self) -> Proxy {
        Proxy::start(self.nats.port()).await
    }

    /// Configures and starts a worker.
    pub fn worker(&self, config: &WorkerConfig) -> Worker {
        let mut worker = self.prepare_worker("worker", config);
        worker.start();
        worker
    }

    /// Makes a closed gate for the fixture processor.
    pub fn gate(&self, name: &str) -> Gate {
        Gate::new(self.scratch.path().join(name))
    }

    /// Runs `damocles-worker` with these arguments to its end.
    pub async fn worker_cli(&self, args: &[&str]) -> CliOutput {
        cli::run(binaries::worker(), args, &self.nats.url(), b"").await
    }

    /// `damocles-manager util worker …`.
    pub async fn util_worker(&self, args: &[&str]) -> CliOutput {
        self.util("worker", args).await
    }

    /// `damocles-manager util worker …`, for as long as it likes; `name` is for its log.
    pub fn start_util_worker(&self, name: &str, args: &[&str]) -> Process {
        self.start_tool(name, binaries::manager(), &[&["util", "worker"], args].concat())
    }

    /// `damocles-worker …`, for as long as it likes; `name` is for its log.
    pub fn start_worker_cli(&self, name: &str, args: &[&str]) -> Process {
        self.start_tool(name, binaries::worker(), args)
    }

    fn start_tool(&self, name: &str, tool: &Path, args: &[&str]) -> Process {
        let mut command = Command::new(tool);
        command.args(args).env("NATS_URL", self.nats.url());
        Process::spawn(name, command, &self.scratch.path().join(format!("{name}.log")))
    }

    /// `damocles-manager util worker …`, while the test does something else.
    pub fn util_worker_meanwhile(&self, args: &[&str]) -> JoinHandle<CliOutput> {
        let args: Vec<_> =
            ["util", "worker"].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
        let url = self.nats.url();
        tokio::spawn(async move {
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            cli::run(binaries::manager(), &args, &url, b"").await
        })
    }

    /// `damocles-manager util sealer …`.
    pub async fn util_sealer(&self, args: &[&str]) -> CliOutput {
        self.util("sealer", args).await
    }

    async fn util(&self, tool: &str, args: &[&str]) -> CliOutput {
        let args: Vec<&str> = ["util", tool].into_iter().chain(args.iter().copied()).collect();
        cli::run(binaries::manager(), &args, &self.nats.url(), b"").await
    }
}
