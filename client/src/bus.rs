//! What this crate needs of a bus: one port, [`Bus`]. NATS is behind it in [`crate::nats`], where
//! `async_nats::Client` implements it; a test may put another bus there and have the same client,
//! with its retries and waits, command workers of its own. All time is tokio's.
//!
//! ```text
//!  ask                    one question, one answer       one worker, the managers
//!  inbox, listen, send    one question, many answers     all workers at once
//!  listen                 what is published              following a worker
//!  stored                 a worker's last state          who does not answer, whom to expect
//! ```

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::{
    future::{BoxFuture, pending},
    stream::BoxStream,
};
use shared_msgs::{id::Id, name::WorkerName, subject::Prefix};

pub use crate::denials::Denial;

/// A connection to a bus. Each future that is dropped gives up its wait, and nothing else.
pub trait Bus: Send + Sync {
    /// Sends one request and waits for its answer, for as long as it takes.
    fn ask(&self, subject: String, request: Bytes) -> BoxFuture<'_, Result<Bytes, Unasked>>;

    /// A subject of this connection's own, at which nobody else listens.
    fn inbox(&self) -> String;

    /// What is published on a subject from now on; `*` stands for one token. The error is a
    /// sentence. The stream ends when the connection is closed for good.
    fn listen(&self, subject: String)
    -> BoxFuture<'_, Result<BoxStream<'static, Message>, String>>;

    /// Publishes a request whose answers go to `reply`. The error is a sentence; no error does not
    /// mean that anybody has heard it.
    fn send(
        &self,
        subject: String,
        reply: String,
        request: Bytes,
    ) -> BoxFuture<'_, Result<(), String>>;

    /// The last states of one worker, or of all, from the state bucket. An error, a sentence, means
    /// that the bucket cannot be asked.
    fn stored<'a>(
        &'a self,
        prefix: &'a Prefix,
        worker: Option<&'a WorkerName>,
    ) -> BoxFuture<'a, Result<Vec<(WorkerName, Stored)>, String>>;

    /// Which process holds the lease of a worker's name; `None` if none does. An error, a sentence,
    /// means that the bucket of leases cannot be asked.
    fn holder<'a>(
        &'a self,
        prefix: &'a Prefix,
        worker: &'a WorkerName,
    ) -> BoxFuture<'a, Result<Option<Id>, String>>;

    /// Why states do not get into the state bucket, and how to mend that; `None` too if it cannot
    /// be asked.
    fn state_bucket_trouble<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Option<String>>;

    /// What the server's clock shows, Unix milliseconds. An error, a sentence, means that nobody
    /// tells it.
    fn server_time_ms<'a>(&'a self, prefix: &'a Prefix) -> BoxFuture<'a, Result<i64, String>>;

    /// Waits until the server says that this connection may not do what a request on that subject
    /// needs, from this call on. A server says so at once, and answers nothing.
    fn denied<'a>(&'a self, _subject: &'a str) -> BoxFuture<'a, Denial> {
        Box::pin(pending())
    }

    /// Leaves a server that says nothing at all for another one, as long as it is waited for.
    fn leave_silent_servers(&self) -> BoxFuture<'_, Infallible> {
        Box::pin(pending())
    }
}

/// Something that was published.
#[derive(Clone, Debug)]
pub struct Message {
    /// The subject that it was published on.
    pub subject: String,
    /// What; `None` says that nobody listens where the request was sent.
    pub body: Option<Bytes>,
}

/// A worker's state as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The payload of a [`shared_msgs::snapshot::WorkerSnapshot`].
    pub body: Bytes,
    /// How long ago it was stored, by the server's clock alone.
    pub age: Duration,
    /// Its number in the bucket.
    pub revision: u64,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// Nobody listens there: the request was not delivered.
    NoResponders,
    /// It may have been delivered, and no answer will come.
    Lost,
    /// It was not sent, and why.
    NotSent(String),
}
