//! Who this worker is, and the snapshots it makes of itself.

use std::{
    net::{ToSocketAddrs, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use shared_msgs::{
    event::{Event, EventKind},
    id::Id,
    name::WorkerName,
    snapshot::{Standstill, Summary, ThreadSnapshot, ThreadStatus, WorkerSnapshot, WorkerStatus},
    subject::Prefix,
};

use tokio::{sync::watch, time::Instant};

use crate::{clock::Clock, lease::LeaseState, thread::mailbox::Commanded};

/// Everything a worker says about itself.
pub struct Worker {
    /// As the user wrote it, see [`shared_msgs::name`].
    pub name: WorkerName,
    /// This run of the process.
    pub instance_id: Id,
    /// Its threads, by index.
    pub threads: Vec<Arc<dyn Commanded>>,
    /// Version of the program that seals.
    pub version: String,
    /// The machine's host name.
    pub host: String,
    /// The id in the marker of its first thread's location, if there is one.
    pub location_id: Option<Id>,
    prefix: Prefix,
    started_at: u64,
    ping_interval: Duration,
    lease: watch::Receiver<LeaseState>,
    status: Mutex<WorkerStatus>,
    history_stands_still: Mutex<Option<(Instant, String)>>,
    clock: Clock,
    seq: AtomicU64,
}

impl Worker {
    /// A worker that starts now.
    pub fn new(
        name: WorkerName,
        prefix: Prefix,
        ping_interval: Duration,
        lease: watch::Receiver<LeaseState>,
        threads: Vec<Arc<dyn Commanded>>,
        clock: Clock,
    ) -> Self {
        Worker {
            name,
            instance_id: Id::generate(),
            threads,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            prefix,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            location_id: None,
            started_at: clock(),
            ping_interval,
            lease,
            status: Mutex::new(WorkerStatus::Running),
            history_stands_still: Mutex::default(),
            clock,
            seq: AtomicU64::new(1),
        }
    }

    /// Where it is in its life from now on.
    pub fn set_status(&self, status: WorkerStatus) {
        *self.status.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = status;
    }

    /// Since when its history stands still, and why, if it does; returns whether that is news.
    pub fn history_stands_still(&self, since: Option<(Instant, String)>) -> bool {
        let mut known = self.history_stands_still.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *known != since;
        *known = since;
        news
    }

    fn standstill(&self) -> Option<Standstill> {
        let known = self.history_stands_still.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map(|(since, why)| Standstill {
            elapsed_ms: since.elapsed().as_millis() as u64,
            why: why.clone(),
        })
    }

    /// The longest time between two reports.
    pub fn ping_interval(&self) -> Duration {
        self.ping_interval
    }

    /// The subject of one of its verbs.
    pub fn command_subject(&self, verb: &str) -> String {
        self.prefix.command(&self.name, verb)
    }

    /// Its command subject without the verb.
    pub fn dest(&self) -> String {
        self.prefix.dest(&self.name)
    }

    /// Something that happens to it now.
    pub fn event(&self, kind: EventKind) -> Event {
        Event::new(kind, (self.clock)())
    }

    /// Its state now, with the next sequence number.
    pub fn snapshot(&self) -> WorkerSnapshot {
        // The number is drawn before the threads are read, so that of two snapshots the later
        // number has the later state.
        let seq = self.seq.fetch_add(1, Ordering::SeqCst);
        let threads: Vec<ThreadSnapshot> =
            self.threads.iter().map(|thread| thread.snapshot()).collect();
        WorkerSnapshot {
            name: self.name.to_string(),
            instance_id: self.instance_id,
            epoch: self.lease.borrow().epoch(),
            seq,
            version: self.version.clone(),
            dest: self.dest(),
            host: self.host.clone(),
            pid: std::process::id(),
            location_id: self.location_id,
            started_at: self.started_at,
            taken_at: (self.clock)(),
            ping_interval_ms: self.ping_interval.as_millis() as u64,
            status: *self.status.lock().unwrap_or_else(|poisoned| poisoned.into_inner()),
            history_stands_still: self.standstill(),
            unreachable: threads.iter().find_map(unreachable),
            summary: Summary::of(&threads),
            threads,
        }
    }
}

// One that does not answer answers for none of its threads.
fn unreachable(thread: &ThreadSnapshot) -> Option<Standstill> {
    match &thread.status {
        ThreadStatus::Unreachable { elapsed_ms, why } => {
            Some(Standstill { elapsed_ms: *elapsed_ms, why: why.clone() })
        }
        _ => None,
    }
}

/// The name of a worker that has none configured: the local address of the route to the NATS
/// server. Nothing is sent, so it works while NATS is down.
pub fn default_name(server: (String, u16)) -> Result<WorkerName, String> {
    let (host, port) = server;
    let route = || -> std::io::Result<std::net::IpAddr> {
        let address =
            (host.as_str(), port).to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
        let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.connect(address)?;
        Ok(socket.local_addr()?.ip())
    };
    let address = route().map_err(|error| {
        format!("the worker has no name, and none can be made from the route to NATS at {host}:{port} ({error}): set worker.name")
    })?;
    address.to_string().parse().map_err(|error: shared_msgs::name::NameError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_name_a_worker_is_called_by_its_address() {
        assert_eq!(default_name(("127.0.0.1".into(), 4222)).unwrap().as_str(), "127.0.0.1");
        assert!(
            default_name(("no.such.host.invalid".into(), 4222))
                .unwrap_err()
                .contains("worker.name")
        );
    }
}
