//! A child process that never outlives its owner.
//!
//! ```text
//!  spawn --> running --its own end | kill9 | terminate | drop--> ended: its process group swept, reaped
//! ```
//! Each child leads a process group, so whatever it starts ends with it.

use std::{
    os::fd::OwnedFd,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};
use tokio::time::timeout;

use crate::{DEADLINE, log::Log, watchdog};

/// A running or ended child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    log: Log,
}

impl Process {
    /// Starts a program. What it prints goes to its [`Log`]; settings in this process's environment
    /// do not reach it.
    pub fn spawn(name: &str, command: Command, log_file: &Path) -> Process {
        let (reader, writer) = std::io::pipe().unwrap();
        Process::run(name, command, Stdio::null(), writer.into(), Log::start(reader, log_file))
    }

    /// Starts a program whose output goes into that; its [`Log`] stays empty.
    pub fn spawn_into(name: &str, command: Command, output: OwnedFd, log_file: &Path) -> Process {
        Process::run(name, command, Stdio::null(), output, Log::start(std::io::empty(), log_file))
    }

    /// Starts a program on a terminal, for its input too; its [`Log`] stays empty.
    pub fn spawn_on(name: &str, command: Command, terminal: OwnedFd, log_file: &Path) -> Process {
        let input = terminal.try_clone().unwrap().into();
        Process::run(name, command, input, terminal, Log::start(std::io::empty(), log_file))
    }

    fn run(name: &str, mut command: Command, input: Stdio, output: OwnedFd, log: Log) -> Process {
        watchdog::start();
        clean_environment(&mut command);
        command.stdin(input).stdout(output.try_clone().unwrap()).stderr(output).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let process = Process { name: name.to_owned(), child, status: None, log };
        watchdog::add(process.pid());
        process
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id, which is the process group's too.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Whether nobody has seen its end yet.
    pub fn is_running(&self) -> bool {
        self.status.is_none()
    }

    /// What it has printed so far, stdout and stderr.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Waits for its end, however long that takes.
    pub async fn wait(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        let pid = self.pid();
        let waiting = tokio::task::spawn_blocking(move || {
            // An error means that it was reaped meanwhile, so it has ended too.
            let _ = rustix::io::retry_on_intr(|| {
                waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            });
        });
        let _ = waiting.await;
        self.sweep()
    }

    /// Waits for its end, which is near.
    pub async fn ended(&mut self) -> ExitStatus {
        match timeout(DEADLINE, self.wait()).await {
            Ok(status) => status,
            Err(_) => panic!(
                "{} still runs after {DEADLINE:?}, see {}",
                self.name,
                self.log.path().display()
            ),
        }
    }

    /// Kills it as a crash would, and waits for its end.
    pub async fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Asks it to end, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Takes its terminal away, and waits for its end.
    pub async fn hang_up(&mut self) -> ExitStatus {
        self.signal(Signal::HUP);
        self.ended().await
    }

    /// Asks it to end, and does not wait.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// Presses Ctrl-C, and waits for its end.
    pub async fn interrupt(&mut self) -> ExitStatus {
        self.signal(Signal::INT);
        self.ended().await
    }

    /// Stops it where it is, until [`Process::thaw`]: it still holds its connections and files.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Waits until it is stopped where it is, by whomever.
    pub async fn until_frozen(&self) {
        let stat = format!("/proc/{}/stat", self.pid().as_raw_nonzero());
        // Its state stands behind its name, which stands in brackets.
        let is_frozen = || {
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        };
        let waiting = async {
            while !is_frozen() {
                tokio::task::yield_now().await
            }
        };
        let frozen = tokio::time::timeout(crate::DEADLINE, waiting).await;
        assert!(frozen.is_ok(), "{} was not stopped", self.name);
    }

    /// Lets a frozen one go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        assert!(
            self.status.is_none(),
            "{} has ended before, see {}",
            self.name,
            self.log.path().display()
        );
        kill_process(self.pid(), signal).unwrap();
    }

    // Kills what is left of the group, and reaps its leader: until then nobody else can get its
    // number.
    fn sweep(&mut self) -> ExitStatus {
        // Nobody left in the group is what we want.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        watchdog::remove(self.pid());
        let status = self.child.wait().unwrap();
        self.status = Some(status);
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.sweep();
        }
    }
}

/// Takes everything out of a command's environment that would configure the programs under test,
/// and colours out of their output; what the command itself sets stays.
pub fn clean_environment(command: &mut Command) {
    let set: Vec<_> = command
        .get_envs()
        .filter(|(_, value)| value.is_some())
        .map(|(name, _)| name.to_owned())
        .collect();
    for (name, _) in std::env::vars_os().filter(|(name, _)| !set.contains(name)) {
        let configures = ["NATS_", "DAMOCLES_", "FIL_PROOFS_", "FAILPOINTS", "RUST_LOG"];
        if configures.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            command.env_remove(name);
        }
    }
    if !set.iter().any(|name| name == "NO_COLOR") {
        command.env("NO_COLOR", "1");
    }
}
