//! The commands for one worker, from their options to what is printed. Both command-line tools have
//! them; they differ in how the worker and its threads are named.

use std::time::Duration;

use clap::Args;
use damocles_client::worker_client::{
    WorkerClient,
    goals::{Emptying, OneThread, Pausing, Resuming},
};
use serde::Serialize;
use shared_msgs::{
    command::{BulkReply, CommandReply, CommandRequest, ThreadResult, Verb},
    selector::Selector,
    snapshot::ThreadSnapshot,
};

use crate::{
    CliError, Exit, ReplyOutput, counted, jsonl, note, print, print_done,
    said::{self, Fate, activity, sentence, thread_name},
    unanswered::unanswered,
    waiting::{GoalInWords, reach},
};

/// What every command takes.
#[derive(Args, Clone, Debug, Default)]
pub struct OrderArgs {
    /// Why, for the worker's log and history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

/// Whether to wait for what a command leads to.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct WaitArgs {
    /// Return when it has come about: as long as that takes, or exit 6 when DURATION has passed
    /// before
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = humantime::parse_duration)]
    pub wait: Option<Option<Duration>>,
    /// Return as soon as the worker has answered; this is the default
    #[arg(long, conflicts_with = "wait")]
    pub detach: bool,
}

/// What pausing and resuming a thread take.
#[derive(Args, Clone, Debug, Default)]
pub struct SteerArgs {
    /// Act only on a thread at this revision, as the wide form of the list of threads shows it
    #[arg(long, value_name = "N")]
    pub if_revision: Option<u64>,
    /// Until it has come about.
    #[command(flatten)]
    pub wait: WaitArgs,
    /// Why, and what to print.
    #[command(flatten)]
    pub order: OrderArgs,
}

/// Not after the stage, but now.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct NowArgs {
    /// Stop a running external processor instead of waiting for its stage to end; the stage begins
    /// anew on resume
    #[arg(long)]
    pub now: bool,
}

// A reply, and how the thread stood in the end.
#[derive(Serialize)]
struct Waited<'a> {
    #[serde(flatten)]
    reply: &'a CommandReply,
    thread: Option<&'a ThreadSnapshot>,
}

/// Pauses a thread, and prints what came of it.
pub async fn pause(
    worker: &WorkerClient,
    index: u32,
    now: NowArgs,
    steer: SteerArgs,
) -> Result<(), CliError> {
    let request = CommandRequest { now: now.now, ..CommandRequest::to(index) };
    give(worker, Verb::Pause, request, Pausing, steer).await
}

/// Resumes a thread, in `state` if one is given, and prints what came of it.
pub async fn resume(
    worker: &WorkerClient,
    index: u32,
    state: Option<String>,
    steer: SteerArgs,
) -> Result<(), CliError> {
    give(
        worker,
        Verb::Resume,
        CommandRequest { state, ..CommandRequest::to(index) },
        Resuming,
        steer,
    )
    .await
}

async fn give<G: GoalInWords + AsRef<OneThread>>(
    worker: &WorkerClient,
    verb: Verb,
    request: CommandRequest,
    goal: impl FnOnce(OneThread) -> G,
    steer: SteerArgs,
) -> Result<(), CliError> {
    let SteerArgs { if_revision, wait, order: OrderArgs { reason, output } } = steer;
    let request = CommandRequest { if_revision, reason, ..request };
    let Some(patience) = wait.wait else {
        let reply = worker
            .order(verb, request)
            .await
            .map_err(|error| unanswered(&worker.worker, &error))?;
        return print_done(&reply, &sentence(&reply), output);
    };
    // Before the command, or what it leads to at once would be missed.
    let mut follow = worker.follow().await?;
    let reply =
        worker.order(verb, request).await.map_err(|error| unanswered(&worker.worker, &error))?;
    let mut goal = goal(OneThread::of(&reply));
    let reached = reach(&mut goal, &mut follow, patience).await;
    let thread = goal.as_ref().last.as_ref();
    // Where it did not come about, what was done is said: the command stays in effect.
    let words = match (&reached, thread) {
        (Ok(()), Some(thread)) => activity(thread, Duration::ZERO),
        _ => sentence(&reply),
    };
    print_done(&Waited { reply: &reply, thread }, &words, output)?;
    reached.map_err(|error| named(worker, error))
}

/// Cordons threads of this worker, or ends that; all of them if none is named. Prints what came
/// of it.
pub async fn cordon(
    worker: &WorkerClient,
    verb: Verb,
    indexes: &[u32],
    order: OrderArgs,
) -> Result<(), CliError> {
    let reply = worker
        .order_many(verb, selecting(indexes, order.reason))
        .await
        .map_err(|error| unanswered(&worker.worker, &error))?;
    print_many(verb, &reply, order.output)?;
    all_done(worker, verb, indexes, &reply)
}

/// Cordons threads of this worker, and waits until they are empty if it is asked to.
pub async fn drain(
    worker: &WorkerClient,
    indexes: &[u32],
    wait: WaitArgs,
    order: OrderArgs,
) -> Result<(), CliError> {
    let Some(patience) = wait.wait else {
        return cordon(worker, Verb::Cordon, indexes, order).await;
    };
    let mut follow = worker.follow().await?;
    let reply = worker
        .order_many(Verb::Cordon, selecting(indexes, order.reason))
        .await
        .map_err(|error| unanswered(&worker.worker, &error))?;
    print_many(Verb::Cordon, &reply, order.output)?;
    all_done(worker, Verb::Cordon, indexes, &reply)?;
    let mut goal = Emptying::new(
        reply.threads.iter().map(|thread| (thread.index, thread.revision.unwrap_or(0))),
    );
    reach(&mut goal, &mut follow, patience).await.map_err(|error| named(worker, error))?;
    let empty = counted(reply.threads.len(), "thread");
    note(&format!(
        "worker {}: drained; {empty} without a sector, and cordoned until `uncordon`",
        worker.worker
    ));
    Ok(())
}

// Threads that are not there, or did not do it, are failures.
fn all_done(
    worker: &WorkerClient,
    verb: Verb,
    indexes: &[u32],
    reply: &BulkReply,
) -> Result<(), CliError> {
    let absent =
        indexes.iter().find(|index| reply.threads.iter().all(|thread| thread.index != **index));
    if let Some(index) = absent {
        return Err(CliError::new(
            Exit::NotFound,
            format!("worker {}: there is no thread {index}", worker.worker),
        ));
    }
    let failed =
        reply.threads.iter().filter(|thread| said::fate(verb, thread) == Fate::Failed).count();
    let all = counted(reply.threads.len(), "thread");
    match failed {
        0 => Ok(()),
        failed => Err(CliError::new(
            Exit::Failed,
            format!("worker {}: {failed} of {all} failed", worker.worker),
        )),
    }
}

fn named(worker: &WorkerClient, error: CliError) -> CliError {
    CliError { message: format!("worker {}: {}", worker.worker, error.message), ..error }
}

fn selecting(indexes: &[u32], reason: Option<String>) -> CommandRequest {
    let selector =
        Selector { all: indexes.is_empty(), index: indexes.to_vec(), ..Selector::default() };
    CommandRequest { reason, ..CommandRequest::to_all(selector) }
}

fn print_many(verb: Verb, reply: &BulkReply, output: ReplyOutput) -> Result<(), CliError> {
    if output == ReplyOutput::Jsonl {
        return print(&jsonl(&reply.threads)?);
    }
    let line = |thread: &ThreadResult| {
        let name = thread_name(thread.index, thread.sector_id.as_deref());
        format!("{name}: {}", said::result(verb, thread))
    };
    match output {
        ReplyOutput::Plain => {
            reply.threads.iter().try_for_each(|thread| print_done(thread, &line(thread), output))
        }
        _ => print_done(reply, "", output),
    }
}
