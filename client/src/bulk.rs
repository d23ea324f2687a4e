//! One command for many threads: one request that every worker hears, and a reply from each.
//!
//! ```text
//!  fleet    whom to expect: the workers in the state bucket that report, and whose name fits
//!  scatter  asks all at once, then by name those that said nothing
//!  gather   (pure) who has answered what, and whether that is everybody
//! ```
//! The request carries a selector, and one request id for all its attempts. A worker writes down
//! which of its threads fit before the first of them acts; each thread asks again when it is to
//! act.
//!
//! What always holds:
//! - A repeat acts on no thread that the first one did not mean, and on none twice.
//! - An answer counts only if it is of the process that owns the worker's name; another one is a
//!   conflict, and named.
//! - The waiting ends when all that are expected have answered, or at the deadline; whoever has not
//!   answered by then is named, and their outcome is unknown.
//! - Without the state bucket nobody knows who is missing, and that is said.
//!
//! Tests: the properties of `gather.rs`, the scenarios `bulk::gathering`, `bulk::selectors`,
//! `once::under_fire`, and the simulation.

pub mod fleet;
pub mod gather;
mod scatter;

use std::collections::BTreeMap;

use shared_msgs::{
    api::FleetReply,
    command::{CommandRequest, Verb},
    duration::human,
    id::Id,
    name::WorkerName,
};
use tokio::time::{Instant, timeout};

use self::{fleet::Reported, gather::Gathered, scatter::Scatter};
use crate::{
    bus::Denial,
    call::{CallError, asked_again, over_a_living_server},
    server_clock::ServerClock,
    system::System,
    worker_client::until,
};

/// Why a command was not given to all workers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScatterError {
    /// A step of it went wrong.
    #[error("cannot {what}: {why}")]
    Failed {
        /// What was to be done.
        what: &'static str,
        /// Why it could not be, a sentence.
        why: String,
    },
    /// The server does not let this login do it.
    #[error("no permission: {0}")]
    Denied(Denial),
    /// There is no connection.
    #[error("the request could not be sent in time: the connection to NATS is lost")]
    NotSentInTime,
}

/// The workers of the state bucket.
#[derive(Clone, Debug)]
pub struct Reports {
    /// Those that have reported.
    pub workers: Vec<Reported>,
    /// Why that may be old, and how to mend it.
    pub trouble: Option<String>,
}

impl System {
    /// The workers that have reported, from the state bucket; the error, a sentence, says why it
    /// cannot be read.
    pub async fn reports(&self) -> Result<Reports, String> {
        // The command itself has its own time, and does without.
        let patience = self.timeout / 3;
        let read = asked_again(&*self.bus, patience, || async {
            let trouble = timeout(patience, self.bus.state_bucket_trouble(&self.prefix));
            tokio::join!(self.bus.stored(&self.prefix, None), trouble)
        });
        let Some((stored, trouble)) = read.await else {
            let within = human(patience);
            return Err(format!("the workers' last states were not read within {within}"));
        };
        let read = |(worker, stored)| Reported::read(worker, &stored);
        Ok(Reports {
            workers: stored?.into_iter().filter_map(read).collect(),
            trouble: trouble.ok().flatten(),
        })
    }

    /// Has a manager give a command to the threads that the request's selector selects; it knows who
    /// is to answer.
    pub async fn order_all_by_manager(
        &self,
        verb: Verb,
        request: &CommandRequest,
    ) -> Result<Gathered, CallError> {
        let clock = ServerClock::read(&*self.bus, &self.prefix).await;
        let request = until(request.clone(), clock, Instant::now() + self.timeout);
        let reply: FleetReply = self.ask_managers(verb.name(), &request).await?;
        Ok(Gathered::told(reply))
    }

    /// Gives a command to the threads that the request's selector selects, and gathers the answers
    /// until all that are `expected` have answered, or the time is up; for the whole time if they
    /// are not known. Each worker acts once, however often it is asked.
    pub async fn order_all(
        &self,
        verb: Verb,
        request: &CommandRequest,
        expected: Option<BTreeMap<WorkerName, Id>>,
    ) -> Result<Gathered, ScatterError> {
        let System { bus, prefix, timeout, .. } = self;
        let scatter = Scatter { bus: &**bus, prefix, patience: *timeout, verb };
        over_a_living_server(&**bus, scatter.gather(request, expected)).await
    }
}
