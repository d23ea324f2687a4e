//! `VenusWorker.*`, the socket of a damocles-worker: what its threads show, and the three calls that
//! a sidecar makes.
//!
//! What a list says depends on the release, and no number tells which one: the keys that are there
//! decide ([`WorkerInfo`]). Reading is lenient, for a list of which one thread cannot be understood
//! must still show the others, and bounded, for whoever answers on the port is not known.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared_msgs::text::cut_text;

use crate::json_rpc::{CallError, JsonRpc, METHOD_NOT_FOUND};

/// The namespace of its methods.
pub const NAMESPACE: &str = "VenusWorker";
/// The server's parameters were not understood: there is no such thread, or up to v0.7 no such
/// state.
pub const INVALID_PARAMS: i64 = -32_602;

/// Its calls only read or change what is in memory: one that takes longer is stuck.
pub const PATIENCE: Duration = Duration::from_secs(2);

const MAX_THREADS: usize = 1_024;
const MAX_TEXT_BYTES: usize = 1_024;
const MAX_ERROR_BYTES: usize = 4_096;

/// The socket of one damocles-worker.
#[derive(Clone, Debug)]
pub struct WorkerSocket(JsonRpc);

impl WorkerSocket {
    /// The socket behind a client for [`NAMESPACE`].
    pub fn new(rpc: JsonRpc) -> WorkerSocket {
        WorkerSocket(rpc)
    }

    /// All threads. Their places in it, and not their `index`, are what the other calls count by.
    pub async fn list(&self) -> Result<Vec<WorkerInfo>, CallError> {
        let list: Vec<WorkerInfo> = self.0.call("WorkerList", NO_PARAMS, PATIENCE).await?;
        match list.len() {
            0..=MAX_THREADS => Ok(list),
            many => Err(CallError::Unreadable(format!("it lists {many} threads"))),
        }
    }

    /// Puts a pause into the thread's box, which holds one; `false`: one is in there already.
    /// Neither means that the thread is paused.
    pub async fn pause(&self, position: usize) -> Result<bool, CallError> {
        self.0.call("WorkerPause", pause_params(position), PATIENCE).await
    }

    /// Hands a resume over to a thread that waits for one; `false`: it does not.
    pub async fn resume(&self, position: usize, state: Option<&str>) -> Result<bool, CallError> {
        self.0.call("WorkerResume", resume_params(position, state), PATIENCE).await
    }

    /// Its version; `None` before v0.7.
    pub async fn version(&self) -> Result<Option<String>, CallError> {
        match self.0.call::<String>("WorkerVersion", NO_PARAMS, PATIENCE).await {
            Ok(version) => Ok(Some(cut_text(&version, MAX_TEXT_BYTES))),
            Err(error) if error.code() == Some(METHOD_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

// Every method takes its whole list of parameters, by place.
const NO_PARAMS: [(); 0] = [];

fn pause_params(position: usize) -> impl Serialize {
    [position]
}

fn resume_params(position: usize, state: Option<&str>) -> impl Serialize {
    (position, state)
}

/// One thread as the list shows it. Written in the shape of v0.9 and later, read in every one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "AnyShape")]
pub struct WorkerInfo {
    /// Path of its directory; `-` for a thread without one.
    pub location: String,
    /// Name of its plan; empty until the thread has started; absent before v0.5.
    pub plan: Option<String>,
    /// The sector in hand, `s-t010000-2`, or the id of a window-PoSt job.
    pub job_id: Option<String>,
    /// Position in the configuration. It is not what [`WorkerSocket::pause`] counts by: an entry
    /// that was skipped at the start has a number too.
    pub index: u64,
    /// What it does.
    pub thread_state: ThreadState,
    /// Name of a state of its plan. Empty without a job: from v0.8 on in the wait between two jobs,
    /// where before `Empty` was shown.
    pub job_state: String,
    /// What it does in that state; `-` for nothing; absent before v0.9.
    pub job_stage: Option<String>,
    /// Why it was paused, if an error did it.
    pub last_error: Option<String>,
}

/// What a thread does. Times are whole seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state")]
pub enum ThreadState {
    /// Between jobs without one; with one it waits for somebody or something that is not said.
    Idle,
    /// Held up, by an operator or by an error.
    Paused {
        /// Since it is.
        #[serde(default)]
        elapsed: u64,
    },
    /// It wants a slot of its stage, a processor or a lock.
    Waiting {
        /// Since it does.
        #[serde(default)]
        elapsed: u64,
    },
    /// In a stage.
    Running {
        /// Since it has the slot, or the processor.
        #[serde(default)]
        elapsed: u64,
        /// `ext(pid: 4711)`, `builtin PC1`; absent until one is chosen.
        #[serde(default)]
        proc: Option<String>,
    },
    /// Not paused: more is not said before v0.9.
    #[serde(skip)]
    NotPaused,
    /// What a newer version says.
    #[serde(other)]
    Other,
}

// The keys of every release. What has another type than it should is as if it were not there.
#[derive(Deserialize)]
struct AnyShape {
    #[serde(default, deserialize_with = "text")]
    location: Option<String>,
    #[serde(default, deserialize_with = "text")]
    plan: Option<String>,
    #[serde(default, deserialize_with = "job")]
    job_id: Option<String>,
    // Before v0.8: a text, then an object.
    #[serde(default, deserialize_with = "job")]
    sector_id: Option<String>,
    #[serde(default, deserialize_with = "number")]
    index: Option<u64>,
    #[serde(default)]
    thread_state: Option<Value>,
    #[serde(default)]
    paused: Option<Value>,
    // A text in v0.1.
    #[serde(default, deserialize_with = "number")]
    paused_elapsed: Option<u64>,
    #[serde(default, deserialize_with = "text")]
    job_state: Option<String>,
    #[serde(default, deserialize_with = "text")]
    state: Option<String>,
    #[serde(default, deserialize_with = "text")]
    job_stage: Option<String>,
    #[serde(default, deserialize_with = "error_text")]
    last_error: Option<String>,
}

impl From<AnyShape> for WorkerInfo {
    fn from(read: AnyShape) -> Self {
        let thread_state = match (read.thread_state, read.paused) {
            (Some(sum), _) => serde_json::from_value(sum).unwrap_or(ThreadState::Other).bounded(),
            (None, Some(Value::Bool(true))) => {
                ThreadState::Paused { elapsed: read.paused_elapsed.unwrap_or(0) }
            }
            (None, Some(_)) => ThreadState::NotPaused,
            (None, None) => ThreadState::Other,
        };
        WorkerInfo {
            location: read.location.unwrap_or_else(|| "-".into()),
            plan: read.plan,
            job_id: read.job_id.or(read.sector_id),
            index: read.index.unwrap_or(0),
            thread_state,
            job_state: read.job_state.or(read.state).unwrap_or_default(),
            job_stage: read.job_stage,
            last_error: read.last_error,
        }
    }
}

impl ThreadState {
    fn bounded(self) -> Self {
        match self {
            ThreadState::Running { elapsed, proc } => ThreadState::Running {
                elapsed,
                proc: proc.map(|proc| cut_text(&proc, MAX_TEXT_BYTES)),
            },
            state => state,
        }
    }

    /// Whether the thread is held up.
    pub fn is_paused(&self) -> bool {
        matches!(self, ThreadState::Paused { .. })
    }
}

fn text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(text_of(Value::deserialize(from)?, MAX_TEXT_BYTES))
}

fn error_text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(text_of(Value::deserialize(from)?, MAX_ERROR_BYTES))
}

fn text_of(value: Value, max_bytes: usize) -> Option<String> {
    match value {
        Value::String(text) => Some(cut_text(&text, max_bytes)),
        _ => None,
    }
}

fn number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Ok(Value::deserialize(from)?.as_u64())
}

fn job<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Sector {
        miner: u64,
        number: u64,
    }
    Ok(match Value::deserialize(from)? {
        Value::String(text) => Some(cut_text(&text, MAX_TEXT_BYTES)),
        object @ Value::Object(_) => serde_json::from_value::<Sector>(object)
            .ok()
            .map(|Sector { miner, number }| format!("s-t0{miner}-{number}")),
        _ => None,
    })
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
