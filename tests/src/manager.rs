//! A `damocles-manager` process, with or without a mock sector manager.

use std::{
    path::PathBuf,
    process::{Command, ExitStatus},
};

use shared_msgs::command::verb;

use crate::{binaries, bus::Bus, process::Process, testbed::MINER};

/// A manager, with the mock sector manager or a relay to one; its process may run or not.
#[derive(Debug)]
pub struct Manager {
    nats_url: String,
    log_file: PathBuf,
    options: Vec<String>,
    process: Process,
}

impl Manager {
    /// Starts `damocles-manager mock` for miner 10000 and 2 KiB sectors, with further options.
    pub fn start_mock(nats_url: String, log_file: PathBuf, options: &[&str]) -> Manager {
        let mock = ["mock", "--miner", &MINER.to_string(), "--sector-size", "2KiB"];
        Manager::start(nats_url, log_file, &[&mock, options].concat())
    }

    /// Starts `damocles-manager` with these arguments.
    pub fn start(nats_url: String, log_file: PathBuf, options: &[&str]) -> Manager {
        let options: Vec<_> = options.iter().map(|option| option.to_string()).collect();
        let process = run(&nats_url, &log_file, &options);
        Manager { nats_url, log_file, options, process }
    }

    /// Waits until a manager answers: this one, if it is the only one.
    pub async fn answers(&self, bus: &Bus) {
        bus.served(&bus.prefix.api(verb::LIST)).await;
    }

    /// Waits until it has begun to answer, beside others.
    pub async fn ready(&self) {
        self.process.log().line_with(&["ready, with a mock sector manager"]).await;
    }

    /// Waits until it has begun to answer for a sector manager.
    pub async fn relays(&self) {
        self.process.log().line_with(&["ready, with a relay"]).await;
    }

    /// The process, to be killed, frozen or waited for.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it as a crash would.
    pub async fn kill9(&mut self) {
        self.process.kill9().await;
    }

    /// Asks it to end, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process.terminate().await
    }

    /// Starts it again, after its end.
    pub fn restart(&mut self) {
        self.process = run(&self.nats_url, &self.log_file, &self.options);
    }
}

fn run(nats_url: &str, log_file: &std::path::Path, options: &[String]) -> Process {
    let mut command = Command::new(binaries::manager());
    command.args(options).env("NATS_URL", nats_url);
    Process::spawn("damocles-manager", command, log_file)
}
