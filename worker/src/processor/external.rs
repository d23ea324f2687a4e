//! An external processor: a child process that speaks the line protocol, started with the worker, restarted when it
//! dies. One task owns the child; requests reach it through a channel.
//!
//! ```text
//!  start -> wait for the ready line -> serve -> (it dies: its requests fail) -> wait a little -> start …
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use shared_msgs::snapshot::cut_text;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use tokio_util::codec::{FramedRead, LinesCodec};
use tracing::{info, warn};

use super::{
    Task,
    protocol::{MAX_LINE_BYTES, Request, Response, ready_line},
};
use crate::thread::{activity::Activity, failure::Failure};

const FIRST_RESTART_DELAY: Duration = Duration::from_millis(200);
const LAST_RESTART_DELAY: Duration = Duration::from_secs(30);
const MAX_ERROR_BYTES: usize = 4096;

/// One `[[processors.<stage>]]`.
#[derive(Clone, Debug, Deserialize)]
pub struct Settings {
    /// The program.
    pub bin: PathBuf,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment variables for it.
    #[serde(default)]
    pub envs: BTreeMap<String, String>,
    /// Whether it gets the worker's environment too.
    #[serde(default = "yes")]
    pub inherit_envs: bool,
    /// How long it may take to be ready.
    #[serde(default = "five_seconds", with = "humantime_serde")]
    pub stable_wait: Duration,
    /// Whether it is started again when it dies.
    #[serde(default = "yes")]
    pub auto_restart: bool,
    /// How many tasks it takes at once; any number if absent.
    #[serde(default)]
    pub concurrent: Option<usize>,
}

fn yes() -> bool {
    true
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

type Answer = Result<Box<RawValue>, Failure>;

struct Ask {
    task: Box<RawValue>,
    answer: oneshot::Sender<Answer>,
}

/// Whether the processor takes tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    Starting,
    Ready { pid: u32 },
    GaveUp,
}

/// The handle of one external processor.
pub struct ExternalProcessor {
    stage: String,
    asks: mpsc::UnboundedSender<Ask>,
    readiness: watch::Receiver<Readiness>,
    slots: Option<Semaphore>,
    load: Arc<AtomicUsize>,
}

impl ExternalProcessor {
    /// Starts the process, and goes on starting it.
    pub fn start(stage: &str, settings: Settings) -> Self {
        let (asks, inbox) = mpsc::unbounded_channel();
        let (ready, readiness) = watch::channel(Readiness::Starting);
        let slots = settings.concurrent.map(Semaphore::new);
        let owner = Owner { stage: stage.to_owned(), settings, inbox, ready };
        tokio::spawn(owner.run());
        ExternalProcessor { stage: stage.to_owned(), asks, readiness, slots, load: Arc::default() }
    }

    /// How many tasks it has or will have.
    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Runs a task. Waiting for a slot or for the process to be ready can be interrupted.
    pub async fn run<T: Task>(&self, task: &T, activity: &Activity) -> Result<T::Output, Failure> {
        let _counted = Counted::new(&self.load);
        let stage = &self.stage;
        let task = serde_json::value::to_raw_value(task).map_err(Failure::critical)?;
        let slot = async {
            match &self.slots {
                // The semaphore is never closed.
                Some(slots) => slots.acquire().await.ok(),
                None => None,
            }
        };
        let _slot = activity.wait(format!("{stage} slot"), slot).await;
        let mut readiness = self.readiness.clone();
        let ready = activity.wait(format!("{stage} processor"), readiness.wait_for(|now| *now != Readiness::Starting)).await;
        let pid = match ready.map(|now| *now) {
            Ok(Readiness::Ready { pid }) => pid,
            _ => return Err(Failure::permanent(format!("processor {stage} has died and is not restarted (auto_restart = false)"))),
        };
        let (answer, answered) = oneshot::channel();
        let gone = || Failure::temporary(format!("processor {stage} is gone"));
        self.asks.send(Ask { task, answer }).map_err(|_| gone())?;
        let output = activity.in_processor(format!("{stage} (pid {pid})"), answered).await.map_err(|_| gone())??;
        serde_json::from_str(output.get())
            .map_err(|error| Failure::temporary(format!("processor {stage} answered with an unfitting output: {error}")))
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Counted(load.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// The task that owns the child.
struct Owner {
    stage: String,
    settings: Settings,
    inbox: mpsc::UnboundedReceiver<Ask>,
    ready: watch::Sender<Readiness>,
}

struct Running {
    child: Child,
    stdin: ChildStdin,
    lines: FramedRead<ChildStdout, LinesCodec>,
    pid: u32,
}

impl Owner {
    async fn run(mut self) {
        let mut delay = FIRST_RESTART_DELAY;
        loop {
            match self.start().await {
                Ok(running) => {
                    delay = FIRST_RESTART_DELAY;
                    self.ready.send_replace(Readiness::Ready { pid: running.pid });
                    info!(stage = self.stage, pid = running.pid, "processor ready");
                    if self.serve(running).await.is_none() {
                        return;
                    }
                    self.ready.send_replace(Readiness::Starting);
                }
                Err(error) => warn!(stage = self.stage, bin = %self.settings.bin.display(), error, "processor does not start"),
            }
            if !self.settings.auto_restart {
                warn!(stage = self.stage, "processor is not restarted (auto_restart = false)");
                self.ready.send_replace(Readiness::GaveUp);
                return;
            }
            sleep(delay).await;
            delay = (delay * 2).min(LAST_RESTART_DELAY);
        }
    }

    async fn start(&self) -> Result<Running, String> {
        let settings = &self.settings;
        let mut command = Command::new(&settings.bin);
        if !settings.inherit_envs {
            command.env_clear();
        }
        command.args(&settings.args).envs(&settings.envs);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let pid = child.id().unwrap_or_default();
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err("its pipes are missing".into());
        };
        tokio::spawn(log_lines(self.stage.clone(), pid, FramedRead::new(stderr, LinesCodec::new_with_max_length(MAX_ERROR_BYTES))));
        let mut lines = FramedRead::new(stdout, LinesCodec::new_with_max_length(MAX_LINE_BYTES));
        let expected = ready_line(&self.stage);
        match timeout(settings.stable_wait, lines.next()).await {
            Ok(Some(Ok(line))) if line.trim() == expected => Ok(Running { child, stdin, lines, pid }),
            Ok(Some(Ok(line))) => Err(format!("it printed {:?} and not {expected:?}", cut_text(&line, 200))),
            Ok(_) => Err("it ended before it was ready".into()),
            Err(_) => Err(format!("it was not ready within {} (stable_wait)", shared_msgs::cli::human(settings.stable_wait))),
        }
    }

    // `None` when the worker is gone; otherwise the process has died.
    async fn serve(&mut self, mut running: Running) -> Option<()> {
        let mut pending: HashMap<u64, oneshot::Sender<Answer>> = HashMap::new();
        let mut next_id = 0;
        let why = loop {
            tokio::select! {
                ask = self.inbox.recv() => {
                    let Ask { task, answer } = ask?;
                    let mut line = match serde_json::to_vec(&Request { id: next_id, task: &task }) {
                        Ok(line) => line,
                        Err(error) => {
                            answer.send(Err(Failure::critical(error))).ok();
                            continue;
                        }
                    };
                    line.push(b'\n');
                    pending.insert(next_id, answer);
                    next_id += 1;
                    if let Err(error) = write(&mut running.stdin, &line).await {
                        break format!("takes no more tasks: {error}");
                    }
                }
                line = running.lines.next() => match line {
                    Some(Ok(line)) => self.take_answer(&line, &mut pending),
                    Some(Err(error)) => break format!("cannot be read: {error}"),
                    None => break "has ended".to_owned(),
                },
            }
        };
        running.child.kill().await.ok();
        let status = running.child.wait().await.map(|status| status.to_string()).unwrap_or_else(|error| error.to_string());
        let message = format!("processor {} (pid {}) {why} ({status})", self.stage, running.pid);
        warn!(stage = self.stage, pid = running.pid, why, status, "processor died");
        for (_, answer) in pending {
            answer.send(Err(Failure::temporary(&message))).ok();
        }
        Some(())
    }

    fn take_answer(&self, line: &str, pending: &mut HashMap<u64, oneshot::Sender<Answer>>) {
        let response: Response = match serde_json::from_str(line) {
            Ok(response) => response,
            Err(error) => {
                warn!(stage = self.stage, %error, line = cut_text(line, 200), "processor printed a line that is no answer");
                return;
            }
        };
        let Some(answer) = pending.remove(&response.id) else {
            warn!(stage = self.stage, id = response.id, "processor answered what was not asked");
            return;
        };
        let result = match (response.err_msg, response.output) {
            (Some(message), _) => Err(Failure::permanent(cut_text(&message, MAX_ERROR_BYTES))),
            (None, Some(output)) => Ok(output),
            (None, None) => Err(Failure::temporary(format!("processor {} answered with neither output nor error", self.stage))),
        };
        // A thread that was told to stop waiting no longer listens.
        answer.send(result).ok();
    }
}

async fn write(stdin: &mut ChildStdin, line: &[u8]) -> std::io::Result<()> {
    stdin.write_all(line).await?;
    stdin.flush().await
}

async fn log_lines(stage: String, pid: u32, mut lines: FramedRead<tokio::process::ChildStderr, LinesCodec>) {
    while let Some(line) = lines.next().await {
        match line {
            Ok(line) => info!(stage, pid, "{line}"),
            Err(error) => {
                warn!(stage, pid, %error, "processor's stderr is not logged any more");
                break;
            }
        }
    }
    // A full pipe would stop the processor.
    tokio::io::copy(lines.get_mut(), &mut tokio::io::sink()).await.ok();
}
