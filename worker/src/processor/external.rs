//! One external processor: a child process that speaks the line protocol. One task owns it, starts
//! it with the worker, and starts it again when it has died.
//!
//! ```text
//!  start -> wait for the ready line -> serve -> it dies or breaks the protocol: what it has in hand fails
//!    ^                                              |
//!    +---------------- wait a little <--------------+        told to stop: its input ends, then TERM, then KILL
//!    +---------------- at once <---------------------------- an operator stops what it does: TERM, then KILL
//! ```
//! It has died when its process has ended, whoever holds its pipes. What it has in hand fails, and
//! the next one starts, only when nothing of its process group lives any more.
//!
//! A stray line, as a log's, is logged and its tasks go on. What could have been an answer is one to
//! something that it has in hand, but nobody knows to what. So it gets nothing more, answers what it can, and when nothing else is left the request is
//! failed and the process started anew: a retry must not run beside what may still write the same
//! files.
//!
//! Decisions 005, 032 in `docs/decisions`.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use damocles_client::backoff::Backoff;
use futures::{FutureExt, StreamExt};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use shared_msgs::{duration::human, text::cut_text};
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStdin, ChildStdout},
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::codec::FramedRead;
use tracing::{info, warn};

use super::{
    child::{self, Ending, Group, Program},
    desk::{Condition, Desk},
    lines::{BoundedLines, Line},
    protocol::{Request, Response, max_line_bytes, ready_line},
};
use crate::{
    activity::{StopRefusal, StopRequest, Stopper},
    failpoint,
    failure::{Failure, lacks_resources},
};

const LAST_RESTART_DELAY: Duration = Duration::from_secs(30);
pub(super) const RESTART: Backoff = Backoff::new(Duration::from_millis(200), LAST_RESTART_DELAY);
/// How long what a process printed before its end is read; the pipe's end comes sooner unless
/// somebody else holds it.
const LAST_LINES: Duration = Duration::from_millis(300);
// Of a line in the log.
const SHOWN_BYTES: usize = 200;

/// What came of a task.
pub(super) type Answer = Result<Box<RawValue>, Failure>;

/// A task for a process.
pub(super) struct Ask {
    pub(super) task: Box<RawValue>,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// One life of a processor: the way to its process.
#[derive(Clone, Debug)]
pub(super) struct Incarnation {
    pub(super) pid: u32,
    pub(super) asks: mpsc::UnboundedSender<Ask>,
    pub(super) stops: Stopper,
}

pub(super) type SharedDesk = Arc<watch::Sender<Desk<Incarnation>>>;

/// A processor's own place at the desk.
pub(super) struct Place {
    pub(super) desk: SharedDesk,
    pub(super) index: usize,
}

impl Place {
    pub(super) fn set(&self, condition: Condition<Incarnation>) {
        self.desk.send_modify(|desk| desk.set(self.index, condition));
    }
}

/// The task that owns the child.
pub(super) struct Owner {
    pub(super) stage: String,
    pub(super) program: Program,
    pub(super) stable_wait: Duration,
    pub(super) auto_restart: bool,
    pub(super) place: Place,
}

struct Running {
    group: Group,
    stdin: ChildStdin,
    lines: Lines,
    pid: u32,
}

type Lines = FramedRead<ChildStdout, BoundedLines>;

/// How a child's life ended.
enum End {
    Died { was_of_use: bool },
    StoppedByOperator,
    Stopped,
}

/// What a child has in hand.
#[derive(Default)]
struct InHand {
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    /// Lines that were the answers to some of them.
    lost: usize,
}

impl InHand {
    // How many wait for an answer beside one of them.
    fn others(&self) -> usize {
        self.answers.values().filter(|answer| !answer.is_closed()).count().saturating_sub(1)
    }
}

impl Owner {
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut backoff = RESTART;
        tokio::select! {
            () = self.program.may_start() => {}
            () = stopped(&mut stop) => return,
        }
        loop {
            failpoint::reach("task", "processor");
            let began = Instant::now();
            let mut did_not_run = false;
            let started = self.start(&mut stop).await;
            match started {
                Ok(running) => match self.serve(running, &mut stop).await {
                    End::Stopped => return,
                    // It did nothing wrong.
                    End::StoppedByOperator => {
                        backoff.reset();
                        continue;
                    }
                    End::Died { was_of_use }
                        if was_of_use || began.elapsed() > LAST_RESTART_DELAY =>
                    {
                        backoff.reset()
                    }
                    End::Died { .. } => {}
                },
                Err(_) if *stop.borrow() => return,
                Err(error) => {
                    warn!(
                        stage = self.stage,
                        bin = self.program.bin(),
                        error,
                        "processor does not start"
                    );
                    did_not_run = lacks_resources(&error);
                }
            }
            if !self.auto_restart && !did_not_run {
                warn!(
                    stage = self.stage,
                    bin = self.program.bin(),
                    "processor is not restarted (auto_restart = false)"
                );
                self.place.set(Condition::Gone);
                return stopped(&mut stop).await;
            }
            tokio::select! {
                () = sleep(backoff.pause()) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    async fn start(&self, stop: &mut watch::Receiver<bool>) -> Result<Running, String> {
        let mut group = self.program.start().map_err(|error| error.to_string())?;
        let pid = group.pid();
        let (stdin, stdout, stderr) = group.take_pipes().map_err(|error| error.to_string())?;
        tokio::spawn(child::log_lines(self.stage.clone(), pid, stderr));
        let mut lines = FramedRead::new(stdout, BoundedLines::of(max_line_bytes(&self.stage)));
        let (why, ending) = tokio::select! {
            // Lines first: what it printed before its end may say why.
            biased;
            ready = timeout(self.stable_wait, self.until_ready(&mut lines, pid)) => match ready {
                Ok(true) => return Ok(Running { group, stdin, lines, pid }),
                Ok(false) => ("it ended before it was ready".to_owned(), Ending::ByItself),
                Err(_) => {
                    let expected = ready_line(&self.stage);
                    let why = format!("it did not print {expected:?} within {} (stable_wait)", human(self.stable_wait));
                    (why, Ending::Killed)
                }
            },
            () = group.leader_ended() => ("it ended before it was ready".to_owned(), Ending::Killed),
            () = stopped(stop) => ("it is stopped with the worker".to_owned(), Ending::ByItself),
        };
        drop(stdin);
        Err(format!("{why} ({})", group.end(ending).await.words()))
    }

    // Some programs greet before.
    async fn until_ready(&self, lines: &mut Lines, pid: u32) -> bool {
        let expected = ready_line(&self.stage);
        while let Some(Ok(line)) = lines.next().await {
            match line {
                Ok(line) if line.trim() == expected => return true,
                Ok(line) => {
                    info!(
                        stage = self.stage,
                        pid,
                        "before it was ready: {}",
                        cut_text(&line, SHOWN_BYTES)
                    )
                }
                Err(error) => {
                    info!(stage = self.stage, pid, %error, "before it was ready: a line that is not shown")
                }
            }
        }
        false
    }

    async fn serve(&self, running: Running, stop: &mut watch::Receiver<bool>) -> End {
        let Running { group, stdin, mut lines, pid } = running;
        let (asks, mut inbox) = mpsc::unbounded_channel();
        let (stops, mut stop_requests) = mpsc::unbounded_channel::<StopRequest>();
        // A task of its own: a child that does not read must not keep its answers from being read.
        let (input, tasks) = mpsc::unbounded_channel();
        let mut writer = tokio::spawn(write_all(stdin, tasks)).fuse();
        let mut in_hand = InHand::default();
        let mut next_id = 0;
        let mut was_of_use = false;
        let mut leader_ended = std::pin::pin!(group.leader_ended());
        info!(stage = self.stage, pid, "processor ready");
        self.place.set(Condition::Ready(Incarnation { pid, asks, stops }));
        let (why, ending) = loop {
            tokio::select! {
                // Lines before tasks: what was printed before a task cannot be about it. Tasks
                // before stops: what was sent before a stop is in hand by then.
                biased;
                () = stopped(stop) => break ("is stopped with the worker".to_owned(), Ending::ByItself),
                line = lines.next() => match line {
                    Some(Ok(line)) => was_of_use |= self.take_line(line, pid, &mut in_hand),
                    Some(Err(error)) => break (format!("cannot be read: {error}"), Ending::Killed),
                    None => break ("has closed its output".to_owned(), Ending::ByItself),
                },
                () = &mut leader_ended => {
                    let until = Instant::now() + LAST_LINES;
                    while let Ok(Some(Ok(line))) = timeout_at(until, lines.next()).await {
                        was_of_use |= self.take_line(line, pid, &mut in_hand);
                    }
                    break ("has ended".to_owned(), Ending::Killed);
                }
                Ok(Err(error)) = &mut writer => break (format!("takes no more tasks: {error}"), Ending::ByItself),
                Some(Ask { task, answer }) = inbox.recv() => match request_line(next_id, &task) {
                    Ok(line) => {
                        in_hand.answers.insert(next_id, answer);
                        next_id += 1;
                        // A writer that has ended says so above.
                        input.send(line).ok();
                    }
                    Err(failure) => drop(answer.send(Err(failure))),
                },
                Some(request) = stop_requests.recv() => {
                    // Whoever asks is one of them: its task came before.
                    let others = in_hand.others();
                    if others == 0 {
                        info!(stage = self.stage, pid, "stopped by an operator");
                        request.send(Ok(())).ok();
                        break ("was stopped by an operator".to_owned(), Ending::Asked);
                    }
                    request.send(Err(StopRefusal { others })).ok();
                }
            }
            if in_hand.lost > 0 {
                self.place.set(Condition::Away);
                if in_hand.answers.len() <= in_hand.lost {
                    break ("printed a line that is no answer".to_owned(), Ending::Killed);
                }
            }
        };
        self.place.set(Condition::Away);
        drop(input);
        let ended = group.end(ending).await;
        let stopping = *stop.borrow();
        let status = ended.words();
        let why = if ended.by_itself && ending == Ending::ByItself && !stopping {
            "has ended".to_owned()
        } else {
            why
        };
        if !stopping && ending != Ending::Asked {
            warn!(
                stage = self.stage,
                pid,
                why,
                status,
                in_hand = in_hand.answers.len(),
                "processor died"
            );
        }
        let end = if ended.by_itself || stopping || ending == Ending::Asked {
            status
        } else {
            "so it was ended".to_owned()
        };
        let failure =
            Failure::temporary(format!("processor {} (pid {pid}) {why} ({end})", self.stage));
        inbox.close();
        let asked = std::iter::from_fn(|| inbox.try_recv().ok()).map(|ask| ask.answer);
        for answer in in_hand.answers.into_values().chain(asked) {
            answer.send(Err(failure.clone())).ok();
        }
        match ending {
            _ if stopping => End::Stopped,
            Ending::Asked => End::StoppedByOperator,
            Ending::ByItself | Ending::Killed => End::Died { was_of_use },
        }
    }

    // Returns whether it was an answer.
    fn take_line(&self, line: Line, pid: u32, in_hand: &mut InHand) -> bool {
        let stage = &self.stage;
        let read = line.map_err(|error| (error.to_string(), None)).and_then(|line| {
            serde_json::from_str::<Response<Box<RawValue>>>(&line)
                .map_err(|error| (error.to_string(), Some(line)))
        });
        let response = match read {
            Ok(response) => response,
            Err((error, line)) if line.as_deref().is_some_and(is_stray) => {
                let line = line.map(|line| cut_text(&line, SHOWN_BYTES));
                info!(
                    stage,
                    pid, error, line, "processor printed a line that is no answer, and goes on"
                );
                return false;
            }
            Err((error, line)) => {
                warn!(
                    stage,
                    pid,
                    error,
                    line = line.map(|line| cut_text(&line, SHOWN_BYTES)),
                    in_hand = in_hand.answers.len(),
                    "processor printed a line that is no answer"
                );
                // While it has nothing to do it has nothing to answer either.
                in_hand.lost += usize::from(!in_hand.answers.is_empty());
                return false;
            }
        };
        let Some(answer) = in_hand.answers.remove(&response.id) else {
            warn!(
                stage,
                pid,
                id = response.id,
                "processor answered what it was not asked, or has answered before"
            );
            return false;
        };
        // A thread that was told to stop waiting no longer listens.
        answer.send(response.into_result(stage)).ok();
        true
    }
}

// Whether a line was never meant as an answer: it is no object, or a whole one without the number
// of a task. Half an object may be half an answer.
fn is_stray(line: &str) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "id")]
        _id: u64,
    }
    let is_whole = serde_json::from_str::<IgnoredAny>(line).is_ok();
    match serde_json::from_str::<Answer>(line) {
        Ok(_) => false,
        Err(_) => is_whole || !line.contains('{'),
    }
}

fn request_line(id: u64, task: &RawValue) -> Result<Vec<u8>, Failure> {
    let mut line = serde_json::to_vec(&Request { id, task }).map_err(Failure::critical)?;
    line.push(b'\n');
    Ok(line)
}

async fn write_all(
    mut stdin: ChildStdin,
    mut lines: mpsc::UnboundedReceiver<Vec<u8>>,
) -> io::Result<()> {
    while let Some(line) = lines.recv().await {
        stdin.write_all(&line).await?;
        stdin.flush().await?;
    }
    Ok(())
}

/// A worker that is gone without a word has stopped too.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.map(drop).ok();
}
