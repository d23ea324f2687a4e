//! One command for several threads of a worker: those that are named have to be there before any of
//! them acts, and somebody at a terminal is asked where nobody has named them.

use std::collections::BTreeSet;

use damocles_client::worker_client::{OrderError, WorkerClient};
use shared_msgs::{
    command::{BulkReply, CommandRequest, ThreadResult, Verb},
    selector::Selector,
};

use super::{OrderArgs, lost};
use crate::{
    CliError, Exit, ReplyOutput,
    confirm::{self, ForceArgs},
    counted, jsonl, listed, print, print_done, printable,
    said::{self, Fate, thread_name},
    say,
    unanswered::unanswered,
};

/// Threads of one worker.
#[derive(Clone, Debug)]
pub struct Threads {
    selector: Selector,
    shown_first: bool,
}

impl Threads {
    /// Those of these indexes; all of them if there are none.
    pub fn named(indexes: Vec<u32>) -> Threads {
        let all = indexes.is_empty();
        let selector = Selector { all, index: indexes, ..Selector::default() };
        Threads { selector, shown_first: false }
    }

    /// Those that a selector selects. One of indexes alone names them; which any other one selects
    /// is shown at a terminal, and agreed to, before they act.
    pub fn selected(selector: Selector, force: ForceArgs, order: &OrderArgs) -> Threads {
        let names_all = named_by_index(&selector);
        let shown_first = !names_all && !force.force && !order.dry_run && confirm::is_possible();
        Threads { selector, shown_first }
    }

    /// The thread, if it is one that is named.
    pub fn one(&self) -> Option<u32> {
        match self.selector.index[..] {
            [index] if named_by_index(&self.selector) => Some(index),
            _ => None,
        }
    }

    /// The request for them.
    fn request(&self, request: CommandRequest) -> CommandRequest {
        CommandRequest { selector: Some(self.selector.clone()), ..request }
    }

    // A worker's threads are the same for as long as it runs, so that none of them acts if one is
    // missing. A single one that is missing does nothing anyway.
    async fn are_there(&self, worker: &WorkerClient) -> Result<(), CliError> {
        if self.selector.index.len() < 2 {
            return Ok(());
        }
        let snapshot = worker
            .list()
            .await
            .map_err(|error| unanswered(&worker.worker, &OrderError::NotSent(Box::new(error))))?;
        let missing = self.missing(snapshot.threads.iter().map(|thread| thread.index));
        if missing.is_empty() {
            return Ok(());
        }
        let threads = snapshot.threads.len();
        let and = format!(": it has {threads}, numbered from 0; nothing was done");
        Err(absent(worker, &missing, &and))
    }

    // The indexes that are named and not among these.
    fn missing(&self, there: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let there: BTreeSet<u32> = there.into_iter().collect();
        self.selector.index.iter().filter(|index| !there.contains(index)).copied().collect()
    }
}

// Nothing else than indexes says which threads are meant.
fn named_by_index(selector: &Selector) -> bool {
    *selector == Selector { index: selector.index.clone(), ..Selector::default() }
}

fn absent(worker: &WorkerClient, missing: &[u32], and: &str) -> CliError {
    let missing = match missing {
        [index] => format!("there is no thread {index}"),
        indexes => format!("there are no threads {}", listed(indexes)),
    };
    CliError::new(Exit::NotFound, format!("worker {}: {missing}{and}", worker.worker))
}

/// Gives a command to threads of this worker; prints what came of it, and returns what each did. An
/// error if one of them failed, or is not there. `name` is the command's for people.
pub(crate) async fn give_many(
    worker: &WorkerClient,
    (verb, name): (Verb, &str),
    request: CommandRequest,
    threads: &Threads,
    order: OrderArgs,
) -> Result<Vec<ThreadResult>, CliError> {
    threads.are_there(worker).await?;
    let request = threads.request(order.sign(request));
    let agreed = match threads.shown_first {
        true => agreed(worker, (verb, name), &request).await?,
        false => None,
    };
    let reply = match agreed {
        Some(nothing_changes) => nothing_changes,
        None => {
            let reply = worker.order_many(verb, request).await;
            reply.map_err(|error| unanswered(&worker.worker, &error))?
        }
    };
    print_many(verb, &reply, &order)?;
    all_done(worker, verb, threads, &reply)?;
    Ok(reply.threads)
}

// Shows what would be done, and asks. Where nothing would change there is nothing to ask, and that
// is the answer.
async fn agreed(
    worker: &WorkerClient,
    (verb, name): (Verb, &str),
    request: &CommandRequest,
) -> Result<Option<BulkReply>, CliError> {
    let would = would(worker, verb, request.clone()).await?;
    let changes = |thread: &&ThreadResult| matches!(said::fate(verb, thread), Fate::Changed(_));
    let changing = would.threads.iter().filter(changes).count();
    if changing == 0 {
        return Ok(Some(would));
    }
    let lines = would.threads.iter().map(|thread| printable(&line(verb, thread, true)) + "\n");
    say(&lines.collect::<String>());
    match lost(&would.threads) {
        sectors if sectors.is_empty() => {
            let (first, rest) = name.split_at(1);
            let first = first.to_uppercase();
            confirm::ask(&format!("{first}{rest} {}?", counted(changing, "thread"))).await?
        }
        sectors => confirm::ask_giving_up(&sectors).await?,
    }
    Ok(None)
}

/// Asks before threads that are named give sectors up.
pub(super) async fn agreed_to_lose(
    worker: &WorkerClient,
    request: &CommandRequest,
    threads: &Threads,
) -> Result<(), CliError> {
    // Whoever is shown what is selected is asked then.
    if threads.shown_first {
        return Ok(());
    }
    threads.are_there(worker).await?;
    let would = would(worker, Verb::Resume, threads.request(request.clone())).await?;
    match lost(&would.threads) {
        sectors if sectors.is_empty() => Ok(()),
        sectors => confirm::ask_giving_up(&sectors).await,
    }
}

async fn would(
    worker: &WorkerClient,
    verb: Verb,
    request: CommandRequest,
) -> Result<BulkReply, CliError> {
    let request = CommandRequest { dry_run: true, ..request };
    let would = worker.order_many(verb, request).await;
    would.map_err(|error| unanswered(&worker.worker, &error))
}

// Threads that are not there, or did not do it, are failures.
fn all_done(
    worker: &WorkerClient,
    verb: Verb,
    threads: &Threads,
    reply: &BulkReply,
) -> Result<(), CliError> {
    if named_by_index(&threads.selector) {
        // The worker may have been started anew with fewer of them.
        let missing = threads.missing(reply.threads.iter().map(|thread| thread.index));
        if !missing.is_empty() {
            return Err(absent(worker, &missing, ""));
        }
    }
    if reply.threads.is_empty() {
        let none = format!("worker {}: no thread is selected", worker.worker);
        return Err(CliError::new(Exit::NotFound, none));
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

fn line(verb: Verb, thread: &ThreadResult, dry_run: bool) -> String {
    let name = thread_name(thread.index, thread.sector_id.as_deref());
    format!("{name}: {}", said::result(verb, thread, dry_run))
}

fn print_many(verb: Verb, reply: &BulkReply, order: &OrderArgs) -> Result<(), CliError> {
    let output = order.output;
    match output {
        ReplyOutput::Jsonl => print(&jsonl(&reply.threads)?),
        ReplyOutput::Plain => reply
            .threads
            .iter()
            .try_for_each(|thread| print_done(thread, &line(verb, thread, reply.dry_run), output)),
        ReplyOutput::Json => print_done(reply, "", output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_named_alone_is_one_and_nothing_else_is() {
        let order = OrderArgs::default();
        let of = |selector| Threads::selected(selector, ForceArgs::default(), &order).one();
        let index = vec![3];
        assert_eq!(of(Selector { index: index.clone(), ..Selector::default() }), Some(3));
        assert_eq!(Threads::named(index.clone()).one(), Some(3));
        let plan = vec!["sealer".to_owned()];
        assert_eq!(of(Selector { index, plan, ..Selector::default() }), None);
        assert_eq!(Threads::named(vec![]).one(), None);
        assert_eq!(Threads::named(vec![0, 1]).one(), None);
    }
}
