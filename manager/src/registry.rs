//! What a manager knows of the workers: a read model, made of their snapshots alone. It knows no
//! NATS and no clock; `now` is the time on the manager's monotonic clock, `age` how long ago a
//! snapshot was published.
//!
//! ```text
//!                          same instance, higher seq: replace
//!                                   ┌─────┐
//!  first snapshot ──▶ newest instance ◀───┘       its snapshots are shown
//!                        │         ▲
//!   an instance never    │         │ it talks on, and the newest one
//!   seen before comes    ▼         │ has stopped or expired
//!                  superseded instance            its snapshots are ignored; if it talks on: `duplicate`
//! ```
//! Where both snapshots carry an epoch, it decides: the higher one is the newer instance, for good.
//! Which processes claim a name, and whether its worker is lost, the leases say ([`Claims`]).
//!
//! A registry is empty when a manager starts, filled from the state bucket, and fed by
//! [`crate::bus`] from then on; `api.list` is answered from it. Nothing of it is written down:
//! another manager that reads the same bus knows the same.
//!
//! What always holds:
//! - A worker's identity is the subject that its snapshot came on, never what the snapshot says.
//! - Newer wins, in whatever order snapshots arrive: of one instance by `seq`, of two by their
//!   epochs.
//! - No age compares two machines' clocks: it is the server's time minus the message's, and then
//!   the manager's own monotonic clock.
//! - A worker is lost when its lease has gone without a word of a stop, and not before a manager
//!   could know that.
//!
//! Tests: `registry/tests.rs`, `epoch_tests.rs`, `lease_tests.rs` (orders of arrival as
//! properties), the scenarios `managers::several` and `lease::lost`, and the simulation.
//!
//! Decision 023 in `docs/decisions`.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    time::Duration,
};

use shared_msgs::{
    api::{WorkerReport, WorkerView},
    id::Id,
    lease::{Claim, Lease},
    name::WorkerName,
    snapshot::{WorkerSnapshot, WorkerStatus, expires_after_ms},
    subject::Prefix,
    text::cut_text,
};

mod claims;
#[cfg(test)]
mod epoch_tests;
#[cfg(test)]
mod lease_tests;
#[cfg(test)]
mod tests;

pub use claims::Claims;

/// More workers than this are not taken in: names come from the bus, and memory is finite.
pub const MAX_WORKERS: usize = 100_000;
// How many earlier instances of a worker are remembered, and how much text of a report.
const MAX_SUPERSEDED: usize = 8;
const MAX_TEXT_BYTES: usize = 256;

/// All workers, by name.
pub struct Registry {
    prefix: Prefix,
    workers: BTreeMap<WorkerName, Worker>,
    claims: Claims,
    leases: Option<KnownLeases>,
    store_patience: Moment,
    // Since when JetStream should store what the workers publish: since this connection was made,
    // if there is JetStream.
    storing_expected: Option<Moment>,
}

// What makes the leases' absence tell something.
struct KnownLeases {
    // Before this moment leases may be missing because the bus was away, and be taken anew.
    complete_from: Moment,
    ttl: Moment,
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is what is shown of the worker now.
    Newest,
    /// What is known is newer.
    Stale,
    /// A superseded instance talks on: two processes use one name. Said once as long as that lasts.
    SecondWorker,
    /// There are [`MAX_WORKERS`] workers already.
    Full,
}

struct Worker {
    report: WorkerReport,
    seq: u64,
    heard: Moment,
    superseded: VecDeque<Superseded>,
    second_worker_until: Option<Moment>,
    // When its lease was last seen to end.
    lease_ended: Option<Moment>,
    // Since when it publishes and nothing of it is stored.
    unstored_since: Option<Moment>,
}

struct Superseded {
    instance: Id,
    seq: u64,
    at: Moment,
}

// Milliseconds on the manager's monotonic clock, negative before the manager was started.
type Moment = i64;

fn millis(duration: Duration) -> Moment {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

// How long a worker may be silent before it counts as gone, in milliseconds.
fn patience(ping_interval_ms: u64) -> Moment {
    i64::try_from(expires_after_ms(ping_interval_ms)).unwrap_or(i64::MAX)
}

impl Registry {
    /// An empty one. The prefix is that of the Dests it shows; so long reports may be unstored
    /// before it is shown.
    pub fn new(prefix: Prefix, store_patience: Duration) -> Self {
        let store_patience = millis(store_patience);
        Registry {
            prefix,
            workers: BTreeMap::new(),
            claims: Claims::default(),
            leases: None,
            store_patience,
            storing_expected: None,
        }
    }

    /// Takes a snapshot in, if it is news.
    pub fn hear(
        &mut self,
        name: &WorkerName,
        snapshot: &WorkerSnapshot,
        now: Duration,
        age: Duration,
    ) -> Heard {
        let heard = millis(now).saturating_sub(millis(age));
        if let Some(worker) = self.workers.get_mut(name) {
            let holds_lease = self.claims.is_held_by(name, snapshot.instance_id);
            return worker.hear(
                snapshot,
                report(name, &self.prefix, snapshot),
                holds_lease,
                millis(now),
                heard,
            );
        }
        if self.workers.len() >= MAX_WORKERS {
            return Heard::Full;
        }
        let report = report(name, &self.prefix, snapshot);
        let seq = snapshot.seq;
        let worker = Worker {
            report,
            seq,
            heard,
            superseded: VecDeque::new(),
            second_worker_until: None,
            lease_ended: None,
            unstored_since: None,
        };
        self.workers.insert(name.clone(), worker);
        Heard::Newest
    }

    /// Takes a snapshot in that was just read from where the last ones are kept. Like
    /// [`Registry::hear`]; and one that is known already gets its true age, for its message may
    /// have waited until this manager went on after a standstill.
    pub fn load(
        &mut self,
        name: &WorkerName,
        snapshot: &WorkerSnapshot,
        now: Duration,
        age: Duration,
    ) -> Heard {
        let heard = self.hear(name, snapshot, now, age);
        if let Some(worker) = self.workers.get_mut(name)
            && (worker.report.instance_id, worker.seq) == (snapshot.instance_id, snapshot.seq)
        {
            worker.heard = millis(now).saturating_sub(millis(age));
        }
        heard
    }

    /// JetStream should store what the workers publish from now on; or there is none.
    pub fn storing_expected(&mut self, since: Option<Duration>) {
        self.storing_expected = since.map(millis);
    }

    /// A worker has published its newest snapshot just now.
    pub fn published(&mut self, name: &WorkerName, now: Duration) {
        if let Some(worker) = self.workers.get_mut(name) {
            worker.unstored_since.get_or_insert(millis(now));
        }
    }

    /// A snapshot of a worker has come from where they are stored.
    pub fn stored(&mut self, name: &WorkerName) {
        if let Some(worker) = self.workers.get_mut(name) {
            worker.unstored_since = None;
        }
    }

    /// The workers of which nothing has been stored for long, sorted by name, and for how long.
    pub fn unstored(&self, now: Duration) -> impl Iterator<Item = (&WorkerName, Duration)> {
        self.workers.iter().filter_map(move |(name, worker)| {
            Some((name, Duration::from_millis(self.unstored_ms(worker, millis(now))?)))
        })
    }

    fn unstored_ms(&self, worker: &Worker, now: Moment) -> Option<u64> {
        let elapsed = now.saturating_sub(worker.unstored_since?.max(self.storing_expected?));
        u64::try_from(elapsed).ok().filter(|_| elapsed >= self.store_patience)
    }

    /// Forgets a worker; says whether it was known. If it speaks again it is back.
    pub fn remove(&mut self, name: &WorkerName) -> bool {
        self.workers.remove(name).is_some()
    }

    /// Forgets every worker that is not in `stored` and has not been heard since `since`.
    pub fn keep(&mut self, stored: &BTreeSet<WorkerName>, since: Duration) {
        self.workers.retain(|name, worker| stored.contains(name) || worker.heard >= millis(since));
    }

    /// The leases cannot be read for now: no worker is lost.
    pub fn leases_unknown(&mut self) {
        self.leases = None;
    }

    /// These are all leases there are. Workers count as lost only one time to live after the
    /// connection was made: until then they may take anew what an outage has cost them.
    pub fn leases_loaded(&mut self, claims: Claims, connected: Duration, ttl: Duration) {
        self.claims = claims;
        let ttl = millis(ttl);
        self.leases =
            Some(KnownLeases { complete_from: millis(connected).saturating_add(ttl), ttl });
    }

    /// Somebody claims a name, or goes on claiming it.
    pub fn claim(&mut self, claim: Claim, lease: Lease) {
        self.claims.insert(claim, lease, |name| self.workers.contains_key(name));
    }

    /// A claim has ended.
    pub fn unclaim(&mut self, claim: &Claim, now: Duration) {
        self.claims.remove(claim);
        if let Claim::Holder(name) = claim
            && let Some(worker) = self.workers.get_mut(name)
        {
            worker.lease_ended = Some(millis(now));
        }
    }

    /// The workers whose name sorts after `after`, all of them without one, sorted by name.
    pub fn list(
        &self,
        after: Option<&WorkerName>,
        now: Duration,
    ) -> impl Iterator<Item = WorkerView> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.workers
            .range::<WorkerName, _>((from, Bound::Unbounded))
            .map(move |(name, worker)| self.view(name, worker, millis(now)))
    }

    fn view(&self, name: &WorkerName, worker: &Worker, now: Moment) -> WorkerView {
        // One that has just taken the name over stands by no longer.
        let others = self
            .claims
            .standing_by(name)
            .iter()
            .filter(|lease| lease.instance_id != worker.report.instance_id);
        let standing_by: Vec<Lease> = others.cloned().collect();
        WorkerView {
            name: name.to_string(),
            last_ping_ms: u64::try_from(now.saturating_sub(worker.heard)).unwrap_or(0),
            duplicate: !standing_by.is_empty() || worker.has_second_worker(now),
            lost: !self.claims.is_held(name)
                && self.leases.as_ref().is_some_and(|leases| worker.is_lost(leases, now)),
            standing_by,
            unstored_ms: self.unstored_ms(worker, now),
            report: worker.report.clone(),
        }
    }

    /// How many workers are known.
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }
}

impl Worker {
    fn hear(
        &mut self,
        snapshot: &WorkerSnapshot,
        report: WorkerReport,
        holds_lease: bool,
        now: Moment,
        heard: Moment,
    ) -> Heard {
        if snapshot.instance_id == self.report.instance_id {
            if snapshot.seq <= self.seq {
                return Heard::Stale;
            }
            self.replace(report, snapshot.seq, self.heard.max(heard));
            return Heard::Newest;
        }
        let known = self.superseded.iter().position(|old| old.instance == snapshot.instance_id);
        if known.is_some_and(|position| snapshot.seq <= self.superseded[position].seq) {
            return Heard::Stale;
        }
        let is_newer = match (snapshot.epoch, self.report.epoch) {
            (Some(its), Some(newest)) if its > newest => true,
            // A bucket of leases that was made anew counts from the beginning.
            (Some(its), Some(newest)) if its < newest => holds_lease && self.is_gone(now),
            _ => match known {
                // A stored snapshot that was published before the newest one was heard is of an
                // instance before it.
                None => heard >= self.heard,
                // If so the second process has gone, and the first one is still there.
                Some(position) => heard >= self.superseded[position].at && self.is_gone(now),
            },
        };
        if !is_newer {
            return self.note_second_worker(snapshot, known, now, heard);
        }
        if let Some(position) = known {
            self.superseded.remove(position);
            self.second_worker_until = None;
        }
        self.supersede(heard);
        self.replace(report, snapshot.seq, heard);
        Heard::Newest
    }

    // One message may be an old one, and one that came late is no sign of life.
    fn note_second_worker(
        &mut self,
        snapshot: &WorkerSnapshot,
        known: Option<usize>,
        now: Moment,
        heard: Moment,
    ) -> Heard {
        let Some(position) = known else {
            if snapshot.epoch.is_some() && self.report.epoch.is_some() {
                self.remember(Superseded {
                    instance: snapshot.instance_id,
                    seq: snapshot.seq,
                    at: heard,
                });
            }
            return Heard::Stale;
        };
        let old = &mut self.superseded[position];
        if heard < old.at {
            return Heard::Stale;
        }
        old.seq = snapshot.seq;
        let said = self.has_second_worker(now);
        self.second_worker_until = Some(heard.saturating_add(patience(snapshot.ping_interval_ms)));
        if said { Heard::Stale } else { Heard::SecondWorker }
    }

    fn supersede(&mut self, at: Moment) {
        self.remember(Superseded { instance: self.report.instance_id, seq: self.seq, at });
    }

    fn remember(&mut self, instance: Superseded) {
        self.superseded.push_back(instance);
        if self.superseded.len() > MAX_SUPERSEDED {
            self.superseded.pop_front();
        }
    }

    fn replace(&mut self, report: WorkerReport, seq: u64, heard: Moment) {
        (self.report, self.seq, self.heard) = (report, seq, heard);
    }

    fn is_gone(&self, now: Moment) -> bool {
        self.report.status == WorkerStatus::Stopped
            || now.saturating_sub(self.heard) > patience(self.report.ping_interval_ms)
    }

    fn has_second_worker(&self, now: Moment) -> bool {
        self.second_worker_until.is_some_and(|until| now <= until)
    }

    // While nobody holds its name. One that has spoken since its lease ended, or whose lease was
    // not heard of yet, may be about to have one: it gets the time that a lease lasts.
    fn is_lost(&self, leases: &KnownLeases, now: Moment) -> bool {
        let never_had_one = self.report.epoch.is_none();
        if never_had_one
            || self.report.status == WorkerStatus::Stopped
            || now < leases.complete_from
        {
            return false;
        }
        self.lease_ended.is_some_and(|ended| self.heard <= ended)
            || now.saturating_sub(self.heard) >= leases.ttl
    }
}

// The identity is the subject's, never the payload's; and a payload's texts must not fill the
// memory.
fn report(name: &WorkerName, prefix: &Prefix, snapshot: &WorkerSnapshot) -> WorkerReport {
    let mut report = WorkerReport::new(snapshot, prefix.dest(name));
    let standstills = report.history_stands_still.iter_mut().chain(&mut report.unreachable);
    let why = standstills.map(|standstill| &mut standstill.why);
    for text in [&mut report.version, &mut report.host].into_iter().chain(why) {
        *text = cut_text(text, MAX_TEXT_BYTES);
    }
    report
}
