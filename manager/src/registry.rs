//! What a manager knows of the workers: a read model, made of their snapshots alone. It knows no NATS and no clock;
//! `now` is the time on the manager's monotonic clock, `age` how long ago a snapshot was published.
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
//! [`crate::bus`] feeds it and answers from it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    time::Duration,
};

use shared_msgs::{
    api::{WorkerReport, WorkerView},
    id::Id,
    name::WorkerName,
    snapshot::{WorkerSnapshot, WorkerStatus, cut_text},
    subject::Prefix,
};

#[cfg(test)]
mod tests;

/// A worker is expired when its newest report is older than so many of its own ping intervals.
pub const PINGS_TO_EXPIRE: u64 = 3;
/// More workers than this are not taken in: names come from the bus, and memory is finite.
pub const MAX_WORKERS: usize = 100_000;
// How many earlier instances of a worker are remembered, and how much text of a report.
const MAX_SUPERSEDED: usize = 8;
const MAX_TEXT_BYTES: usize = 256;

/// All workers, by name.
pub struct Registry {
    prefix: Prefix,
    workers: BTreeMap<WorkerName, Worker>,
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
    i64::try_from(ping_interval_ms.saturating_mul(PINGS_TO_EXPIRE)).unwrap_or(i64::MAX)
}

/// Whether a report of this age, from a worker that pings so often, is expired.
pub fn is_expired(age: Duration, ping_interval_ms: u64) -> bool {
    millis(age) > patience(ping_interval_ms)
}

impl Registry {
    /// An empty one. The prefix is that of the Dests it shows.
    pub fn new(prefix: Prefix) -> Self {
        Registry { prefix, workers: BTreeMap::new() }
    }

    /// Takes a snapshot in, if it is news.
    pub fn hear(&mut self, name: &WorkerName, snapshot: &WorkerSnapshot, now: Duration, age: Duration) -> Heard {
        let heard = millis(now).saturating_sub(millis(age));
        if let Some(worker) = self.workers.get_mut(name) {
            return worker.hear(name, &self.prefix, snapshot, millis(now), heard);
        }
        if self.workers.len() >= MAX_WORKERS {
            return Heard::Full;
        }
        let report = report(name, &self.prefix, snapshot);
        let worker = Worker { report, seq: snapshot.seq, heard, superseded: VecDeque::new(), second_worker_until: None };
        self.workers.insert(name.clone(), worker);
        Heard::Newest
    }

    /// Takes a snapshot in that was just read from where the last ones are kept. Like [`Registry::hear`]; and one that is
    /// known already gets its true age, for its message may have waited until this manager went on after a standstill.
    pub fn load(&mut self, name: &WorkerName, snapshot: &WorkerSnapshot, now: Duration, age: Duration) -> Heard {
        let heard = self.hear(name, snapshot, now, age);
        if let Some(worker) = self.workers.get_mut(name)
            && (worker.report.instance_id, worker.seq) == (snapshot.instance_id, snapshot.seq)
        {
            worker.heard = millis(now).saturating_sub(millis(age));
        }
        heard
    }

    /// Forgets a worker; says whether it was known. If it speaks again it is back.
    pub fn remove(&mut self, name: &WorkerName) -> bool {
        self.workers.remove(name).is_some()
    }

    /// Forgets every worker that is not in `stored` and has not been heard since `since`.
    pub fn keep(&mut self, stored: &BTreeSet<WorkerName>, since: Duration) {
        self.workers.retain(|name, worker| stored.contains(name) || worker.heard >= millis(since));
    }

    /// The workers whose name sorts after `after`, all of them without one, sorted by name.
    pub fn list(&self, after: Option<&WorkerName>, now: Duration) -> impl Iterator<Item = WorkerView> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.workers.range::<WorkerName, _>((from, Bound::Unbounded)).map(move |(name, worker)| worker.view(name, millis(now)))
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
    fn hear(&mut self, name: &WorkerName, prefix: &Prefix, snapshot: &WorkerSnapshot, now: Moment, heard: Moment) -> Heard {
        if snapshot.instance_id == self.report.instance_id {
            if snapshot.seq <= self.seq {
                return Heard::Stale;
            }
            self.replace(report(name, prefix, snapshot), snapshot.seq, self.heard.max(heard));
            return Heard::Newest;
        }
        let Some(position) = self.superseded.iter().position(|old| old.instance == snapshot.instance_id) else {
            // A stored snapshot that was published before the newest one was heard is of an instance before it.
            if heard < self.heard {
                return Heard::Stale;
            }
            self.supersede(heard);
            self.replace(report(name, prefix, snapshot), snapshot.seq, heard);
            return Heard::Newest;
        };
        let old = &mut self.superseded[position];
        if snapshot.seq <= old.seq || heard < old.at {
            return Heard::Stale;
        }
        old.seq = snapshot.seq;
        if self.is_gone(now) {
            // The second process has gone, the first one is still there.
            self.superseded.remove(position);
            self.supersede(heard);
            self.replace(report(name, prefix, snapshot), snapshot.seq, heard);
            self.second_worker_until = None;
            return Heard::Newest;
        }
        let said = self.has_second_worker(now);
        self.second_worker_until = Some(heard.saturating_add(patience(snapshot.ping_interval_ms)));
        if said { Heard::Stale } else { Heard::SecondWorker }
    }

    fn supersede(&mut self, at: Moment) {
        self.superseded.push_back(Superseded { instance: self.report.instance_id, seq: self.seq, at });
        if self.superseded.len() > MAX_SUPERSEDED {
            self.superseded.pop_front();
        }
    }

    fn replace(&mut self, report: WorkerReport, seq: u64, heard: Moment) {
        (self.report, self.seq, self.heard) = (report, seq, heard);
    }

    fn is_gone(&self, now: Moment) -> bool {
        self.report.status == WorkerStatus::Stopped || now.saturating_sub(self.heard) > patience(self.report.ping_interval_ms)
    }

    fn has_second_worker(&self, now: Moment) -> bool {
        self.second_worker_until.is_some_and(|until| now <= until)
    }

    fn view(&self, name: &WorkerName, now: Moment) -> WorkerView {
        WorkerView {
            name: name.to_string(),
            last_ping_ms: u64::try_from(now.saturating_sub(self.heard)).unwrap_or(0),
            duplicate: self.has_second_worker(now),
            lost: false,
            standing_by: vec![],
            report: self.report.clone(),
        }
    }
}

// The identity is the subject's, never the payload's; and a payload's texts must not fill the memory.
fn report(name: &WorkerName, prefix: &Prefix, snapshot: &WorkerSnapshot) -> WorkerReport {
    let mut report = WorkerReport::new(snapshot, prefix.dest(name));
    for text in [&mut report.version, &mut report.host] {
        *text = cut_text(text, MAX_TEXT_BYTES);
    }
    report
}
