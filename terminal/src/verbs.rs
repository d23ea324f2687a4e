//! The commands for one worker, from their options to what is printed. Both command-line tools have
//! them; they differ in how the worker and its threads are named.

mod many;

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
    command::{CommandReply, CommandRequest, ThreadResult, Verb},
    snapshot::ThreadSnapshot,
};

pub use self::many::Threads;
use self::many::agreed_to_lose;
pub(crate) use self::many::give_many;
use crate::{
    CliError, Exit, ReplyOutput,
    confirm::{self, ForceArgs, given_up},
    print_done,
    said::{activity, sentence},
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
    /// Refuses what makes sense for one thread only, where these may be several.
    pub fn check(&self, threads: &Threads) -> Result<(), CliError> {
        threads.one().map_or_else(|| self.for_many(), |_| Ok(()))
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
    threads: &Threads,
    now: NowArgs,
    steer: SteerArgs,
) -> Result<(), CliError> {
    let request = CommandRequest { now: now.now, ..CommandRequest::default() };
    match threads.one() {
        Some(index) => {
            let request = CommandRequest { index: Some(index), ..request };
            give(worker, Verb::Pause, request, Pausing, steer).await
        }
        None => {
            let verb = (Verb::Pause, "pause");
            give_many(worker, verb, request, threads, steer.order).await.map(drop)
        }
    }
}

/// Resumes threads, and prints what came of it. Whoever gives sectors up at a terminal is asked
/// first.
pub async fn resume(
    worker: &WorkerClient,
    threads: &Threads,
    next: NextState,
    steer: SteerArgs,
) -> Result<(), CliError> {
    let NextState { state, ask } = next;
    let request = CommandRequest { state, ..CommandRequest::default() };
    match threads.one() {
        Some(index) => {
            let mut request =
                CommandRequest { index: Some(index), if_revision: steer.if_revision, ..request };
            if ask {
                // The thread that was shown, or none.
                request.if_revision = Some(agreed(worker, &request).await?);
            }
            give(worker, Verb::Resume, request, Resuming, steer).await
        }
        None => {
            if ask {
                agreed_to_lose(worker, &request, threads).await?;
            }
            let verb = (Verb::Resume, "resume");
            give_many(worker, verb, request, threads, steer.order).await.map(drop)
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

/// Cordons threads of this worker, or ends that. Prints what came of it.
pub async fn cordon(
    worker: &WorkerClient,
    verb: Verb,
    threads: &Threads,
    order: OrderArgs,
) -> Result<(), CliError> {
    let request = CommandRequest::default();
    give_many(worker, (verb, verb.name()), request, threads, order).await.map(drop)
}

/// The failure, with the worker's name before it.
pub(crate) fn named(worker: &WorkerClient, error: CliError) -> CliError {
    CliError { message: format!("worker {}: {}", worker.worker, error.message), ..error }
}
