//! What a worker says about itself: one [`WorkerSnapshot`] with a [`ThreadSnapshot`] for each
//! sealing thread.
//!
//! Readers take the worker's identity from the subject, never from the payload. States and stages
//! are text here, and every sum has an `Other` case, so an older reader never loses a newer worker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{codec::Texts, id::Id};

/// The longest `last_err`, in bytes, mark included.
pub const MAX_LAST_ERR_BYTES: usize = 4096;
/// The longest `end_pending`, in bytes, mark included.
pub const MAX_END_PENDING_BYTES: usize = 256;

/// A worker is expired when its newest report is older than so many of its own ping intervals.
pub const PINGS_TO_EXPIRE: u64 = 3;

/// How long a worker that reports so often may be silent, in milliseconds, before it is expired.
pub fn expires_after_ms(ping_interval_ms: u64) -> u64 {
    ping_interval_ms.saturating_mul(PINGS_TO_EXPIRE)
}

/// Whether a report of this age, from a worker that reports so often, is expired.
pub fn is_expired(age: Duration, ping_interval_ms: u64) -> bool {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX) > expires_after_ms(ping_interval_ms)
}

/// The state of a worker and all of its threads at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerSnapshot {
    /// The worker's name, for people; its identity is the subject.
    #[serde(default)]
    pub name: String,
    /// A new one for each start of the process.
    pub instance_id: Id,
    /// The epoch of the lease that the process holds, see [`crate::lease`]; absent without
    /// JetStream. Of two processes of one name, the one with the higher epoch is the newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Grows with every snapshot of one instance; see [`WorkerSnapshot::supersedes`].
    pub seq: u64,
    /// Version of the program, as `--version` prints it.
    #[serde(default)]
    pub version: String,
    /// The worker's command subject without the verb.
    #[serde(default)]
    pub dest: String,
    /// The machine's host name.
    #[serde(default)]
    pub host: String,
    /// The process id on that machine.
    #[serde(default)]
    pub pid: u32,
    /// The id in the marker of its first thread's location: a tool that finds another one there
    /// speaks of another worker. Absent where the location could not be marked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location_id: Option<Id>,
    /// Start of the process, Unix milliseconds by the worker's clock.
    #[serde(default)]
    pub started_at: u64,
    /// When this snapshot was taken, Unix milliseconds by the worker's clock.
    #[serde(default)]
    pub taken_at: u64,
    /// The worker publishes at least this often, in milliseconds.
    #[serde(default = "default_ping_interval_ms")]
    pub ping_interval_ms: u64,
    /// Where the process is in its life.
    #[serde(default)]
    pub status: WorkerStatus,
    /// Events wait for too long: JetStream does not store them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_stands_still: Option<Standstill>,
    /// What a sidecar speaks for does not answer it: what is said of the threads is from before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<Standstill>,
    /// Counts over `threads`, for readers that do without them.
    #[serde(default)]
    pub summary: Summary,
    /// Sorted by index, without gaps.
    #[serde(default)]
    pub threads: Vec<ThreadSnapshot>,
}

fn default_ping_interval_ms() -> u64 {
    10_000
}

/// Where a worker's process is in its life.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum WorkerStatus {
    /// At work: its threads seal, or may.
    #[default]
    Running,
    /// Asked to stop; its threads are reaching a safe point.
    Stopping,
    /// Its last snapshot: the process ends after it.
    Stopped,
    /// A status of a newer version.
    #[serde(other)]
    Other,
}

/// Counts of threads, as damocles counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// All threads, whatever they do.
    pub threads: u32,
    /// Threads with nothing in hand: neither a sector nor a window-PoSt job.
    pub empty: u32,
    /// Threads that are paused.
    pub paused: u32,
    /// Threads in a stage, those with a pending pause included.
    pub running: u32,
    /// Threads that wait for something.
    pub waiting: u32,
    /// Threads with a `last_err`.
    pub errors: u32,
    /// Threads that take no new sector.
    pub cordoned: u32,
}

/// The state of one sealing thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadSnapshot {
    /// Position in the worker's configuration, from 0.
    pub index: u32,
    /// Absolute path of the thread's store.
    #[serde(default)]
    pub location: String,
    /// The plan's name, e.g. `sealer`.
    #[serde(default)]
    pub plan: String,
    /// The sector in hand, e.g. `s-t010000-2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sector_id: Option<String>,
    /// A state of the plan, e.g. `C1Done`.
    #[serde(default)]
    pub state: String,
    /// What the thread does in that state, e.g. `C2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// It finishes what it has in hand and takes nothing new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cordoned: bool,
    /// Whether it runs, waits or is paused, and for how long.
    #[serde(default)]
    pub status: ThreadStatus,
    /// Counts the thread's changes; persisted, never reused.
    #[serde(default)]
    pub revision: u64,
    /// Retries of the current stage after temporary failures.
    #[serde(default)]
    pub retry: u32,
    /// What becomes of the job when its stage ends, or when an operator who paused the thread
    /// resumes it, e.g. `given up, ended by the sector manager: bad disk`. At most
    /// [`MAX_END_PENDING_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_pending: Option<String>,
    /// The newest failure, with its level: `permanent: …`. At most [`MAX_LAST_ERR_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_err: Option<String>,
}

/// What a thread does right now. Elapsed times are milliseconds at the moment the snapshot was
/// taken.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ThreadStatus {
    /// Between two things, for a moment only.
    #[default]
    Idle,
    /// In a stage, which a pause lets end first.
    Running {
        /// Time in this stage, milliseconds.
        #[serde(default)]
        elapsed_ms: u64,
        /// The external processor that runs it, if one does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        processor: Option<String>,
        /// How far the stage is, where that can be seen: `layer 7 of 11`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<String>,
    },
    /// Waiting; a pause takes effect at once.
    Waiting {
        /// Time since it began to wait.
        #[serde(default)]
        elapsed_ms: u64,
        /// For what, e.g. `retry 2 of 5`.
        #[serde(rename = "for", default)]
        reason: String,
    },
    /// In a stage, and paused when it ends. Counts as running.
    PausePending {
        /// Time in this stage, milliseconds.
        #[serde(default)]
        elapsed_ms: u64,
        /// How far the stage is, where that can be seen: `layer 7 of 11`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<String>,
    },
    /// Held up until somebody resumes it.
    Paused {
        /// Time since the pause took effect.
        #[serde(default)]
        elapsed_ms: u64,
        /// Who holds it up: that decides whether a restart ends the pause.
        #[serde(default)]
        by: PausedBy,
    },
    /// Its worker does not answer, and what else is said of the thread is from before: only of a
    /// worker behind a sidecar.
    Unreachable {
        /// Time since the worker answered last.
        #[serde(default)]
        elapsed_ms: u64,
        /// What became of asking it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// A status of a newer version.
    #[serde(other)]
    Other,
}

/// Who paused a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PausedBy {
    /// A command; outlives a restart.
    #[default]
    Operator,
    /// A failure; retried once after a restart.
    Error,
    /// Somebody a newer version knows.
    #[serde(other)]
    Other,
}

impl ThreadStatus {
    /// The status in one word, as in its `kind`.
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// Whether the thread is paused.
    pub fn is_paused(&self) -> bool {
        matches!(self, ThreadStatus::Paused { .. })
    }

    /// For how long the thread has been paused; `None` while it is not.
    pub fn paused_for(&self) -> Option<std::time::Duration> {
        match self {
            ThreadStatus::Paused { elapsed_ms, .. } => {
                Some(std::time::Duration::from_millis(*elapsed_ms))
            }
            _ => None,
        }
    }
}

impl Summary {
    /// Counts threads as damocles does: idle ones are neither paused, running nor waiting.
    pub fn of(threads: &[ThreadSnapshot]) -> Summary {
        let count = |test: fn(&ThreadSnapshot) -> bool| {
            threads.iter().filter(|thread| test(thread)).count() as u32
        };
        Summary {
            threads: threads.len() as u32,
            empty: count(|t| t.sector_id.is_none()),
            paused: count(|t| matches!(t.status, ThreadStatus::Paused { .. })),
            running: count(|t| {
                matches!(t.status, ThreadStatus::Running { .. } | ThreadStatus::PausePending { .. })
            }),
            waiting: count(|t| matches!(t.status, ThreadStatus::Waiting { .. })),
            errors: count(|t| t.last_err.is_some()),
            cordoned: count(|t| t.cordoned),
        }
    }
}

/// For how long something has stood still, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standstill {
    /// For so many milliseconds, at the moment of the report.
    pub elapsed_ms: u64,
    /// What was tried last, and failed.
    pub why: String,
}

impl WorkerSnapshot {
    /// Whether this snapshot replaces `current` when both come from the same instance. (Instances
    /// are not ordered: which of two is the newer one is the reader's to know.)
    pub fn supersedes(&self, current: &WorkerSnapshot) -> bool {
        self.instance_id == current.instance_id && self.seq > current.seq
    }
}

impl Texts for WorkerSnapshot {
    fn texts(&mut self) -> Vec<&mut String> {
        self.threads.iter_mut().filter_map(|thread| thread.last_err.as_mut()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::codec::{CodecError, Encoding, decode};

    fn thread(index: u32, status: ThreadStatus) -> ThreadSnapshot {
        ThreadSnapshot {
            index,
            location: format!("/store{index}"),
            plan: "sealer".into(),
            sector_id: Some("s-t010000-2".into()),
            state: "C1Done".into(),
            stage: Some("C2".into()),
            cordoned: false,
            status,
            revision: 14,
            retry: 0,
            end_pending: None,
            last_err: None,
        }
    }

    fn snapshot(threads: Vec<ThreadSnapshot>) -> WorkerSnapshot {
        WorkerSnapshot {
            name: "w1".into(),
            instance_id: Id::NIL,
            epoch: None,
            seq: 7,
            version: "0.1.0".into(),
            dest: "damocles.v1.cmd.w1".into(),
            host: "h".into(),
            pid: 42,
            location_id: None,
            started_at: 1,
            taken_at: 2,
            ping_interval_ms: 10_000,
            status: WorkerStatus::Running,
            history_stands_still: None,
            unreachable: None,
            summary: Summary::of(&threads),
            threads,
        }
    }

    #[test]
    fn the_json_of_a_snapshot_is_pinned() {
        let paused = thread(0, ThreadStatus::Paused { elapsed_ms: 17_000, by: PausedBy::Error });
        let expected = json!({
            "name": "w1", "instance_id": "00000000-0000-0000-0000-000000000000", "seq": 7, "version": "0.1.0",
            "dest": "damocles.v1.cmd.w1", "host": "h", "pid": 42, "started_at": 1, "taken_at": 2,
            "ping_interval_ms": 10000, "status": "running",
            "summary": {"threads": 1, "empty": 0, "paused": 1, "running": 0, "waiting": 0, "errors": 0, "cordoned": 0},
            "threads": [{
                "index": 0, "location": "/store0", "plan": "sealer", "sector_id": "s-t010000-2", "state": "C1Done",
                "stage": "C2", "status": {"kind": "paused", "elapsed_ms": 17000, "by": "error"}, "revision": 14,
                "retry": 0,
            }],
        });
        assert_eq!(serde_json::to_value(snapshot(vec![paused])).unwrap(), expected);
    }

    #[test]
    fn a_history_that_stands_still_is_pinned() {
        let standstill = Standstill { elapsed_ms: 120_000, why: "no answer".into() };
        let still = WorkerSnapshot { history_stands_still: Some(standstill), ..snapshot(vec![]) };
        let expected = json!({"elapsed_ms": 120_000, "why": "no answer"});
        assert_eq!(serde_json::to_value(still).unwrap()["history_stands_still"], expected);
    }

    #[test]
    fn statuses_are_pinned_and_the_messagepack_round_trip_keeps_them() {
        let all = [
            (ThreadStatus::Idle, json!({"kind": "idle"})),
            (
                ThreadStatus::Running { elapsed_ms: 5, processor: None, progress: None },
                json!({"kind": "running", "elapsed_ms": 5}),
            ),
            (
                ThreadStatus::Running {
                    elapsed_ms: 5,
                    processor: None,
                    progress: Some("layer 7 of 11".into()),
                },
                json!({"kind": "running", "elapsed_ms": 5, "progress": "layer 7 of 11"}),
            ),
            (
                ThreadStatus::Waiting { elapsed_ms: 5, reason: "retry 2 of 5".into() },
                json!({"kind": "waiting", "elapsed_ms": 5, "for": "retry 2 of 5"}),
            ),
            (
                ThreadStatus::PausePending { elapsed_ms: 5, progress: None },
                json!({"kind": "pause_pending", "elapsed_ms": 5}),
            ),
            (
                ThreadStatus::Paused { elapsed_ms: 5, by: PausedBy::Operator },
                json!({"kind": "paused", "elapsed_ms": 5, "by": "operator"}),
            ),
            (
                ThreadStatus::Unreachable { elapsed_ms: 5, why: "no answer".into() },
                json!({"kind": "unreachable", "elapsed_ms": 5, "why": "no answer"}),
            ),
        ];
        for (status, expected) in all {
            assert_eq!(serde_json::to_value(&status).unwrap(), expected);
            let whole = snapshot(vec![thread(0, status)]);
            assert_eq!(
                decode::<WorkerSnapshot>(&Encoding::Msgpack.encode(&whole).unwrap()).unwrap(),
                whole
            );
        }
    }

    #[test]
    fn an_end_that_is_pending_is_a_text_beside_the_status() {
        let ends = ThreadSnapshot {
            end_pending: Some("given up, bad disk".into()),
            ..thread(0, ThreadStatus::Idle)
        };
        let written = serde_json::to_value(&ends).unwrap();
        assert_eq!(written["end_pending"], "given up, bad disk");
        assert_eq!(serde_json::from_value::<ThreadSnapshot>(written).unwrap(), ends);
    }

    #[test]
    fn a_newer_workers_snapshot_still_decodes() {
        let newer = json!({
            "instance_id": Id::NIL, "seq": 1, "status": "hibernating", "moon": "full",
            "threads": [{"index": 0, "status": {"kind": "levitating", "height": 3}}],
        });
        let read: WorkerSnapshot = decode(&Encoding::Msgpack.encode(&newer).unwrap()).unwrap();
        assert_eq!(read.status, WorkerStatus::Other);
        assert_eq!(read.threads[0].status, ThreadStatus::Other);
    }

    #[test]
    fn threads_are_counted_as_damocles_counts_them() {
        let mut threads = vec![
            thread(0, ThreadStatus::Idle),
            thread(1, ThreadStatus::Running { elapsed_ms: 0, processor: None, progress: None }),
            thread(2, ThreadStatus::PausePending { elapsed_ms: 0, progress: None }),
            thread(3, ThreadStatus::Waiting { elapsed_ms: 0, reason: String::new() }),
            thread(4, ThreadStatus::Paused { elapsed_ms: 0, by: PausedBy::Error }),
        ];
        threads[0].sector_id = None;
        threads[4].last_err = Some("x".into());
        threads[1].cordoned = true;
        let expected = Summary {
            threads: 5,
            empty: 1,
            paused: 1,
            running: 2,
            waiting: 1,
            errors: 1,
            cordoned: 1,
        };
        assert_eq!(Summary::of(&threads), expected);
    }

    #[test]
    fn only_a_higher_seq_of_the_same_instance_supersedes() {
        let current = snapshot(vec![]);
        let later = WorkerSnapshot { seq: 8, ..current.clone() };
        let other = WorkerSnapshot { instance_id: Id::generate(), ..later.clone() };
        assert!(later.supersedes(&current));
        assert!(
            !current.supersedes(&later)
                && !current.supersedes(&current)
                && !other.supersedes(&current)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_of_a_snapshot_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), first in prop::sample::select(vec![b'{', 0x80, 0x8F, 0xDE, 0xDF])) {
            let mut payload = vec![first];
            payload.extend(bytes);
            let _ = decode::<WorkerSnapshot>(&payload);
        }

        #[test]
        fn a_snapshot_fits_into_the_payload_limit(lengths in prop::collection::vec(0usize..3000, 1..20), character in prop::sample::select(vec!["x", "矿", "\"", "\u{1}"])) {
            let threads: Vec<_> = lengths.iter().enumerate().map(|(index, length)| {
                let mut thread = thread(index as u32, ThreadStatus::Idle);
                thread.last_err = Some(character.repeat(*length));
                thread
            }).collect();
            let whole = snapshot(threads);
            for encoding in [Encoding::Json, Encoding::Msgpack] {
                let written = encoding.encode_within(&whole, 8192).unwrap();
                prop_assert!(written.len() <= 8192);
                let read: WorkerSnapshot = decode(&written).unwrap();
                let bare = |mut snapshot: WorkerSnapshot| {
                    snapshot.texts().into_iter().for_each(String::clear);
                    snapshot
                };
                prop_assert_eq!(bare(read), bare(whole.clone()));
                let too_large = matches!(encoding.encode_within(&whole, 100), Err(CodecError::TooLarge { max_bytes: 100, .. }));
                prop_assert!(too_large);
            }
        }
    }
}
