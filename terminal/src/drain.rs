//! Draining: a cordon, and waiting until the threads have no sector in hand.

use std::time::Duration;

use clap::Args;
use damocles_client::worker_client::{WorkerClient, goals::Emptying};
use futures::future::join_all;
use shared_msgs::command::{CommandRequest, ThreadResult, Verb};

use crate::{
    CliError, counted, note,
    verbs::{OrderArgs, Threads, give_many, named},
    waiting::{Board, reach},
};

/// How long a drain waits.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct DrainWaitArgs {
    /// Wait at most so long: exit 6 when DURATION has passed before every thread is empty [default:
    /// as long as it takes]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = humantime::parse_duration, conflicts_with = "dry_run")]
    pub wait: Option<Option<Duration>>,
    /// Return as soon as the threads are cordoned: they may still have a sector in hand
    #[arg(long, conflicts_with = "wait")]
    pub detach: bool,
}

/// A worker, and those of its threads that were cordoned.
pub type Cordoned = (WorkerClient, Vec<ThreadResult>);

/// Cordons threads of this worker, and waits until they are empty.
pub async fn drain(
    worker: &WorkerClient,
    threads: &Threads,
    wait: DrainWaitArgs,
    order: OrderArgs,
) -> Result<(), CliError> {
    let dry_run = order.dry_run;
    let (verb, request) = ((Verb::Cordon, "drain"), CommandRequest::default());
    let threads = give_many(worker, verb, request, threads, order).await?;
    if dry_run { Ok(()) } else { wait.until_empty(vec![(worker.clone(), threads)]).await }
}

impl DrainWaitArgs {
    /// Waits until all these threads are empty, unless it is told not to.
    pub async fn until_empty(self, cordoned: Vec<Cordoned>) -> Result<(), CliError> {
        // A thread that no longer fitted, or did not do it, does not get empty by this.
        let threads = cordoned.into_iter().map(|(worker, mut threads)| {
            threads.retain(|thread| thread.outcome.is_some());
            (worker, threads)
        });
        let cordoned: Vec<_> = threads.filter(|(_, threads)| !threads.is_empty()).collect();
        if self.detach || cordoned.is_empty() {
            return Ok(());
        }
        let threads: usize = cordoned.iter().map(|(_, threads)| threads.len()).sum();
        let who = match &cordoned[..] {
            [(worker, _)] => format!("worker {}", worker.worker),
            workers => counted(workers.len(), "worker"),
        };
        let board = Board::start();
        let emptied = cordoned.iter().map(|(worker, threads)| self.one(&board, worker, threads));
        let failed: Vec<_> = join_all(emptied).await.into_iter().filter_map(Result::err).collect();
        drop(board);
        let threads = counted(threads, "thread");
        let mut failed = failed.into_iter();
        let Some(first) = failed.next() else {
            note(&format!(
                "{who}: drained; {threads} without a sector, and cordoned until `uncordon`"
            ));
            return Ok(());
        };
        // The last word is the first one's, whose exit code it is.
        failed.for_each(|error| note(&error.message));
        Err(first)
    }

    async fn one(
        &self,
        board: &Board,
        worker: &WorkerClient,
        threads: &[ThreadResult],
    ) -> Result<(), CliError> {
        let threads = threads.iter().map(|thread| (thread.index, thread.revision.unwrap_or(0)));
        let mut goal = Emptying::new(threads);
        // It asks for the worker's state first: what a cordon leads to at once is not missed.
        let mut follow = worker.follow().await?;
        let reached = reach(&mut goal, &mut follow, self.wait.flatten(), board).await;
        reached.map_err(|error| named(worker, error))
    }
}
