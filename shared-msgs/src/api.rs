//! What managers answer on `api.<verb>`: the workers they know, page by page, and forgetting one. And
//! what they give on: [`verb::INFO`], [`verb::DRAIN`] and each [`crate::command::Verb`], a
//! [`crate::command::CommandRequest`] with its `worker`, or a selector for all of them.

use std::mem::discriminant;

use serde::{Deserialize, Serialize};

use crate::{
    codec::Texts,
    command::{BulkReply, Outcome},
    error::ErrorBody,
    id::Id,
    lease::Lease,
    snapshot::{Standstill, WorkerSnapshot},
};

/// The verbs of `api.<verb>`.
pub mod verb {
    /// Pages through the workers: [`super::ListWorkersRequest`] → [`super::ListWorkersReply`].
    pub const LIST: &str = "list";
    /// One worker's state, taken now: [`super::InfoRequest`] → [`crate::snapshot::WorkerSnapshot`].
    pub const INFO: &str = "info";
    /// As `cordon`: whoever drains waits until the threads are empty.
    pub const DRAIN: &str = "drain";
    /// Forgets a worker: [`super::RemoveRequest`] → [`super::RemoveReply`].
    pub const REMOVE: &str = "remove";
}

/// `api.list`: one page of the workers a manager knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListWorkersRequest {
    /// Only workers whose name sorts after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many workers, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// One page of workers, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListWorkersReply {
    /// The workers of this page, sorted by name.
    pub workers: Vec<WorkerView>,
    /// The `after` of the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What is wrong with what the manager knows, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A worker as a manager sees it, its threads counted and not listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerView {
    /// The worker's name, from its subject.
    pub name: String,
    /// Age of the worker's newest report, in milliseconds.
    pub last_ping_ms: u64,
    /// Another process reports, or stands by, under the same name.
    #[serde(default)]
    pub duplicate: bool,
    /// The worker's lease is gone, and it has not said that it stops.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// Processes of the same name that stand by: they seal, and neither report nor take commands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standing_by: Vec<Lease>,
    /// For so many milliseconds JetStream has stored none of the reports that this manager heard;
    /// only said if it is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unstored_ms: Option<u64>,
    /// The newest report, `threads` left out.
    #[serde(flatten)]
    pub report: WorkerReport,
}

/// A [`WorkerSnapshot`] without its threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The worker's process that reports: a new id for each of its starts.
    pub instance_id: Id,
    /// The epoch of the lease that it reports under; absent without JetStream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Version of the worker's program; empty where it gave none.
    #[serde(default)]
    pub version: String,
    /// The command subject without the verb, made from the worker's name.
    #[serde(default)]
    pub dest: String,
    /// Host name of the worker's machine; empty where it gave none.
    #[serde(default)]
    pub host: String,
    /// The worker's process id on that machine; 0 where it gave none.
    #[serde(default)]
    pub pid: u32,
    /// Start of the process, Unix milliseconds by the worker's clock; 0 where it gave none.
    #[serde(default)]
    pub started_at: u64,
    /// How often the worker reports at least, in milliseconds: what `last_ping_ms` is measured by.
    pub ping_interval_ms: u64,
    /// Where the worker's process is in its life, by its own report.
    #[serde(default)]
    pub status: crate::snapshot::WorkerStatus,
    /// For how long, and why, the worker's events have not been stored; absent while they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_stands_still: Option<Standstill>,
    /// For how long, and why, what its sidecar speaks for has not answered; absent while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<Standstill>,
    /// Counts over the threads that are left out here.
    #[serde(default)]
    pub summary: crate::snapshot::Summary,
}

impl WorkerReport {
    /// The report in a snapshot, with the Dest that belongs to the worker's identity.
    pub fn new(snapshot: &WorkerSnapshot, dest: String) -> Self {
        WorkerReport {
            instance_id: snapshot.instance_id,
            epoch: snapshot.epoch,
            version: snapshot.version.clone(),
            dest,
            host: snapshot.host.clone(),
            pid: snapshot.pid,
            started_at: snapshot.started_at,
            ping_interval_ms: snapshot.ping_interval_ms,
            status: snapshot.status,
            history_stands_still: snapshot.history_stands_still.clone(),
            unreachable: snapshot.unreachable.clone(),
            summary: snapshot.summary,
        }
    }
}

/// `api.info`: the state of one worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InfoRequest {
    /// The worker's name or Dest.
    pub worker: String,
}

/// What a command for many did that a manager gave on, with a selector and without a worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetReply {
    /// The request's id, as it was given or drawn by the manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Id>,
    /// Nothing was done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What each worker answered that did something, or had nothing to do.
    pub workers: Vec<BulkReply>,
    /// Workers that did nothing, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<WorkerRefusal>,
    /// Workers that have not answered: their outcome is unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Answers that were not believed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
    /// What is counted only, because the answer would have been larger than NATS carries.
    #[serde(default, skip_serializing_if = "Unlisted::is_empty")]
    pub unlisted: Unlisted,
    /// All workers that are known, and fit, have answered.
    pub complete: bool,
}

/// What the lists of a [`FleetReply`] lack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unlisted {
    /// So many workers that answered.
    pub workers: u64,
    /// How the threads of these fared.
    pub threads: Vec<Fared>,
    /// So many workers that did nothing.
    pub refused: u64,
    /// So many workers that have not answered.
    pub missing: u64,
    /// So many answers that were not believed.
    pub conflicts: u64,
}

/// Threads that fared alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fared {
    /// So many of them.
    pub count: u64,
    /// What one of them did; the others' has the same kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why the command did nothing to one of them; the others' has the same kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

impl Unlisted {
    /// Whether everything is listed.
    pub fn is_empty(&self) -> bool {
        *self == Unlisted::default()
    }

    /// Counts a worker's answer.
    pub fn count(&mut self, reply: &BulkReply) {
        self.workers += 1;
        for thread in &reply.threads {
            let kinds = |outcome: &Option<Outcome>, error: &Option<ErrorBody>| {
                let error = error.as_ref().map(|error| discriminant(&error.kind));
                (outcome.as_ref().map(discriminant), error)
            };
            let kind = kinds(&thread.outcome, &thread.error);
            match self.threads.iter_mut().find(|like| kinds(&like.outcome, &like.error) == kind) {
                Some(like) => like.count += 1,
                None => self.threads.push(Fared {
                    count: 1,
                    outcome: thread.outcome.clone(),
                    error: thread.error.clone(),
                }),
            }
        }
    }
}

impl Texts for FleetReply {
    fn texts(&mut self) -> Vec<&mut String> {
        let threads = self.workers.iter_mut().flat_map(BulkReply::texts);
        let refused = self.refused.iter_mut().flat_map(|refusal| refusal.error.texts());
        let unlisted = self.unlisted.threads.iter_mut().filter_map(|like| like.error.as_mut());
        threads.chain(refused).chain(unlisted.flat_map(ErrorBody::texts)).collect()
    }
}

/// A process that answered in the name of a worker and does not own it, or has told two things.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// The worker, as the user wrote it.
    pub worker: String,
    /// The process.
    pub instance_id: Id,
}

/// A worker that did nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerRefusal {
    /// Its name; absent if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Why.
    pub error: ErrorBody,
}

/// `api.remove`: forgets a worker that no longer reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoveRequest {
    /// The worker's name or Dest.
    pub worker: String,
}

/// The worker is forgotten until it speaks again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoveReply {
    /// As the user wrote it, see [`crate::name`].
    pub removed: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::codec::{Encoding, decode};

    #[test]
    fn what_a_stream_acknowledges_is_no_reply() {
        let ack = br#"{"stream":"S","seq":1}"#;
        assert!(decode::<ListWorkersReply>(ack).is_err() && decode::<RemoveReply>(ack).is_err());
    }

    #[test]
    fn a_worker_view_survives_both_encodings() {
        let view = json!({
            "workers": [{"name": "w1", "last_ping_ms": 5, "instance_id": Id::NIL, "ping_interval_ms": 10000}],
            "next": "w1",
        });
        let reply: ListWorkersReply = serde_json::from_value(view).unwrap();
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            assert_eq!(
                decode::<ListWorkersReply>(&encoding.encode(&reply).unwrap()).unwrap(),
                reply
            );
        }
    }
}
