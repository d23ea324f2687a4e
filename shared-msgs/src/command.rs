//! The verbs a worker and a manager answer, their requests and replies.
//!
//! A refusal is an [`crate::error::ErrorReply`]; everything here is what success looks like.

use crate::id::Id;
use serde::{Deserialize, Serialize};

use crate::snapshot::WorkerSnapshot;

/// The verbs of `cmd.<w>.<verb>`.
pub mod verb {
    /// Answers a [`crate::snapshot::WorkerSnapshot`] taken now.
    pub const LIST: &str = "list";
    /// Takes a [`super::PauseRequest`].
    pub const PAUSE: &str = "pause";
    /// Takes a [`super::ResumeRequest`].
    pub const RESUME: &str = "resume";
    /// `api.remove`: takes a [`super::RemoveRequest`].
    pub const REMOVE: &str = "remove";
}

/// Pauses one thread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PauseRequest {
    /// The thread's index.
    pub index: u32,
    /// Acts only on a thread at this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// Who asks, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Resumes one thread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResumeRequest {
    /// The thread's index.
    pub index: u32,
    /// The state to go on from; the current one if absent. `Aborted` and `Empty` give the sector up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Acts only on a thread at this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// Who asks, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a command did, and the thread it did it to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandReply {
    /// The thread's index.
    pub index: u32,
    /// The sector in hand when the command took effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sector_id: Option<String>,
    /// The thread's revision after the command.
    pub revision: u64,
    /// What happened.
    pub outcome: Outcome,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// The thread is paused.
    Paused,
    /// The thread will be paused when its stage ends.
    PausePending {
        /// The stage that has to end first.
        #[serde(default)]
        stage: String,
    },
    /// The thread was paused already; the pause is the operator's now.
    AlreadyPaused,
    /// The thread goes on.
    Resumed {
        /// The state it was paused in.
        #[serde(default)]
        from: String,
        /// The state it goes on from.
        #[serde(default)]
        to: String,
    },
    /// A pause that had not taken effect yet was taken back.
    PauseWithdrawn,
    /// An outcome of a newer version.
    #[serde(other)]
    Other,
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
    /// The page.
    pub workers: Vec<WorkerView>,
    /// The `after` of the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A worker as a manager sees it, its threads counted and not listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerView {
    /// The worker's name, from its subject.
    pub name: String,
    /// Age of the worker's newest report, in milliseconds.
    pub last_ping_ms: u64,
    /// Another process reports under the same name.
    #[serde(default)]
    pub duplicate: bool,
    /// The newest report, `threads` left out.
    #[serde(flatten)]
    pub report: WorkerReport,
}

/// A [`WorkerSnapshot`] without its threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// See [`WorkerSnapshot::instance_id`].
    pub instance_id: Id,
    /// See [`WorkerSnapshot::version`].
    #[serde(default)]
    pub version: String,
    /// The command subject without the verb, made from the worker's name.
    #[serde(default)]
    pub dest: String,
    /// See [`WorkerSnapshot::host`].
    #[serde(default)]
    pub host: String,
    /// See [`WorkerSnapshot::pid`].
    #[serde(default)]
    pub pid: u32,
    /// See [`WorkerSnapshot::started_at`].
    #[serde(default)]
    pub started_at: u64,
    /// See [`WorkerSnapshot::ping_interval_ms`].
    pub ping_interval_ms: u64,
    /// See [`WorkerSnapshot::status`].
    #[serde(default)]
    pub status: crate::snapshot::WorkerStatus,
    /// See [`WorkerSnapshot::summary`].
    #[serde(default)]
    pub summary: crate::snapshot::Summary,
}

impl WorkerReport {
    /// The report in a snapshot, with the Dest that belongs to the worker's identity.
    pub fn new(snapshot: &WorkerSnapshot, dest: String) -> Self {
        WorkerReport {
            instance_id: snapshot.instance_id,
            version: snapshot.version.clone(),
            dest,
            host: snapshot.host.clone(),
            pid: snapshot.pid,
            started_at: snapshot.started_at,
            ping_interval_ms: snapshot.ping_interval_ms,
            status: snapshot.status,
            summary: snapshot.summary,
        }
    }
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
    /// The worker's name.
    pub removed: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::codec::{Encoding, decode};

    #[test]
    fn replies_are_pinned_in_json() {
        let reply = CommandReply {
            index: 1,
            sector_id: Some("s-t010000-3".into()),
            revision: 15,
            outcome: Outcome::Resumed { from: "C1Done".into(), to: "TreeDBuilt".into() },
        };
        let expected = json!({
            "index": 1, "sector_id": "s-t010000-3", "revision": 15,
            "outcome": {"kind": "resumed", "from": "C1Done", "to": "TreeDBuilt"},
        });
        assert_eq!(serde_json::to_value(&reply).unwrap(), expected);
        for (outcome, expected) in [
            (Outcome::Paused, json!({"kind": "paused"})),
            (Outcome::PausePending { stage: "C2".into() }, json!({"kind": "pause_pending", "stage": "C2"})),
            (Outcome::AlreadyPaused, json!({"kind": "already_paused"})),
            (Outcome::PauseWithdrawn, json!({"kind": "pause_withdrawn"})),
        ] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), expected);
        }
    }

    #[test]
    fn requests_written_by_hand_need_the_index_only() {
        assert_eq!(decode::<PauseRequest>(b"{\"index\":0}").unwrap(), PauseRequest::default());
        assert_eq!(decode::<ResumeRequest>(b"{\"index\":0,\"unknown\":1}").unwrap(), ResumeRequest::default());
        assert!(decode::<PauseRequest>(b"").is_err());
        assert!(decode::<PauseRequest>(b"{\"index\":-1}").is_err());
    }

    #[test]
    fn what_a_stream_acknowledges_is_no_reply() {
        let ack = br#"{"stream":"S","seq":1}"#;
        assert!(decode::<ListWorkersReply>(ack).is_err() && decode::<RemoveReply>(ack).is_err() && decode::<CommandReply>(ack).is_err());
    }

    #[test]
    fn a_worker_view_survives_both_encodings() {
        let view = json!({
            "workers": [{"name": "w1", "last_ping_ms": 5, "instance_id": Id::NIL, "ping_interval_ms": 10000}],
            "next": "w1",
        });
        let reply: ListWorkersReply = serde_json::from_value(view).unwrap();
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            assert_eq!(decode::<ListWorkersReply>(&encoding.encode(&reply).unwrap()).unwrap(), reply);
        }
    }
}
