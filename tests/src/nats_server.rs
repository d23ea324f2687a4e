//! A real nats-server, with JetStream unless a test wants none: on a port and a store of its own, ready when it is handed out.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{binaries, process::Process};

/// A NATS server, or one that was stopped and can be started again on the same port and store.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    port: u16,
    store: Option<PathBuf>,
    config: Option<PathBuf>,
    log_file: PathBuf,
}

impl NatsServer {
    /// Starts a server on a free port of the loopback interface; its store and its log are in `directory`.
    pub async fn start(directory: &Path) -> NatsServer {
        NatsServer::start_with(directory, Some(directory.join("nats")), None).await
    }

    /// The same without JetStream.
    pub async fn start_without_jetstream(directory: &Path) -> NatsServer {
        NatsServer::start_with(directory, None, None).await
    }

    /// The same with JetStream and more in its configuration.
    pub async fn start_configured(directory: &Path, config: &str) -> NatsServer {
        let file = directory.join("nats.conf");
        std::fs::write(&file, config).unwrap();
        NatsServer::start_with(directory, Some(directory.join("nats")), Some(file)).await
    }

    async fn start_with(directory: &Path, store: Option<PathBuf>, config: Option<PathBuf>) -> NatsServer {
        let log_file = directory.join("nats.log");
        let (process, port) = run("-1", store.as_deref(), config.as_deref(), &log_file).await;
        NatsServer { process, port, store, config, log_file }
    }

    /// What clients connect to.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it as a crash would.
    pub async fn kill9(&mut self) {
        self.process.kill9().await;
    }

    /// Stops it properly.
    pub async fn stop(&mut self) {
        self.process.terminate().await;
    }

    /// Starts it again on the same port and store, after [`NatsServer::kill9`] or [`NatsServer::stop`].
    pub async fn restart(&mut self) {
        (self.process, _) = run(&self.port.to_string(), self.store.as_deref(), self.config.as_deref(), &self.log_file).await;
    }
}

async fn run(port: &str, store: Option<&Path>, config: Option<&Path>, log_file: &Path) -> (Process, u16) {
    let mut command = Command::new(binaries::nats_server());
    command.args(["--addr", "127.0.0.1", "--port", port]);
    if let Some(store) = store {
        command.args(["--jetstream", "--store_dir"]).arg(store);
    }
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let process = Process::spawn("nats-server", command, log_file);
    let listening = process.log().line_with(&["Listening for client connections on"]).await;
    process.log().line_with(&["Server is ready"]).await;
    let port = listening.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    (process, port.unwrap_or_else(|| panic!("nats-server names no port: {listening:?}")))
}
