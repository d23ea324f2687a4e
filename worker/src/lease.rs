//! Whether this process holds the lease of its worker's name. Two processes of one name would both
//! act on a command; so one holds the lease and the other stands by: it seals on, and neither
//! serves nor publishes.
//!
//! ```text
//!              acquired              a renewal is refused, another process holds it
//!  Unsettled ----------> Held ---------------------------------------------------> StandingBy
//!                         ^  unconfirmed once it was refused, or ran out unconnected   |
//!                         +------------------------------------------------------------+ the other one's lease is gone
//! ```
//! A lease outlives the connection, and the server that leads its bucket: until it has run out, no
//! other worker can have it. A restarted process of the same worker takes it over at once; a copy
//! of a living worker's disk does too, which the next renewal tells, sent as soon as there is a
//! connection.
//!
//! [`Keeper`] decides what is asked of the bucket of leases next, and what the answers mean: pure,
//! without clock or bus. [`keep`] asks. [`LeaseState`] is what everybody else sees.
//!
//! What always holds:
//! - A command is carried out only before the last renewal *sent* plus the time a lease lasts, on
//!   this machine's monotonic clock, and under the epoch under which it was heard.
//! - The key is made only when there is none, renewed and given back only by compare-and-set.
//! - A lease that was taken over is given back only after the time it lasts.
//! - Standing by costs nothing but the name: the threads seal on.
//!
//! Tests: `lease_tests.rs` (the keeper, and a bucket that refuses or is silent), the scenarios
//! `lease::*` and `once::cut`, and the simulation.
//!
//! Decision 045 in `docs/decisions`.

pub mod hold;

use std::time::Duration;

use damocles_client::hedged::{ASK_AGAIN, hedged};
use futures::future::BoxFuture;
use shared_msgs::{id::Id, lease::Lease};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{debug, info, warn};

use crate::failpoint;

/// What this process knows of the lease of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// The bucket has not answered so far: nothing is done under the name.
    Unsettled,
    /// It holds the lease.
    Held {
        /// The revision of the bucket at which the lease was acquired.
        epoch: u64,
        /// Until when nobody else can have it; `None` while that has to be confirmed.
        until: Option<Instant>,
    },
    /// There are no leases, for there is no JetStream; nobody else answered under the name.
    Unleased,
    /// Another process holds it.
    StandingBy,
}

impl LeaseState {
    /// Whether a command may be carried out at this moment.
    pub fn may_act(&self, now: Instant) -> bool {
        match self {
            LeaseState::Held { until, .. } => until.is_some_and(|until| now < until),
            LeaseState::Unleased => true,
            LeaseState::Unsettled | LeaseState::StandingBy => false,
        }
    }

    /// Whether the process holds the lease, and nothing has put that in doubt since: then it
    /// publishes.
    pub fn is_confirmed(&self) -> bool {
        matches!(self, LeaseState::Held { until: Some(_), .. } | LeaseState::Unleased)
    }

    /// Whether it holds the lease, confirmed or not: then it serves.
    pub fn is_holder(&self) -> bool {
        matches!(self, LeaseState::Held { .. } | LeaseState::Unleased)
    }

    /// The epoch of its lease.
    pub fn epoch(&self) -> Option<u64> {
        match self {
            LeaseState::Held { epoch, .. } => Some(*epoch),
            _ => None,
        }
    }
}

/// What is asked of the bucket of leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Make the key, if there is none.
    Create(Lease),
    /// Replace the value at this revision.
    Update(Lease, u64),
    /// Read the key, and change nothing.
    Read,
    /// Say under another key that this process stands by, and read the lease's.
    StandBy(Lease),
    /// Remove the key, if it is at this revision.
    Release(u64),
}

/// What the bucket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Stored, at this revision.
    Stored(u64),
    /// There is a key, or it is at another revision.
    Refused,
    /// The value and its revision; `None` if there is none, or a marker that one has expired.
    Found(Option<(Lease, u64)>),
}

/// The bucket of leases.
pub trait LeaseBucket: Send + Sync {
    /// How long a lease in it lasts.
    fn ttl(&self) -> Duration;
    /// Asks. An error means that nobody knows whether it was done.
    fn ask(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>>;
}

/// Keeps the lease of one name for one process.
#[derive(Debug)]
pub struct Keeper {
    me: Lease,
    /// The same worker, restarted, takes its lease over; later it would be a game of two with one
    /// disk.
    starting: bool,
    state: State,
    /// When the lease was taken over from a process that may be alive.
    taken_over: Option<Instant>,
    /// Whose lease it is while this process stands by.
    pub other: Option<Lease>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Seeking,
    Looking,
    TakingOver { revision: u64 },
    Held { epoch: u64, revision: u64 },
    StandingBy,
}

/// What an answer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease was acquired or renewed by what was asked.
    Renewed {
        /// The revision at which the lease was acquired.
        epoch: u64,
    },
    /// It may be somebody else's: the next question tells.
    InDoubt,
    /// Another process holds it.
    StandingBy,
}

impl Keeper {
    /// A process that starts.
    pub fn new(me: Lease) -> Self {
        Keeper { me, starting: true, state: State::Seeking, taken_over: None, other: None }
    }

    /// What to ask now.
    pub fn next(&self) -> Ask {
        match self.state {
            State::Seeking => Ask::Create(Lease { epoch: None, ..self.me.clone() }),
            State::Looking => Ask::Read,
            State::TakingOver { revision } => {
                Ask::Update(Lease { epoch: None, ..self.me.clone() }, revision)
            }
            State::Held { epoch, revision } => {
                Ask::Update(Lease { epoch: Some(epoch), ..self.me.clone() }, revision)
            }
            State::StandingBy => Ask::StandBy(self.me.clone()),
        }
    }

    /// What the answer to [`Keeper::next`], heard `now`, means.
    pub fn take(&mut self, answer: Answer, now: Instant) -> Renewal {
        if let State::TakingOver { .. } = self.state {
            self.taken_over = Some(now);
        }
        let (state, renewal) = match (&self.state, answer) {
            (State::Held { epoch, .. }, Answer::Stored(revision)) => {
                (State::Held { epoch: *epoch, revision }, Renewal::Renewed { epoch: *epoch })
            }
            (_, Answer::Stored(revision)) => {
                (State::Held { epoch: revision, revision }, Renewal::Renewed { epoch: revision })
            }
            (_, Answer::Refused) => (State::Looking, Renewal::InDoubt),
            (_, Answer::Found(None)) => (State::Seeking, Renewal::InDoubt),
            (_, Answer::Found(Some((lease, revision))))
                if lease.instance_id == self.me.instance_id =>
            {
                // Stored by a question whose answer was lost.
                (State::Held { epoch: lease.epoch.unwrap_or(revision), revision }, Renewal::InDoubt)
            }
            (_, Answer::Found(Some((lease, revision))))
                if self.starting && lease.worker_id == self.me.worker_id =>
            {
                (State::TakingOver { revision }, Renewal::InDoubt)
            }
            (_, Answer::Found(Some((lease, _)))) => {
                self.other = Some(lease);
                (State::StandingBy, Renewal::StandingBy)
            }
        };
        self.starting &= renewal == Renewal::InDoubt;
        self.state = state;
        renewal
    }

    /// The revision at which the lease is held, if it can be given back. One that was taken over
    /// has to run out until the process that had it cannot act under it any more: a copy of a
    /// living worker's disk would free the name under that worker's hands.
    pub fn to_give_back(&self, ttl: Duration, now: Instant) -> Option<u64> {
        match self.state {
            State::Held { revision, .. } if self.taken_over.is_none_or(|at| at + ttl <= now) => {
                Some(revision)
            }
            _ => None,
        }
    }
}

/// Why a lease is kept no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The connection was lost. The lease is still held for the time it has.
    Disconnected,
    /// For longer than a lease lasts the bucket has not answered: it may be gone.
    Silent,
}

/// Keeps the lease until the connection is `lost`, or its bucket is.
pub async fn keep(
    keeper: &mut Keeper,
    bucket: &dyn LeaseBucket,
    state: &watch::Sender<LeaseState>,
    lost: impl Future<Output = ()>,
) -> Ended {
    tokio::select! {
        biased;
        () = lost => Ended::Disconnected,
        () = keep_while_it_answers(keeper, bucket, state) => Ended::Silent,
    }
}

async fn keep_while_it_answers(
    keeper: &mut Keeper,
    bucket: &dyn LeaseBucket,
    state: &watch::Sender<LeaseState>,
) {
    let ttl = bucket.ttl();
    loop {
        failpoint::reach("task", "lease");
        let asking = || async {
            let sent = Instant::now();
            match bucket.ask(keeper.next()).await {
                Ok(answer) => Some((sent, answer)),
                Err(error) => {
                    debug!(error, "the lease could not be asked for");
                    None
                }
            }
        };
        // One that was stored although its answer was lost has those refused that come behind it;
        // what is read then tells.
        let Ok((sent, answer)) = timeout(ttl, hedged(ASK_AGAIN.min(ttl / 3), asking)).await else {
            return warn!(
                "nobody answers for the lease of this worker's name; its bucket is looked for again"
            );
        };
        let stood_by = *state.borrow() == LeaseState::StandingBy;
        let renewal = keeper.take(answer, Instant::now());
        show(keeper, renewal, sent + ttl, state);
        let pause = match renewal {
            // In a fleet that came up together renewals must not stay in step.
            Renewal::Renewed { .. } => (ttl / 3).mul_f64(0.8 + 0.4 * fastrand::f64()),
            Renewal::StandingBy if stood_by => ttl / 3,
            // The next question says so to everybody.
            Renewal::StandingBy | Renewal::InDoubt => Duration::ZERO,
        };
        sleep(pause).await;
    }
}

/// Waits for a connection; what that says is handed on. A lease that runs out before has to be
/// confirmed: by then another process may hold it.
pub async fn until_connected<T>(
    state: &watch::Sender<LeaseState>,
    connected: impl Future<Output = T>,
) -> T {
    let held = *state.borrow();
    let mut connected = std::pin::pin!(connected);
    if let LeaseState::Held { until: Some(until), .. } = held {
        tokio::select! {
            biased;
            () = sleep_until(until) => unconfirm(state),
            connected = &mut connected => return connected,
        }
    }
    connected.await
}

fn unconfirm(state: &watch::Sender<LeaseState>) {
    state.send_modify(|state| {
        if let LeaseState::Held { until, .. } = state {
            *until = None;
        }
    });
}

fn show(keeper: &Keeper, renewal: Renewal, until: Instant, state: &watch::Sender<LeaseState>) {
    let before = *state.borrow();
    match renewal {
        Renewal::Renewed { epoch } => {
            if before == LeaseState::StandingBy {
                info!(epoch, "the other worker of this name is gone; serving now");
            }
            state.send_replace(LeaseState::Held { epoch, until: Some(until) });
        }
        // Nothing may be done under a lease that was just refused.
        Renewal::InDoubt => unconfirm(state),
        Renewal::StandingBy => {
            if let (true, Some(other)) = (before != LeaseState::StandingBy, &keeper.other) {
                stands_by(&other.host, other.pid, other.instance_id);
            }
            state.send_replace(LeaseState::StandingBy);
        }
    }
}

/// Says who holds the lease.
pub fn stands_by(host: &str, pid: u32, instance_id: Id) {
    warn!(
        host, pid, %instance_id,
        "another worker of this name is running; this one seals on, but serves no commands and reports nothing"
    );
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
