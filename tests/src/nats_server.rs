//! A real nats-server, with JetStream unless a test wants none: on a port and a store of its own,
//! ready when it is handed out.

use std::{
    ffi::OsString,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;

use crate::{binaries, log::Log, process::Process};

/// Where clients look for NATS if nobody says where it is.
pub const DEFAULT_PORT: u16 = 4222;
const ANY_PORT: &str = "-1";

/// A NATS server, or one that was stopped and can be started again on the same port and store.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    port: u16,
    options: Vec<OsString>,
    log_file: PathBuf,
}

impl NatsServer {
    /// Starts a server on a free port of the loopback interface; its store and its log are in
    /// `directory`.
    pub async fn start(directory: &Path) -> NatsServer {
        NatsServer::start_with(directory, jetstream(directory)).await
    }

    /// The same on the port that clients try where none is named, if that is free.
    pub async fn start_where_expected(directory: &Path) -> NatsServer {
        let is_free = TcpListener::bind(("127.0.0.1", DEFAULT_PORT)).is_ok();
        let port = if is_free { DEFAULT_PORT.to_string() } else { ANY_PORT.into() };
        NatsServer::start_on(&port, directory, jetstream(directory)).await
    }

    /// The same without JetStream.
    pub async fn start_without_jetstream(directory: &Path) -> NatsServer {
        NatsServer::start_with(directory, vec![]).await
    }

    /// The same with JetStream and more in its configuration.
    pub async fn start_configured(directory: &Path, config: &str) -> NatsServer {
        let file = directory.join("nats.conf");
        std::fs::write(&file, config).unwrap();
        let options =
            jetstream(directory).into_iter().chain(["--config".into(), file.into()]).collect();
        NatsServer::start_with(directory, options).await
    }

    /// The same with a configuration, and without JetStream.
    pub async fn start_core(directory: &Path, config: &str) -> NatsServer {
        let file = directory.join("nats.conf");
        std::fs::write(&file, config).unwrap();
        NatsServer::start_with(directory, vec!["--config".into(), file.into()]).await
    }

    /// The same as a node of a cluster with JetStream.
    pub(crate) async fn start_in_cluster(
        directory: &Path,
        name: &str,
        listen: &str,
        routes: &str,
    ) -> NatsServer {
        let cluster = [
            "--server_name",
            name,
            "--cluster_name",
            "test",
            "--cluster",
            listen,
            "--routes",
            routes,
        ];
        let options = jetstream(directory).into_iter().chain(cluster.map(OsString::from)).collect();
        NatsServer::start_with(directory, options).await
    }

    async fn start_with(directory: &Path, options: Vec<OsString>) -> NatsServer {
        NatsServer::start_on(ANY_PORT, directory, options).await
    }

    async fn start_on(port: &str, directory: &Path, options: Vec<OsString>) -> NatsServer {
        let log_file = directory.join("nats.log");
        let (process, port) = run(port, &options, &log_file).await;
        NatsServer { process, port, options, log_file }
    }

    /// What clients connect to.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port that clients connect to; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, to be frozen or waited for.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has printed in all of its runs so far.
    pub fn log(&self) -> &Log {
        self.process.log()
    }

    /// Kills it as a crash would.
    pub async fn kill9(&mut self) {
        self.process.kill9().await;
    }

    /// Stops it by TERM, and waits for its end.
    pub async fn stop(&mut self) {
        self.process.terminate().await;
    }

    /// Stops it, and starts it again with another configuration than [`NatsServer::start_core`] had.
    pub async fn reconfigure(&mut self, config: &str) {
        self.stop().await;
        std::fs::write(self.log_file.with_file_name("nats.conf"), config).unwrap();
        self.restart().await;
    }

    /// Gives it another configuration than [`NatsServer::start_configured`] had, while its clients
    /// stay connected.
    pub async fn reload(&mut self, config: &str) {
        std::fs::write(self.log_file.with_file_name("nats.conf"), config).unwrap();
        self.process.signal(Signal::HUP);
        self.process.log().line_with(&["Reloaded server configuration"]).await;
    }

    /// Starts it again on the same port and store, after [`NatsServer::kill9`] or
    /// [`NatsServer::stop`].
    pub async fn restart(&mut self) {
        (self.process, _) = run(&self.port.to_string(), &self.options, &self.log_file).await;
    }
}

fn jetstream(directory: &Path) -> Vec<OsString> {
    vec!["--jetstream".into(), "--store_dir".into(), directory.join("nats").into()]
}

async fn run(port: &str, options: &[OsString], log_file: &Path) -> (Process, u16) {
    let mut command = Command::new(binaries::nats_server());
    command.args(["--addr", "127.0.0.1", "--port", port]).args(options);
    let process = Process::spawn("nats-server", command, log_file);
    let listening = process.log().line_with(&["Listening for client connections on"]).await;
    process.log().line_with(&["Server is ready"]).await;
    let port = listening.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    (process, port.unwrap_or_else(|| panic!("nats-server names no port: {listening:?}")))
}
