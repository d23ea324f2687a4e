//! A job on a finished sector: pure.
//!
//! ```text
//!  Ready ──hand out──▶ Running ──▶ Finished | Failed
//!                        └─ its worker is silent for too long: handed out again
//! ```
//! The request that got a job holds it. Which thread that is, the mock learns from the reports that
//! it sends: its first step from `Empty`, or a heartbeat. A thread that lost its job is told when
//! it reports, and says that it gave the sector up; that is not the end of the job, which another
//! one has.
//!
//! Decisions 006, 028 in `docs/decisions`.

use serde::{Deserialize, Serialize};
use shared_msgs::{
    id::Id,
    plan::Plan,
    sector_manager::{HEARTBEAT, ReportState, SectorPiece, WorkerPlace},
    text::cut_text,
};

// In the reason that a thread is given, and comes back in its `report_aborted`.
const LOST: &str = "the job was handed out again after its worker was silent";
// Of the threads that lost it, the newest ones.
const MAX_FORMER: usize = 8;
const MAX_PLACE_BYTES: usize = 256;
/// The longest name of a state.
pub(super) const MAX_NAME_BYTES: usize = 64;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// What is to be done.
    pub work: Work,
    /// How far it is.
    pub status: Status,
    /// The state that was last reported.
    #[serde(default)]
    pub state: Option<String>,
    /// The thread that has it, or had it last, once it has reported.
    #[serde(default)]
    pub place: Option<WorkerPlace>,
    /// Threads that lost it.
    #[serde(default)]
    pub former: Vec<WorkerPlace>,
    /// Why an operator wants it given up.
    #[serde(default)]
    pub abort_requested: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "plan", rename_all = "snake_case")]
pub(crate) enum Work {
    /// Put deals into the sector.
    Snapup {
        pieces: Vec<SectorPiece>,
    },
    Rebuild,
    Unseal {
        piece_cid: String,
        /// The URL that the piece is sent to; the worker keeps it if there is none.
        dest: Option<String>,
    },
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Status {
    /// It waits for a worker to ask.
    Ready,
    /// It was handed out.
    Running {
        request_id: Id,
    },
    Finished,
    /// It failed or was given up.
    Failed {
        error: String,
    },
}

/// What a thread is told that has no job on this sector any more.
pub(crate) fn lost_reason() -> String {
    format!("{LOST}; it is not this thread's any more")
}

/// Whether a reason to give a sector up is that the job was lost.
pub(crate) fn is_lost(reason: &str) -> bool {
    reason.contains(LOST)
}

impl Work {
    /// The plan that does it.
    pub(crate) fn plan(&self) -> Plan {
        match self {
            Work::Snapup { .. } => Plan::Snapup,
            Work::Rebuild => Plan::Rebuild,
            Work::Unseal { .. } => Plan::Unseal,
        }
    }

    /// The pieces that it brings.
    pub(crate) fn pieces(&self) -> &[SectorPiece] {
        match self {
            Work::Snapup { pieces } => pieces,
            Work::Rebuild | Work::Unseal { .. } => &[],
        }
    }

    /// Whether it leaves the sector's files as they are.
    pub(crate) fn only_reads(&self) -> bool {
        matches!(self, Work::Unseal { .. })
    }

    /// Whether it takes this piece out.
    pub(crate) fn is_unseal_of(&self, piece: &str) -> bool {
        matches!(self, Work::Unseal { piece_cid, .. } if piece_cid == piece)
    }

    /// Whether both do the same to the sector.
    pub(crate) fn is_like(&self, other: &Work) -> bool {
        match (self, other) {
            (Work::Unseal { piece_cid: one, .. }, Work::Unseal { piece_cid: other, .. }) => {
                one == other
            }
            (one, other) => one.plan() == other.plan(),
        }
    }
}

impl Job {
    /// A job that nobody has.
    pub(crate) fn new(work: Work) -> Self {
        Job {
            work,
            status: Status::Ready,
            state: None,
            place: None,
            former: vec![],
            abort_requested: None,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.status, Status::Running { .. })
    }

    /// Whether it is still to be done.
    pub(crate) fn is_open(&self) -> bool {
        self.is_running() || self.status == Status::Ready
    }

    /// Whether this request has it.
    pub(crate) fn is_held_by(&self, request: Id) -> bool {
        self.status == Status::Running { request_id: request }
    }

    pub(crate) fn hand_out(&mut self, request_id: Id) {
        if let Some(former) = self.place.take() {
            self.former.retain(|known| *known != former);
            self.former.push(former);
            self.former.drain(..self.former.len().saturating_sub(MAX_FORMER));
        }
        self.status = Status::Running { request_id };
        self.state = None;
    }

    /// Takes it back from a request that got another one.
    pub(crate) fn take_back(&mut self) {
        self.status = Status::Ready;
    }

    pub(crate) fn finish(&mut self) {
        self.status = Status::Finished;
        self.state = None;
    }

    /// It failed; says whether deals come free by it.
    pub(crate) fn fail(&mut self, error: &str) -> bool {
        self.status = Status::Failed { error: error.to_owned() };
        self.state = None;
        !self.work.pieces().is_empty()
    }

    /// Whether this thread has it, had it, or lost it.
    pub(crate) fn was_of(&self, place: &WorkerPlace) -> bool {
        self.place.as_ref() == Some(place) || self.former.contains(place)
    }

    /// Takes a report about the sector; the reason to give it up, if there is one.
    pub(crate) fn reported(&mut self, report: &ReportState) -> Option<String> {
        let change = &report.state_change;
        let place = bounded(&report.worker);
        // Its first step is a new start, wherever it was before.
        if self.is_running() && change.prev == "Empty" {
            self.former.retain(|former| *former != place);
            self.place.get_or_insert_with(|| place.clone());
        } else if self.is_running() && change.event == HEARTBEAT && !self.former.contains(&place) {
            self.place.get_or_insert_with(|| place.clone());
        }
        if self.place.as_ref() == Some(&place) {
            if self.is_running() {
                self.state = Some(cut_text(&change.next, MAX_NAME_BYTES));
            }
            return self.abort_requested.clone().filter(|_| self.is_running());
        }
        // Nobody but the holder sends heartbeats for the sector.
        let lost =
            self.former.contains(&place) || self.place.is_some() && change.event == HEARTBEAT;
        lost.then(lost_reason)
    }
}

fn bounded(place: &WorkerPlace) -> WorkerPlace {
    let text = |text: &str| cut_text(text, MAX_PLACE_BYTES);
    WorkerPlace { instance: text(&place.instance), location: text(&place.location) }
}
