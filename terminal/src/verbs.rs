//! The commands for one worker, from their options to what is printed. Both command-line tools have
//! them; they differ in how the worker and its threads are named.

use std::time::Duration;

use clap::Args;
use damocles_client::{
    caller,
    worker_client::{
        Via, WorkerClient,
        goals::{OneThread, Pausing, Resuming},
    },
};
use serde::Serialize;
use shared_msgs::{
    command::{BulkReply, CommandReply, CommandRequest, ThreadResult, Verb},
    selector::Selector,
    snapshot::ThreadSnapshot,
};

use crate::{
    CliError, Exit, ReplyOutput,
    confirm::{self, ForceArgs, given_up},
    counted, jsonl, print, print_done,
    said::{self, Fate, activity, sentence, thread_name},
    unanswered::unanswered,
    waiting::{Board, GoalInWords, reach},
};

/// Who gives a command.
#[derive(Args, Clone, Debug, Default)]
pub struct ByArgs {
    /// Who gives the command, for the log and the history: NAME, or NAME@HOST [default: who ran sudo
    /// or doas, else the user]
    #[arg(long, env = "DAMOCLES_BY", value_name = "NAME", value_parser = caller::named)]
    pub by: Option<String>,
}

/// What every command takes.
#[derive(Args, Clone, Debug, Default)]
pub struct OrderArgs {
    /// Say what would be done; do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Why, for the worker's log and history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Who.
    #[command(flatten)]
    pub by: ByArgs,
    /// Whom to ask: for whoever may ask managers only
    #[arg(
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "worker|manager"
    )]
    pub via: Via,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

impl OrderArgs {
    /// The request with what every command says.
    pub fn sign(&self, request: CommandRequest) -> CommandRequest {
        let OrderArgs { dry_run, reason, by, .. } = self.clone();
        CommandRequest { dry_run, reason, by: by.by, ..request }
    }
}

/// Whether to wait for what a command leads to.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct WaitArgs {
    /// Return when it has come about: as long as that takes, or exit 6 when DURATION has passed
    /// before
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = humantime::parse_duration, conflicts_with = "dry_run")]
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

impl SteerArgs {
    /// Refuses what makes sense for one thread only, where these are several.
    pub fn check(&self, indexes: &[u32]) -> Result<(), CliError> {
        if indexes.len() == 1 { Ok(()) } else { self.for_many() }
    }

    /// Refuses what makes sense for one thread only.
    pub fn for_many(&self) -> Result<(), CliError> {
        let wrong = match (self.if_revision, self.wait.wait) {
            (Some(_), _) => "--if-revision is for one thread: a revision is one thread's",
            (_, Some(_)) => "--wait is for one thread: name it by its index",
            (None, None) => return Ok(()),
        };
        Err(CliError::new(Exit::Usage, wrong).hint("see --help"))
    }
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

/// Where threads go on from, and whether that has to be agreed to first.
#[derive(Clone, Debug)]
pub struct NextState {
    state: Option<String>,
    ask: bool,
}

impl NextState {
    /// The state that was typed; none is the one that a thread is in. An error where sectors would
    /// be given up, and nobody can be asked.
    pub fn new(
        state: Option<String>,
        force: ForceArgs,
        order: &OrderArgs,
    ) -> Result<NextState, CliError> {
        let ask = confirm::is_needed_for(state.as_deref(), force, order.dry_run)?;
        Ok(NextState { state, ask })
    }
}

/// Pauses threads, and prints what came of it.
pub async fn pause(
    worker: &WorkerClient,
    indexes: &[u32],
    now: NowArgs,
    steer: SteerArgs,
) -> Result<(), CliError> {
    let request = CommandRequest { now: now.now, ..CommandRequest::default() };
    match indexes {
        [index] => {
            let request = CommandRequest { index: Some(*index), ..request };
            give(worker, Verb::Pause, request, Pausing, steer).await
        }
        _ => give_some(worker, Verb::Pause, request, indexes, steer.order).await.map(drop),
    }
}

/// Resumes threads, and prints what came of it. Whoever gives sectors up at a terminal is asked
/// first.
pub async fn resume(
    worker: &WorkerClient,
    indexes: &[u32],
    next: NextState,
    steer: SteerArgs,
) -> Result<(), CliError> {
    let NextState { state, ask } = next;
    let request = CommandRequest { state, ..CommandRequest::default() };
    match indexes {
        [index] => {
            let mut request =
                CommandRequest { index: Some(*index), if_revision: steer.if_revision, ..request };
            if ask {
                // The thread that was shown, or none.
                request.if_revision = Some(agreed(worker, &request).await?);
            }
            give(worker, Verb::Resume, request, Resuming, steer).await
        }
        _ => {
            if ask {
                all_agreed(worker, &request, indexes).await?;
            }
            give_some(worker, Verb::Resume, request, indexes, steer.order).await.map(drop)
        }
    }
}

// Asks before a thread gives its sector up, and returns the revision at which it would.
async fn agreed(worker: &WorkerClient, request: &CommandRequest) -> Result<u64, CliError> {
    let request = CommandRequest { dry_run: true, ..request.clone() };
    let would = worker.order(Verb::Resume, request).await;
    let would = would.map_err(|error| unanswered(&worker.worker, &error))?;
    if let Some(sector) = given_up(&would.outcome, would.sector_id.as_deref()) {
        confirm::ask_giving_up(&[sector.to_owned()]).await?;
    }
    Ok(would.revision)
}

async fn all_agreed(
    worker: &WorkerClient,
    request: &CommandRequest,
    indexes: &[u32],
) -> Result<(), CliError> {
    let request = CommandRequest { dry_run: true, ..selecting(indexes, request.clone()) };
    let would = worker.order_many(Verb::Resume, request).await;
    let would = would.map_err(|error| unanswered(&worker.worker, &error))?;
    match lost(&would.threads) {
        sectors if sectors.is_empty() => Ok(()),
        sectors => confirm::ask_giving_up(&sectors).await,
    }
}

/// The sectors that these threads give up.
pub fn lost<'a>(threads: impl IntoIterator<Item = &'a ThreadResult>) -> Vec<String> {
    let sector = |thread: &ThreadResult| {
        given_up(thread.outcome.as_ref()?, thread.sector_id.as_deref()).map(str::to_owned)
    };
    threads.into_iter().filter_map(sector).collect()
}

async fn give<G: GoalInWords + AsRef<OneThread>>(
    worker: &WorkerClient,
    verb: Verb,
    request: CommandRequest,
    goal: impl FnOnce(OneThread) -> G,
    steer: SteerArgs,
) -> Result<(), CliError> {
    let SteerArgs { if_revision, wait, order } = steer;
    let request = order.sign(request);
    let request = CommandRequest { if_revision: request.if_revision.or(if_revision), ..request };
    let output = order.output;
    // Before the command, or what it leads to at once would be missed.
    let follow = match wait.wait {
        Some(_) => Some(worker.follow().await?),
        None => None,
    };
    let reply =
        worker.order(verb, request).await.map_err(|error| unanswered(&worker.worker, &error))?;
    let sentence = sentence(&reply, order.dry_run);
    let Some((patience, mut follow)) = wait.wait.zip(follow) else {
        return print_done(&reply, &sentence, output);
    };
    // A document comes when it is whole.
    if output == ReplyOutput::Plain {
        print_done(&reply, &sentence, output)?;
    }
    let mut goal = goal(OneThread::of(&reply));
    let reached = reach(&mut goal, &mut follow, patience, &Board::start()).await;
    let thread = goal.as_ref().last.as_ref();
    match (output, &reached, thread) {
        (ReplyOutput::Plain, Ok(()), Some(thread)) => {
            print_done(&reply, &activity(thread, Duration::ZERO), output)?
        }
        (ReplyOutput::Plain, ..) => {}
        _ => print_done(&Waited { reply: &reply, thread }, "", output)?,
    }
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
    give_some(worker, verb, CommandRequest::default(), indexes, order).await.map(drop)
}

/// Gives a command to threads of this worker, all of them if none is named; prints what came of it,
/// and returns what each did. An error if one of them failed, or is not there.
pub(crate) async fn give_some(
    worker: &WorkerClient,
    verb: Verb,
    request: CommandRequest,
    indexes: &[u32],
    order: OrderArgs,
) -> Result<Vec<ThreadResult>, CliError> {
    let reply = worker
        .order_many(verb, selecting(indexes, order.sign(request)))
        .await
        .map_err(|error| unanswered(&worker.worker, &error))?;
    print_many(verb, &reply, &order)?;
    all_done(worker, verb, indexes, &reply)?;
    Ok(reply.threads)
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
        failed if reply.dry_run => Err(CliError::new(
            Exit::Failed,
            format!("worker {}: {failed} of {all} would fail; nothing was done", worker.worker),
        )),
        failed => Err(CliError::new(
            Exit::Failed,
            format!("worker {}: {failed} of {all} failed", worker.worker),
        )),
    }
}

/// The failure, with the worker's name before it.
pub(crate) fn named(worker: &WorkerClient, error: CliError) -> CliError {
    CliError { message: format!("worker {}: {}", worker.worker, error.message), ..error }
}

fn selecting(indexes: &[u32], request: CommandRequest) -> CommandRequest {
    let selector =
        Selector { all: indexes.is_empty(), index: indexes.to_vec(), ..Selector::default() };
    CommandRequest { selector: Some(selector), ..request }
}

fn print_many(verb: Verb, reply: &BulkReply, order: &OrderArgs) -> Result<(), CliError> {
    let output = order.output;
    if output == ReplyOutput::Jsonl {
        return print(&jsonl(&reply.threads)?);
    }
    let line = |thread: &ThreadResult| {
        let name = thread_name(thread.index, thread.sector_id.as_deref());
        format!("{name}: {}", said::result(verb, thread, order.dry_run))
    };
    match output {
        ReplyOutput::Plain => {
            reply.threads.iter().try_for_each(|thread| print_done(thread, &line(thread), output))
        }
        _ => print_done(reply, "", output),
    }
}
