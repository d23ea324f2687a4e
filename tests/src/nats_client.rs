//! The `nats` command-line client, as a user has it. It is built with Go, which not every machine
//! has; without it, a test says that it did not run.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{
    binaries,
    cli::{self, CliOutput},
    process::Process,
    testbed::Testbed,
};

/// The client, for one test's server.
#[derive(Debug)]
pub struct NatsClient {
    program: PathBuf,
    nats_url: String,
    home: PathBuf,
}

impl NatsClient {
    /// The installed client. If there is none, says so past the test runner's capture and returns
    /// `None`.
    pub fn find(bed: &Testbed) -> Option<NatsClient> {
        let Some(program) = binaries::nats_client() else {
            let thread = std::thread::current();
            let test = thread.name().unwrap_or_default();
            let _ = writeln!(
                std::io::stderr(),
                "NOT RUN: {test}: there is no nats client in .tools/bin; deploy/nats/install.sh --cli builds it with Go"
            );
            return None;
        };
        Some(NatsClient { program, nats_url: bed.nats.url(), home: bed.scratch.directory("home") })
    }

    /// Runs it to its end.
    pub async fn run(&self, args: &[&str]) -> CliOutput {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        cli::finish(command, b"").await
    }

    /// Starts it, and leaves it running.
    pub fn start(&self, args: &[&str]) -> Process {
        Process::spawn("nats", self.command(args), &self.home.join("nats.log"))
    }

    // With a home of its own, or it would read and write the user's contexts.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("NATS_URL", &self.nats_url)
            .env("HOME", &self.home)
            .env("XDG_CONFIG_HOME", &self.home);
        command
    }
}
