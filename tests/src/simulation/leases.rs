//! The bucket of leases, as the server keeps it: compare-and-set, and values that expire.

use std::{sync::Arc, time::Duration};

use damocles_worker::lease::{Answer, Ask, LeaseBucket};
use futures::future::BoxFuture;
use shared_msgs::{id::Id, lease::Lease};

use super::{bus::ask_server, line::Line, world::World};

/// How long a lease lasts.
pub const TTL: Duration = Duration::from_secs(3);
/// The same in milliseconds.
pub const TTL_MS: u64 = TTL.as_millis() as u64;

/// The key of a name in the bucket of leases, and all that it ever held.
#[derive(Default)]
pub struct LeaseKey {
    entry: Option<Entry>,
    /// Everything that was ever stored.
    pub stored: Vec<Stored>,
}

struct Entry {
    lease: Lease,
    revision: u64,
    at: u64,
}

/// A lease that was acquired or renewed.
pub struct Stored {
    /// When it was stored, milliseconds of the world's clock.
    pub at: u64,
    /// The process that stored it.
    pub instance: Id,
    /// It was another process's until then, or nobody's.
    pub acquired: bool,
    /// It was that of another process of the same worker, taken over.
    pub from_same_worker: bool,
}

impl LeaseKey {
    /// Answers what a worker asks; `revision` counts the bucket's changes.
    pub fn answer(&mut self, ask: Ask, revision: &mut u64, now: u64) -> Answer {
        self.entry.take_if(|entry| now >= entry.at + TTL_MS);
        match ask {
            Ask::Create(lease) if self.entry.is_none() => self.store(lease, revision, now),
            Ask::Update(lease, expected)
                if self.entry.as_ref().is_some_and(|entry| entry.revision == expected) =>
            {
                self.store(lease, revision, now)
            }
            Ask::Release(expected)
                if self.entry.take_if(|entry| entry.revision == expected).is_some() =>
            {
                Answer::Found(None)
            }
            Ask::Create(_) | Ask::Update(..) | Ask::Release(_) => Answer::Refused,
            Ask::Read | Ask::StandBy(_) => Answer::Found(
                self.entry.as_ref().map(|Entry { lease, revision, .. }| (lease.clone(), *revision)),
            ),
        }
    }

    /// Who holds it now.
    pub fn holder(&self, now: u64) -> Option<Id> {
        let entry = self.entry.as_ref().filter(|entry| now < entry.at + TTL_MS);
        entry.map(|entry| entry.lease.instance_id)
    }

    fn store(&mut self, lease: Lease, revision: &mut u64, now: u64) -> Answer {
        *revision += 1;
        let before = self.entry.take();
        let from_same_worker = before.is_some_and(|before| {
            before.lease.worker_id == lease.worker_id
                && before.lease.instance_id != lease.instance_id
        });
        let acquired = lease.epoch.is_none();
        self.stored.push(Stored {
            at: now,
            instance: lease.instance_id,
            acquired,
            from_same_worker,
        });
        self.entry = Some(Entry { lease, revision: *revision, at: now });
        Answer::Stored(*revision)
    }
}

/// The bucket as one process reaches it.
pub struct SimulatedBucket {
    /// The world that the bucket is in.
    pub world: Arc<World>,
    /// How the process is connected.
    pub line: Arc<Line>,
}

impl LeaseBucket for SimulatedBucket {
    fn ttl(&self) -> Duration {
        TTL
    }

    fn ask(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        let (name, process) = (self.line.name, self.line.process);
        Box::pin(ask_server(&self.world, &self.line, move |world| {
            let asked = match &ask {
                Ask::Create(_) => "creates",
                Ask::Update(..) => "updates",
                Ask::Read => "reads",
                Ask::StandBy(_) => "stands by and reads",
                Ask::Release(_) => "releases",
            };
            let answer = world.server().lease(name, ask);
            world.say(|| match &answer {
                Answer::Stored(revision) => {
                    format!("p{process} {asked} the lease of w{name}: revision {revision}")
                }
                Answer::Refused => format!("p{process} {asked} the lease of w{name}: refused"),
                Answer::Found(found) => {
                    format!(
                        "p{process} {asked} the lease of w{name}: {:?}",
                        found.as_ref().map(|(_, revision)| revision)
                    )
                }
            });
            answer
        }))
    }
}
