//! Starting a program as the leader of a process group, and ending that group: nobody is told that
//! it has ended, and nobody gets its work, before nothing of it lives.
//!
//! ```text
//!  runs --its input ends: a second to follow--> TERM to all of it: two seconds --> KILL, until nothing lives --> reaped
//! ```
//! The leader is reaped last: until then nobody else can have its number, which is the group's.
//! What has left the group (`setsid`) has still the mark in its environment, see [`super::groups`].
//!
//! Decision 032 in `docs/decisions`.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use damocles_client::backoff::Backoff;
use futures::StreamExt;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::AsyncRead,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::codec::FramedRead;
use tracing::{info, warn};

use super::{
    groups::{Groups, MARK, SAY_AGAIN, Started},
    lines::BoundedLines,
    piece_server::PIECE_TOKEN,
    placement::Placement,
    processes::Process,
    settings::Settings,
};

/// How long a process may take to end by itself once its input has ended.
const AFTER_INPUT: Duration = Duration::from_secs(1);
/// How long it may take to end once it was asked to.
const AFTER_TERM: Duration = Duration::from_secs(2);
/// All that a group is given.
pub(crate) const GRACE: Duration = AFTER_INPUT.saturating_add(AFTER_TERM);
const LAST_LOOK_AGAIN: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Backoff = Backoff::new(Duration::from_millis(5), LAST_LOOK_AGAIN);
const MAX_LOG_LINE: usize = 4096;

/// What to start, again and again.
pub(crate) struct Program {
    bin: String,
    args: Vec<String>,
    settings: Settings,
    placement: Placement,
    piece_token: Option<SecretString>,
    groups: Arc<Groups>,
}

/// A program that was started, with all that it has started. What is left of it is killed when this
/// is dropped.
pub(crate) struct Group {
    child: Child,
    leader: Pid,
    started: Started,
    mark: String,
    groups: Arc<Groups>,
}

/// How a group is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its input has ended, and it has time to follow.
    ByItself,
    /// It got TERM.
    Asked,
    /// It got KILL, and could do nothing about it.
    Killed,
}

/// How a group has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How its leader has ended.
    pub status: io::Result<ExitStatus>,
    /// Whether its leader ended without a signal of ours.
    pub by_itself: bool,
}

impl Ended {
    /// The leader's end in words.
    pub(crate) fn words(&self) -> String {
        match &self.status {
            Ok(status) => status
                .signal()
                .map_or_else(|| status.to_string(), |number| format!("signal {number}")),
            Err(error) => error.to_string(),
        }
    }
}

impl Program {
    /// The program of a `[[processors.…]]`; `own` is the worker's own one, and the arguments for
    /// settings that name none. `name` is unique in this worker.
    pub(crate) fn new(
        settings: &Settings,
        name: &str,
        own: (String, Vec<String>),
        groups: &Arc<Groups>,
    ) -> Self {
        let (own_bin, own_args) = own;
        let bin = settings.bin.as_ref().map_or(own_bin, |bin| bin.display().to_string());
        Program {
            bin,
            args: settings.args.clone().unwrap_or(own_args),
            settings: settings.clone(),
            placement: Placement::prepare(settings.numa_preferred, &settings.cgroup, name),
            piece_token: None,
            groups: groups.clone(),
        }
    }

    /// Gives it the token for pieces, unless its settings name one.
    pub(crate) fn with_piece_token(mut self, token: Option<&SecretString>) -> Self {
        self.piece_token = token.filter(|_| !self.settings.envs.contains_key(PIECE_TOKEN)).cloned();
        self
    }

    /// Its path, for messages.
    pub(crate) fn bin(&self) -> &str {
        &self.bin
    }

    /// Waits until it may be started: nothing of an earlier run of the worker lives.
    pub(crate) async fn may_start(&self) {
        self.groups.cleared().await;
    }

    /// Starts it, with pipes for its input and both of its outputs, and writes that down.
    pub(crate) fn start(&self) -> io::Result<Group> {
        let mut words = self.placement.wrappers.iter().chain([&self.bin]).chain(&self.args);
        let mut command = Command::new(words.next().unwrap_or(&self.bin));
        if !self.settings.inherit_envs {
            command.env_clear();
        }
        let mark = self.groups.mark();
        command.args(words).envs(&self.placement.envs).envs(&self.settings.envs).env(MARK, &mark);
        if let Some(token) = &self.piece_token {
            command.env(PIECE_TOKEN, token.expose_secret());
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Ctrl-C is for the worker, which ends its children in its own time; and what a child
        // starts ends with it.
        command.process_group(0);
        let child = command.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let leader = pid
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("the system gave it no number"))?;
        let pid = leader.as_raw_nonzero().get();
        let started = Process::find(pid).map(|process| process.started).unwrap_or_default();
        let started = Started { leader: pid, started, program: self.bin.clone() };
        self.groups.add(started.clone());
        let group = Group { child, leader, started, mark, groups: self.groups.clone() };
        if let Some(cgroup) = &self.placement.cgroup
            && let Err(error) = cgroup.add(group.pid())
        {
            warn!(bin = self.bin, pid, %error, "runs outside of its control group");
        }
        Ok(group)
    }
}

impl Group {
    /// The number of its leader, and so its own.
    pub(crate) fn pid(&self) -> u32 {
        self.started.leader.unsigned_abs()
    }

    /// The leader's input and outputs, once.
    pub(crate) fn take_pipes(&mut self) -> io::Result<(ChildStdin, ChildStdout, ChildStderr)> {
        match (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok((stdin, stdout, stderr)),
            _ => Err(io::Error::other("its pipes are missing")),
        }
    }

    /// Waits until the leader has ended, whoever holds its pipes. It is not reaped by that.
    pub(crate) fn leader_ended(&self) -> impl Future<Output = ()> + use<> {
        let leader = self.leader;
        async move {
            // Listening begins before the first look, so that no end is missed; without it there is
            // a look now and then.
            let mut children = signal(SignalKind::child()).ok();
            while !has_ended(leader) {
                let told = match &mut children {
                    Some(children) => children.recv().await,
                    None => None,
                };
                if told.is_none() {
                    sleep(LAST_LOOK_AGAIN).await;
                }
            }
        }
    }

    /// Ends all of it, and returns when nothing of it lives any more.
    pub(crate) async fn end(mut self, ending: Ending) -> Ended {
        if ending == Ending::ByItself {
            timeout(AFTER_INPUT, self.leader_ended()).await.ok();
        }
        let by_itself = has_ended(self.leader);
        if ending == Ending::Killed || timeout(AFTER_TERM, self.gone(Signal::TERM)).await.is_err() {
            while timeout(SAY_AGAIN, self.gone(Signal::KILL)).await.is_err() {
                let left: Vec<_> = self
                    .left()
                    .await
                    .iter()
                    .map(|process| format!("{} (pid {})", process.name, process.pid))
                    .collect();
                warn!(
                    pid = self.pid(),
                    bin = self.started.program,
                    ?left,
                    "was killed and does not end: its work waits for that"
                );
            }
        }
        let status = self.child.wait().await;
        self.groups.remove(&self.started);
        Ended { status, by_itself }
    }

    // Sends all of it a signal until nothing of it lives.
    async fn gone(&self, signal: Signal) {
        self.signal_group(signal);
        self.leader_ended().await;
        let mut backoff = LOOK_AGAIN;
        loop {
            let left = self.left().await;
            if left.is_empty() {
                return;
            }
            for process in left {
                // Whoever cannot be signalled is still there at the next look.
                process.signal(signal).ok();
            }
            sleep(backoff.pause()).await;
        }
    }

    // What lives of it. Nobody in it is older than its leader.
    async fn left(&self) -> Vec<Process> {
        let (group, since, mark) = (self.started.leader, self.started.started, self.mark.clone());
        let belongs = move |process: &Process| {
            process.group == group
                || process.started >= since
                    && process.variable(MARK).is_some_and(|found| found == mark)
        };
        let look = tokio::task::spawn_blocking(move || {
            Process::all().into_iter().filter(belongs).collect()
        });
        // It does not come back only when the runtime ends.
        look.await.unwrap_or_default()
    }

    fn signal_group(&self, signal: Signal) {
        // Who has ended meanwhile needs no signal.
        kill_process_group(self.leader, signal).ok();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Before it is reaped its number is its own.
        if self.child.id().is_some() {
            self.signal_group(Signal::KILL);
        }
    }
}

// Whether a child has ended. One that was reaped has, too.
fn has_ended(child: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(rustix::io::retry_on_intr(|| waitid(WaitId::Pid(child), options)), Ok(None))
}

/// Writes what a child says into the worker's log, to its end.
pub(crate) async fn log_lines(name: String, pid: u32, output: impl AsyncRead + Unpin) {
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
    use damocles_daemon::tasks::Tasks;

    use crate::processor::settings::ProcessorsConfig;

    fn program(script: &str, wrappers: &[&str]) -> Program {
        let section = toml::from_str(&format!(
            "[[c2]]\nbin = 'sh'\nargs = ['-c', {}]",
            serde_json::Value::from(script)
        ));
        let mut config = ProcessorsConfig::check(section.unwrap()).unwrap();
        let settings = config.stages.remove("c2").unwrap().remove(0);
        let mut program =
            Program::new(&settings, "c2-0", Default::default(), &Groups::new(&Tasks::new().0, &[]));
        program.placement.wrappers = wrappers.iter().map(|word| (*word).to_owned()).collect();
        program
    }

    // Starts a script, and reads the numbers that it prints before it prints an empty line.
    async fn started(script: &str) -> (Group, ChildStdin, Lines, Vec<Process>) {
        let mut group = program(script, &[]).start().unwrap();
        let (stdin, stdout, stderr) = group.take_pipes().unwrap();
        // A shell says there how its children have ended.
        tokio::spawn(log_lines("sh".into(), group.pid(), stderr));
        let mut lines = FramedRead::new(stdout, BoundedLines::of(MAX_LOG_LINE));
        let mut processes = vec![];
        while let Some(Ok(Ok(line))) = lines.next().await
            && !line.is_empty()
        {
            processes.push(Process::find(line.parse().unwrap()).unwrap());
        }
        (group, stdin, lines, processes)
    }

    type Lines = FramedRead<ChildStdout, BoundedLines>;

    // What a shell says about a helper in the background, which goes on when it is asked to end and
    // holds all pipes.
    const STUBBORN: &str = "sh -c \"trap '' TERM; while :; do sleep 0.1; done\" & echo $!;";

    #[tokio::test]
    async fn what_sets_something_up_becomes_the_program() {
        let mut group = program("echo $A $$", &["env", "A=1"]).start().unwrap();
        let (_stdin, stdout, _stderr) = group.take_pipes().unwrap();
        let line =
            FramedRead::new(stdout, BoundedLines::of(100)).next().await.unwrap().unwrap().unwrap();
        assert_eq!(line, format!("1 {}", group.pid()));
        assert_eq!(group.end(Ending::ByItself).await.words(), "exit status: 0");
    }

    #[tokio::test]
    async fn who_ends_with_its_input_is_not_killed() {
        let (group, stdin, _lines, _) = started("echo; cat; exit 7").await;
        drop(stdin);
        let ended = group.end(Ending::ByItself).await;
        assert_eq!((ended.by_itself, ended.status.unwrap().code()), (true, Some(7)));
    }

    #[tokio::test]
    async fn who_ends_when_asked_to_is_not_killed() {
        let (group, _stdin, _lines, _) =
            started("trap 'exit 7' TERM; echo; while :; do sleep 0.1; done").await;
        let ended = group.end(Ending::Asked).await;
        assert_eq!((ended.by_itself, ended.status.unwrap().code()), (false, Some(7)));
    }

    #[tokio::test]
    async fn nothing_of_a_group_lives_once_it_has_ended_whatever_it_has_started() {
        for ending in [Ending::ByItself, Ending::Asked, Ending::Killed] {
            // One that stays, one that leaves the group, and the leader itself, which ends at once
            // when it is asked to.
            let left = "setsid sh -c \"trap '' TERM; echo \\$\\$; echo; while :; do sleep 0.1; done\" & wait";
            let (group, stdin, _lines, processes) =
                started(&format!("echo $$; {STUBBORN} {left}")).await;
            let [leader, helper, escaped] = processes.as_slice() else { panic!("{processes:?}") };
            assert_eq!((helper.group, leader.group), (leader.pid, leader.pid));
            assert_ne!(escaped.group, leader.pid);
            assert!(processes.iter().all(Process::lives));
            drop(stdin);
            group.end(ending).await;
            assert!(!processes.iter().any(Process::lives), "{ending:?}: {processes:?}");
            assert_eq!(Process::find(leader.pid), None, "it is reaped");
        }
    }

    #[tokio::test]
    async fn the_end_of_a_leader_is_seen_whoever_holds_its_pipes_and_its_number_stays_its_own() {
        let (group, _stdin, mut lines, processes) =
            started(&format!("{STUBBORN} echo; kill -9 $$")).await;
        group.leader_ended().await;
        // Nobody has reaped it, and the helper holds the pipe.
        assert_eq!(Process::find(group.started.leader).map(|leader| leader.lives()), Some(false));
        assert!(processes[0].lives() && futures::poll!(lines.next()).is_pending());
        let ended = group.end(Ending::Killed).await;
        assert_eq!((ended.by_itself, ended.words().as_str()), (true, "signal 9"));
        assert!(!processes[0].lives());
        assert!(lines.next().await.is_none());
    }

    #[tokio::test]
    async fn a_group_that_is_dropped_is_killed() {
        let (group, _stdin, mut lines, processes) =
            started(&format!("echo $$; {STUBBORN} echo; wait")).await;
        drop(group);
        // All have closed their outputs.
        assert!(lines.next().await.is_none());
        for process in processes {
            while process.lives() {
                tokio::task::yield_now().await;
            }
        }
    }
}
