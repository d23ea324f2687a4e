//! Every subject, bucket and stream name, made from one prefix.
//!
//! ```text
//!  <p>.v1.state.<w>                    worker -> all        last value kept in the state bucket
//!  <p>.v1.event.<w>.<kind>             worker -> stream     one for each thing that happened
//!  <p>.v1.cmd.<w>.<verb>               CLI -> worker        request-reply
//!  <p>.v1.cmd_all.<verb>               CLI -> every worker  one request, a reply from each
//!  <p>.v1.api.<verb>                   CLI -> a manager     request-reply, queue group "mgr"
//!  <p>.v1.sector_manager.<w>.<method>  worker -> a manager  request-reply, queue group "sector_manager"
//!  <p>.v1.sectors.<method>             CLI -> a manager     the same queue group
//!  <p>.v1.relay.<id>                   relay -> relay       whether that one still runs
//! ```
//! `<w>` is a worker's name as one token, see [`crate::name`].
//!
//! Decision 016 in `docs/decisions`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{event::EventKind, id::Id, name::WorkerName};

/// The queue group of the managers' `api.*` subscriptions: one of them answers a request.
pub const API_QUEUE: &str = "mgr";
/// The queue group of the sector managers' `sector_manager.*.*` and `sectors.*` subscriptions.
pub const SECTOR_MANAGER_QUEUE: &str = "sector_manager";
/// The prefix where none is configured.
pub const DEFAULT_PREFIX: &str = "damocles";
/// Reply subjects start so in every NATS client; responders answer to no others, or a caller could
/// make them publish anywhere they are allowed to.
pub const INBOX_PREFIX: &str = "_INBOX";

/// The first part of every subject: lower-case letters, digits, `-` and `.`, at most 32 characters.
/// Several systems share one NATS server under different prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

/// Why a text is no prefix.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is no subject prefix: use 1 to 32 lower-case letters, digits, '-' and '.', with no '.' at an end or beside another"
)]
pub struct PrefixError(String);

impl Prefix {
    /// `<p>.v1.state.<w>`: the worker's snapshots.
    pub fn state(&self, worker: &WorkerName) -> String {
        format!("{}.v1.state.{}", self.0, worker.token())
    }

    /// `<p>.v1.state.*`: the snapshots of all workers.
    pub fn state_of_all(&self) -> String {
        format!("{}.v1.state.*", self.0)
    }

    /// The worker that a state subject belongs to; `None` for any other subject.
    pub fn worker_of_state(&self, subject: &str) -> Option<WorkerName> {
        let token = subject.strip_prefix(self.0.as_str())?.strip_prefix(".v1.state.")?;
        WorkerName::from_token(token).ok()
    }

    /// `<p>.v1.cmd.<w>`: the worker's *Dest*, its command subject without the verb.
    pub fn dest(&self, worker: &WorkerName) -> String {
        format!("{}.v1.cmd.{}", self.0, worker.token())
    }

    /// `<p>.v1.cmd.<w>.<verb>`: heard by that worker alone.
    pub fn command(&self, worker: &WorkerName, verb: &str) -> String {
        format!("{}.{verb}", self.dest(worker))
    }

    /// `<p>.v1.cmd_all.<verb>`: heard by every worker.
    pub fn command_of_all(&self, verb: &str) -> String {
        format!("{}.v1.cmd_all.{verb}", self.0)
    }

    /// `<p>.v1.event.<w>.<kind>`: what a worker publishes an event of its own on.
    pub fn event(&self, worker: &WorkerName, kind: EventKind) -> String {
        format!("{}.v1.event.{}.{}", self.0, worker.token(), kind.name())
    }

    /// `<p>.v1.event.<w>.>`: all events of one worker.
    pub fn events_of(&self, worker: &WorkerName) -> String {
        format!("{}.v1.event.{}.>", self.0, worker.token())
    }

    /// `<p>.v1.event.>`: all events of all workers.
    pub fn events_of_all(&self) -> String {
        format!("{}.v1.event.>", self.0)
    }

    /// The worker that an event's subject belongs to; `None` for any other subject.
    pub fn worker_of_event(&self, subject: &str) -> Option<WorkerName> {
        let (token, _kind) =
            subject.strip_prefix(self.0.as_str())?.strip_prefix(".v1.event.")?.split_once('.')?;
        WorkerName::from_token(token).ok()
    }

    /// `<p>.v1.api.<verb>`: one of all managers answers.
    pub fn api(&self, verb: &str) -> String {
        format!("{}.v1.api.{verb}", self.0)
    }

    /// `<p>.v1.sector_manager.<w>.<method>`: asked by the worker.
    pub fn sector_manager(&self, worker: &WorkerName, method: &str) -> String {
        format!("{}.v1.sector_manager.{}.{method}", self.0, worker.token())
    }

    /// `<p>.v1.sector_manager.*.*`: asked by any worker.
    pub fn sector_manager_of_all(&self) -> String {
        format!("{}.v1.sector_manager.*.*", self.0)
    }

    /// The worker that asks the sector manager, and the method; `None` for any other subject.
    pub fn asked_of_sector_manager<'a>(&self, subject: &'a str) -> Option<(WorkerName, &'a str)> {
        let (token, method) = subject
            .strip_prefix(self.0.as_str())?
            .strip_prefix(".v1.sector_manager.")?
            .split_once('.')?;
        Some((WorkerName::from_token(token).ok()?, method))
    }

    /// `<p>.v1.sectors.<method>`: asked by operators.
    pub fn sectors(&self, method: &str) -> String {
        format!("{}.v1.sectors.{method}", self.0)
    }

    /// The worker that an operator means by a name or a Dest.
    pub fn worker_named(&self, name_or_dest: &str) -> Result<WorkerName, crate::name::NameError> {
        let token = name_or_dest
            .strip_prefix(self.0.as_str())
            .and_then(|rest| rest.strip_prefix(".v1.cmd."));
        match token.map(WorkerName::from_token) {
            Some(Ok(name)) => Ok(name),
            _ => name_or_dest.parse(),
        }
    }

    /// The bucket with each worker's last snapshot, `DAMOCLES_STATE` for the default prefix.
    pub fn state_bucket(&self) -> String {
        format!("{}_STATE", self.upper())
    }

    /// The subject of a key of [`Prefix::state_bucket`], or of many if it has wildcards.
    pub fn state_key(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.state_bucket())
    }

    /// The stream under [`Prefix::state_bucket`].
    pub fn state_stream(&self) -> String {
        format!("KV_{}", self.state_bucket())
    }

    /// The bucket that says which process owns each worker's name, `DAMOCLES_LEASE` for the default
    /// prefix.
    pub fn lease_bucket(&self) -> String {
        format!("{}_LEASE", self.upper())
    }

    /// The stream under [`Prefix::lease_bucket`].
    pub fn lease_stream(&self) -> String {
        format!("KV_{}", self.lease_bucket())
    }

    /// The stream with the events, `DAMOCLES_EVENTS` for the default prefix.
    pub fn events_stream(&self) -> String {
        format!("{}_EVENTS", self.upper())
    }

    /// The bucket with the sectors that the mock sector manager allocated for a miner.
    pub fn sectors_bucket(&self, miner: u64) -> String {
        format!("{}_SECTORS_{miner}", self.upper())
    }

    /// Where a relay to a sector manager answers for as long as it runs, to other relays.
    pub fn relay(&self, relay: Id) -> String {
        format!("{}.v1.relay.{relay}", self.0)
    }

    /// The bucket with what relays to a sector manager were asked, and what came of it.
    pub fn relay_calls_bucket(&self) -> String {
        format!("{}_RELAY_CALLS", self.upper())
    }

    /// The bucket with the sectors that relays have given out.
    pub fn relay_sectors_bucket(&self) -> String {
        format!("{}_RELAY_SECTORS", self.upper())
    }

    /// The bucket in which mock sector managers agree on the miner of each request.
    pub fn sector_requests_bucket(&self) -> String {
        format!("{}_SECTOR_REQUESTS", self.upper())
    }

    /// The bucket with what mock sector managers know of each sector.
    pub fn sector_records_bucket(&self) -> String {
        format!("{}_SECTOR_RECORDS", self.upper())
    }

    /// The bucket in which mock sector managers agree on what a request for a job got.
    pub fn job_requests_bucket(&self) -> String {
        format!("{}_JOB_REQUESTS", self.upper())
    }

    /// The bucket in which mock sector managers agree on the sector of each deal.
    pub fn deals_bucket(&self) -> String {
        format!("{}_DEALS", self.upper())
    }

    /// The bucket with the window-PoSt jobs of mock sector managers.
    pub fn wdpost_jobs_bucket(&self) -> String {
        format!("{}_WDPOST_JOBS", self.upper())
    }

    // Injective, because a prefix holds neither upper-case letters nor '_'.
    fn upper(&self) -> String {
        self.0.to_ascii_uppercase().replace('.', "_")
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Prefix(DEFAULT_PREFIX.to_owned())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let characters = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
        let tokens = text.split('.').all(|token| !token.is_empty());
        if characters && tokens && text.len() <= 32 {
            Ok(Prefix(text.to_owned()))
        } else {
            Err(PrefixError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> WorkerName {
        text.parse().unwrap()
    }

    #[test]
    fn subjects_and_buckets_of_the_default_prefix() {
        let prefix = Prefix::default();
        assert_eq!(prefix.state(&name("127.0.0.1")), "damocles.v1.state.127=2E0=2E0=2E1");
        assert_eq!(prefix.command(&name("w1"), "pause"), "damocles.v1.cmd.w1.pause");
        assert_eq!(prefix.api("list"), "damocles.v1.api.list");
        assert_eq!(
            prefix.sector_manager(&name("w 1"), "allocate_sector"),
            "damocles.v1.sector_manager.w=201.allocate_sector"
        );
        assert_eq!(prefix.sectors("list_sectors"), "damocles.v1.sectors.list_sectors");
        assert_eq!(prefix.state_bucket(), "DAMOCLES_STATE");
        assert_eq!(prefix.state_stream(), "KV_DAMOCLES_STATE");
        assert_eq!(prefix.sectors_bucket(10000), "DAMOCLES_SECTORS_10000");
    }

    #[test]
    fn a_worker_is_found_by_its_name_and_by_its_dest() {
        let prefix = Prefix::default();
        for worker in ["127.0.0.1", "worker-#1", "矿机 1", "_x"] {
            let worker = name(worker);
            assert_eq!(prefix.worker_named(worker.as_str()).unwrap(), worker);
            assert_eq!(prefix.worker_named(&prefix.dest(&worker)).unwrap(), worker);
            let asked = prefix.sector_manager(&worker, "wait_seed");
            assert_eq!(prefix.asked_of_sector_manager(&asked), Some((worker.clone(), "wait_seed")));
            assert_eq!(prefix.worker_of_state(&prefix.state(&worker)), Some(worker));
        }
    }

    #[test]
    fn a_subject_of_another_prefix_or_a_token_that_is_not_canonical_names_nobody() {
        let prefix = Prefix::default();
        for subject in [
            "other.v1.state.w1",
            "damocles.v1.state.a.b",
            "damocles.v1.state.=41",
            "damocles.v1.cmd.w1",
        ] {
            assert_eq!(prefix.worker_of_state(subject), None, "{subject}");
        }
        for subject in [
            "other.v1.sector_manager.w1.wait_seed",
            "damocles.v1.sector_manager.wait_seed",
            "damocles.v1.sector_manager.=41.wait_seed",
            "damocles.v1.sectors.w1.wait_seed",
        ] {
            assert_eq!(prefix.asked_of_sector_manager(subject), None, "{subject}");
        }
    }

    #[test]
    fn prefixes_that_could_collide_or_break_a_subject_are_refused() {
        for text in ["", ".", "a..b", "a.", "A", "a_b", "a b", "a*", ">", &"x".repeat(33)] {
            assert!(text.parse::<Prefix>().is_err(), "{text:?} was accepted");
        }
        assert_eq!("pool.a-1".parse::<Prefix>().unwrap().state_bucket(), "POOL_A-1_STATE");
    }
}
