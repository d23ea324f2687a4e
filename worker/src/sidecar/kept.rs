//! What a sidecar must not forget of a thread (pure): what was asked of it and is not done yet, and
//! what of its box is known. It outlives the sidecar, see [`super::memory`].
//!
//! ```text
//!            held              sent                        the list says: paused, no error
//!  nothing ------> a pause ------------> in the box ------------------------------------> nothing
//!     ^    <------ (taken back)             |
//!     |             ^                       +--paused by an error--> may be left --resumed--> nothing
//!     +-------------+--the worker was restarted, or has gone on: the box is empty
//! ```

use serde::{Deserialize, Serialize};
use shared_msgs::{id::Id, snapshot::PausedBy};

use super::{
    mirror::{Seen, Shown},
    release::Wanted,
};

/// Everything durable about a thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    /// Counts the thread's changes; never reused.
    pub(crate) revision: u64,
    pub(crate) shown: Shown,
    /// A pause is wanted that was not sent yet.
    pub(crate) held: bool,
    /// It is to take no new job.
    pub(crate) cordoned: bool,
    pub(crate) in_box: InBox,
    /// The pause in force, or in the box, is there for the cordon alone.
    pub(crate) for_cordon: bool,
    /// The pause in the box is not wanted any more: it is ended as soon as it is in force.
    pub(crate) resume_next: bool,
    /// PC2 was seen running in the state that the thread is in.
    pub(crate) pc2_ran: bool,
    /// A resume on its way, whose outcome nobody has been told yet.
    pub(crate) resuming: Option<Resuming>,
}

/// What is known of the box, which holds one pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InBox {
    /// Nothing of this sidecar.
    #[default]
    Nothing,
    /// A pause, which the thread has not taken yet.
    Pause,
    /// A pause, perhaps: an error has paused the thread after it was sent. Then the next resume is
    /// followed by a pause at once, before its state is applied.
    PauseMayBeLeft,
}

/// A resume on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resuming {
    pub(crate) request_id: Id,
    pub(crate) from: String,
    pub(crate) to: String,
}

impl Kept {
    /// Whether the thread is to be paused, and is not yet.
    pub(crate) fn is_pause_pending(&self) -> bool {
        self.held || (self.in_box == InBox::Pause && !self.for_cordon && !self.resume_next)
    }

    /// What a pause is to be sent for, if one is.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        match (self.in_box, self.held, self.cordoned) {
            (InBox::Pause | InBox::PauseMayBeLeft, ..) => None,
            (InBox::Nothing, true, _) => Some(Wanted::Pause),
            (InBox::Nothing, false, true) => Some(Wanted::Cordon),
            (InBox::Nothing, false, false) => None,
        }
    }

    /// A pause is sent, or is about to be.
    pub(crate) fn sent(&mut self) {
        self.for_cordon = !self.held;
        (self.held, self.in_box) = (false, InBox::Pause);
    }

    /// The pause that was about to be sent has not arrived.
    pub(crate) fn not_sent(&mut self) {
        self.held = !self.for_cordon;
        (self.for_cordon, self.in_box) = (false, InBox::Nothing);
    }

    /// The worker was restarted: its boxes are empty, and nothing is paused that was.
    pub(crate) fn restarted(&mut self) {
        if self.in_box == InBox::Pause && !self.resume_next {
            self.not_sent();
        }
        (self.in_box, self.for_cordon, self.resume_next) = (InBox::Nothing, false, false);
        self.pc2_ran = false;
    }

    /// The thread is seen by a list.
    pub(crate) fn see(&mut self, seen: &Seen) {
        let moved = (&self.shown.state, &self.shown.job) != (&seen.shown.state, &seen.shown.job);
        let runs = matches!(seen.does, damocles_wire::worker::ThreadState::Running { .. });
        self.pc2_ran = (self.pc2_ran && !moved) || (runs && seen.shown.state == "PC1Done");
        match (seen.shown.paused, self.in_box) {
            (Some(PausedBy::Operator), InBox::Pause) => self.in_box = InBox::Nothing,
            (Some(_), InBox::Pause) => self.in_box = InBox::PauseMayBeLeft,
            // A pause is taken before the next step begins.
            (None, InBox::Pause) if moved => {
                if !self.resume_next {
                    self.not_sent();
                }
                (self.in_box, self.resume_next) = (InBox::Nothing, false);
            }
            // Somebody has resumed it: whatever was in the box has been taken.
            (None, InBox::PauseMayBeLeft) => self.in_box = InBox::Nothing,
            _ => {}
        }
        match seen.shown.paused {
            // What was wanted is so, whoever did it.
            Some(_) => self.held = false,
            None if self.in_box == InBox::Nothing => self.for_cordon = false,
            None => {}
        }
        if self.shown != seen.shown {
            self.revision += 1;
            self.shown = seen.shown.clone();
        }
    }
}
