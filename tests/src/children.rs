//! The processes that a worker starts, as its log, its reports and the system show them.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use shared_msgs::snapshot::{ThreadSnapshot, ThreadStatus};
use tokio::time::timeout;

use crate::{DEADLINE, worker::Worker};

/// The value of a field in a line of a log.
pub fn field(line: &str, name: &str) -> String {
    let (_, rest) =
        line.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("no {name} in {line:?}"));
    rest.split_whitespace().next().unwrap().trim_matches('"').to_owned()
}

/// Waits until a stage's processor is ready for the first time; returns its process id.
pub async fn ready(worker: &mut Worker, stage: &str) -> u32 {
    let line = worker.log().line_with(&[&format!("processor ready stage=\"{stage}\"")]).await;
    field(&line, "pid").parse().unwrap()
}

/// The process that runs a thread's stage.
pub fn processor_pid(thread: &ThreadSnapshot) -> u32 {
    match &thread.status {
        // As in `c2 (pid 4711)`.
        ThreadStatus::Running { processor: Some(processor), .. } => {
            processor.trim_end_matches(')').rsplit(' ').next().unwrap().parse().unwrap()
        }
        other => panic!("not in a processor: {other:?}"),
    }
}

/// Where the system tells about a process while it runs.
pub fn process(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// The CPUs that a process may run on.
pub fn cpus_of(pid: u32) -> String {
    let status = std::fs::read_to_string(process(pid).join("status")).unwrap();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap()
        .trim()
        .to_owned()
}

/// Kills a process as a crash would.
pub fn kill9(pid: u32) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
}

/// Waits for the end of a process that is nobody's child here.
pub async fn ended(pid: u32) {
    let gone = async {
        while process(pid).exists() {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(DEADLINE, gone).await.is_ok(), "process {pid} still runs after {DEADLINE:?}");
}
