//! What others send a thread, and how they reach it.

use std::sync::Arc;

use damocles_client::server_clock::ServerClock;
use futures::future::BoxFuture;
use shared_msgs::{
    command::{CommandReply, CommandRequest, Verb},
    error::ErrorKind,
    selector::Selection,
    snapshot::ThreadSnapshot,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{verdict::Verdict, view::ThreadView};
use crate::lease::LeaseState;

/// A thread as others see and command it, whoever it is that seals.
pub trait Commanded: Send + Sync {
    /// What it shows at this moment.
    fn snapshot(&self) -> ThreadSnapshot;
    /// Puts a command into its mailbox; `false`: it takes none any more.
    fn give(&self, command: Command) -> BoxFuture<'_, bool>;
    /// Why it takes no commands any more; `None` if it has stopped with the worker.
    fn ended(&self) -> BoxFuture<'_, Option<String>>;
}

/// How others reach a thread of this process.
#[derive(Clone)]
pub struct ThreadHandle {
    /// Takes requests, one after the other.
    pub mailbox: mpsc::Sender<Message>,
    /// What the thread shows.
    pub view: watch::Receiver<ThreadView>,
}

impl Commanded for ThreadHandle {
    fn snapshot(&self) -> ThreadSnapshot {
        self.view.borrow().snapshot()
    }

    fn give(&self, command: Command) -> BoxFuture<'_, bool> {
        let message = Message::Command(Box::new(command));
        Box::pin(async move { self.mailbox.send(message).await.is_ok() })
    }

    fn ended(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async move {
            let mut view = self.view.clone();
            let ended = view.wait_for(|view| view.ended.is_some()).await.ok()?;
            Some(ended.ended.as_ref()?.why.clone())
        })
    }
}

/// What others ask of a thread.
#[derive(Debug)]
pub enum Message {
    /// A command of an operator.
    Command(Box<Command>),
    /// What the sector manager says of this job.
    Verdict {
        /// As [`Record::job_name`](crate::store::record::Record::job_name) has it: a later job is
        /// not meant.
        job: String,
        verdict: Verdict,
    },
}

/// A command to one thread.
#[derive(Debug)]
pub struct Command {
    pub verb: Verb,
    pub request: CommandRequest,
    /// The request's selector: the thread acts only if it fits when it is to act.
    pub selection: Option<Arc<Selection>>,
    /// The epoch of the lease under which it was heard: under another one it is not carried out.
    pub epoch: Option<u64>,
    /// Where the answer goes.
    pub reply: Reply,
}

/// Where a command's answer goes.
pub(crate) type Reply = oneshot::Sender<Result<CommandReply, ErrorKind>>;

/// Refuses a command that was heard under another lease, or under one that may be over.
pub(crate) fn under_its_lease(epoch: Option<u64>, lease: LeaseState) -> Result<(), ErrorKind> {
    if lease.epoch() == epoch && lease.may_act(Instant::now()) {
        Ok(())
    } else {
        Err(ErrorKind::LeaseUnconfirmed)
    }
}

/// Refuses a command that was held up: it is not carried out behind the back of whoever has given it
/// up. The clock is known before commands are served, apart from where there is no JetStream.
pub(crate) fn in_its_time(
    until_ms: Option<i64>,
    clock: Option<ServerClock>,
) -> Result<(), ErrorKind> {
    match (until_ms, clock.map(|clock| clock.at_most(Instant::now()))) {
        (Some(until), Some(now)) if until < now => {
            Err(ErrorKind::TooLate { late_ms: now.saturating_sub(until).unsigned_abs() })
        }
        _ => Ok(()),
    }
}

/// Whether nothing was decided by a refusal: the same command may be given again.
pub(crate) fn is_undecided(refusal: &ErrorKind) -> bool {
    matches!(refusal, ErrorKind::LeaseUnconfirmed | ErrorKind::TooLate { .. })
}
