//! When a pause may be sent to a damocles-worker (pure). It takes a pause before it stores what the
//! stage that runs has yielded, and in PC2 that destroys the sector. So a pause is held until the
//! list shows the thread where there is nothing that could be lost, and has shown it there for a
//! moment: what is only passed through may be over before the pause arrives.
//!
//! ```text
//!  held --the thread stands in such a place for long enough--> sent --taken--> paused
//! ```
//! `Idle` alone does not tell such a place. A thread shows it in the wait before a retry, but also
//! while it asks the sector manager inside a stage (the ticket of PC1), and between the end of a
//! stage and its result being stored.

use std::time::Duration;

use damocles_wire::worker::ThreadState;
use shared_msgs::plan::{Plan, State};

use super::mirror::{At, Seen};

/// In a wait that a state is made of, a thread stays for minutes: seen there by two lists in a row,
/// it does not just pass.
const IN_A_WAIT: Duration = Duration::from_millis(900);
/// A question for a job that is under way would lose the job. It is over by then, unless there is
/// no job to give, and then a minute passes until the next one.
const ASKING: Duration = Duration::from_millis(2_900);
/// Whoever stands still for so long in a stage that only asks, or can be done again, waits for its
/// next try.
const BEFORE_A_RETRY: Duration = Duration::from_secs(10);

/// What a pause is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The thread is to be paused wherever it is.
    Pause,
    /// It is to take no new job.
    Cordon,
}

/// Whether a pause that is sent now takes nothing away. The thread has stood as it is seen for that
/// long.
pub(crate) fn may_send(wanted: Wanted, seen: &Seen, stands: Duration) -> bool {
    // One who is paused keeps the pause in its box: the next resume would be undone by it.
    if !matches!(seen.does, ThreadState::Idle | ThreadState::NotPaused) {
        return false;
    }
    match (wanted, seen.at) {
        (_, At::BetweenJobs) => stands >= IN_A_WAIT,
        (_, At::Asking) => stands >= ASKING,
        (Wanted::Pause, At::Job(_)) => {
            (waits_by_nature(seen) && stands >= IN_A_WAIT)
                || (can_be_asked_again(seen) && stands >= BEFORE_A_RETRY)
        }
        (_, At::Start | At::Job(_)) => false,
    }
}

/// Whether the thread's state is nothing but a wait: for a message to land, for the seed.
pub(crate) fn waits_by_nature(seen: &Seen) -> bool {
    matches!(
        seen.at,
        At::Job(Some(State::PcSubmitted | State::PersistanceSubmitted | State::ProofSubmitted))
    )
}

// States whose stage only asks what may be asked again, or computes what may be computed again
// from what it leaves untouched, without asking anybody meanwhile. PC2 is none of them, nor PC1, in
// which the ticket is asked; nor what copies, downloads, or may be submitted once.
fn can_be_asked_again(seen: &Seen) -> bool {
    let again = match seen.plan {
        Some(Plan::Sealer) => &[
            State::Allocated,
            State::PieceAdded,
            State::TreeDBuilt,
            State::Pc2Done,
            State::Persisted,
            State::SeedAssigned,
            State::C1Done,
            State::C2Done,
        ][..],
        Some(Plan::Snapup | Plan::Rebuild) => &[State::PieceAdded],
        Some(Plan::Unseal | Plan::Wdpost | Plan::Niporep) | None => &[],
    };
    // Before v0.9 nothing tells a thread that waits from one that runs.
    seen.does == ThreadState::Idle
        && matches!(seen.at, At::Job(Some(state)) if again.contains(&state))
}
