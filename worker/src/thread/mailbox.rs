//! What others send a thread, and how they reach it.

use std::sync::Arc;

use shared_msgs::{
    command::{CommandReply, CommandRequest, Verb},
    error::ErrorKind,
    selector::Selection,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{verdict::Verdict, view::ThreadView};

/// How others reach a thread.
#[derive(Clone)]
pub struct ThreadHandle {
    /// Takes requests, one after the other.
    pub mailbox: mpsc::Sender<Message>,
    /// What the thread shows.
    pub view: watch::Receiver<ThreadView>,
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
