//! Starting a child process, logging what it says, and ending it.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures::StreamExt;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncRead,
    process::{Child, Command},
    time::timeout,
};
use tokio_util::codec::FramedRead;
use tracing::{info, warn};

use super::{lines::BoundedLines, placement::Placement, settings::Settings};

/// How long a process may take to end by itself once its input has ended.
const AFTER_INPUT: Duration = Duration::from_secs(1);
/// How long it may take to end once it was asked to.
const AFTER_TERM: Duration = Duration::from_secs(2);
const MAX_LOG_LINE: usize = 4096;

/// What to start, again and again.
#[derive(Debug)]
pub struct Program {
    bin: String,
    args: Vec<String>,
    settings: Settings,
    placement: Placement,
}

impl Program {
    /// The program of a `[[processors.…]]`; `own` is the worker's own one, with its arguments, for settings that name
    /// none. `name` is unique in this worker.
    pub fn new(settings: &Settings, name: &str, own: (String, Vec<String>)) -> Self {
        let (bin, args) = match &settings.bin {
            Some(bin) => (bin.display().to_string(), vec![]),
            None => own,
        };
        let args = settings.args.clone().unwrap_or(args);
        Program { bin, args, settings: settings.clone(), placement: Placement::prepare(settings, name) }
    }

    /// Its path, for messages.
    pub fn bin(&self) -> &str {
        &self.bin
    }

    /// Starts it, with pipes for its input and both of its outputs.
    pub fn start(&self) -> io::Result<Child> {
        let mut words = self.placement.wrappers.iter().chain([&self.bin]).chain(&self.args);
        let mut command = Command::new(words.next().unwrap_or(&self.bin));
        if !self.settings.inherit_envs {
            command.env_clear();
        }
        command.args(words).envs(&self.placement.envs).envs(&self.settings.envs);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // Ctrl-C is for the worker, which ends its children in its own time; and what a child starts ends with it.
        command.process_group(0);
        let child = command.spawn()?;
        if let (Some(cgroup), Some(pid)) = (&self.placement.cgroup, child.id())
            && let Err(error) = cgroup.add(pid)
        {
            warn!(bin = self.bin, pid, error, "runs outside of its control group");
        }
        Ok(child)
    }
}

/// Waits for the end of a process whose input has ended; asks it to end, then makes it end.
pub async fn end(child: &mut Child) -> io::Result<ExitStatus> {
    if let Ok(ended) = timeout(AFTER_INPUT, child.wait()).await {
        return ended;
    }
    terminate(child).await
}

/// Asks a process to end, then makes it end.
pub async fn terminate(child: &mut Child) -> io::Result<ExitStatus> {
    signal_group(child, Signal::TERM);
    if let Ok(ended) = timeout(AFTER_TERM, child.wait()).await {
        return ended;
    }
    kill(child).await
}

/// Makes a process end, with all that it has started.
pub async fn kill(child: &mut Child) -> io::Result<ExitStatus> {
    signal_group(child, Signal::KILL);
    child.wait().await
}

// The group has the number of its leader, which is nobody else's before it is reaped.
fn signal_group(child: &Child, signal: Signal) {
    let leader = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(leader) = leader {
        // Who has ended meanwhile needs no signal.
        kill_process_group(leader, signal).ok();
    }
}

/// Writes what a child says into the worker's log, to its end.
pub async fn log_lines(name: String, pid: u32, output: impl AsyncRead + Unpin) {
    let mut lines = FramedRead::new(output, BoundedLines::of(MAX_LOG_LINE));
    while let Some(Ok(line)) = lines.next().await {
        match line {
            Ok(line) => info!(stage = name, pid, "{line}"),
            Err(error) => info!(stage = name, pid, %error, "a line that is not shown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processor::settings::ProcessorsConfig;

    fn program(script: &str, wrappers: &[&str]) -> Program {
        let section = toml::from_str(&format!("[[c2]]\nbin = 'sh'\nargs = ['-c', {}]", serde_json::Value::from(script)));
        let mut config = ProcessorsConfig::check(section.unwrap()).unwrap();
        let settings = config.stages.remove("c2").unwrap().remove(0);
        let mut program = Program::new(&settings, "c2-0", Default::default());
        program.placement.wrappers = wrappers.iter().map(|word| (*word).to_owned()).collect();
        program
    }

    #[tokio::test]
    async fn what_sets_something_up_becomes_the_program() {
        let child = program("echo $A $$", &["env", "A=1"]).start().unwrap();
        let pid = child.id().unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("1 {pid}\n"));
    }

    #[tokio::test]
    async fn who_ends_with_its_input_is_not_killed() {
        let mut child = program("cat; exit 7", &[]).start().unwrap();
        drop(child.stdin.take());
        assert_eq!(end(&mut child).await.unwrap().code(), Some(7));
    }
}
