//! Who owns a worker's name: one entry a name in the lease bucket, which expires unless its holder
//! renews it.
//!
//! ```text
//!  key <w>                 the holder; its epoch is the revision at which it was acquired
//!  key <w>.<instance_id>   a second process of the name, which stands by
//! ```
//! The bucket's `max_age` is the time that a lease lasts. An expired key leaves a marker, over
//! which it can be made anew.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{id::Id, name::WorkerName};

/// How long a lease lasts where nothing else is configured.
pub const DEFAULT_TTL: Duration = Duration::from_secs(15);
/// The shortest that a server can keep (limit markers live for whole seconds).
pub const MIN_TTL: Duration = Duration::from_secs(1);

/// One process that claims a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The worker, by its first location: the same after a restart.
    pub worker_id: Id,
    /// The instance that holds it, see [`crate::snapshot`].
    pub instance_id: Id,
    /// The revision at which the lease was acquired; absent in the entry that acquires it, whose
    /// own revision it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The machine's host name.
    #[serde(default)]
    pub host: String,
    /// The process id on that machine.
    #[serde(default)]
    pub pid: u32,
}

/// The key of a name's lease.
pub fn key(worker: &WorkerName) -> String {
    worker.token()
}

/// The key under which a process that stands by says so.
pub fn standby_key(worker: &WorkerName, instance: Id) -> String {
    format!("{}.{instance}", worker.token())
}

/// What a key of the lease bucket is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The holder of this name.
    Holder(WorkerName),
    /// This process of that name, which stands by.
    StandingBy(WorkerName, Id),
}

/// What a key is about; `None` for one that nobody of ours writes.
pub fn claim_of(key: &str) -> Option<Claim> {
    match key.split_once('.') {
        None => WorkerName::from_token(key).ok().map(Claim::Holder),
        Some((token, instance)) => {
            Some(Claim::StandingBy(WorkerName::from_token(token).ok()?, instance.parse().ok()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_of_a_lease_is_pinned() {
        let lease = Lease {
            worker_id: Id::NIL,
            instance_id: Id::NIL,
            epoch: Some(7),
            host: "h".into(),
            pid: 42,
        };
        let expected = json!({"worker_id": Id::NIL, "instance_id": Id::NIL, "epoch": 7, "host": "h", "pid": 42});
        assert_eq!(serde_json::to_value(&lease).unwrap(), expected);
        assert_eq!(
            serde_json::to_value(Lease { epoch: None, ..lease }).unwrap().get("epoch"),
            None
        );
    }

    #[test]
    fn keys_say_whose_they_are() {
        let worker: WorkerName = "127.0.0.1".parse().unwrap();
        let instance = Id::generate();
        assert_eq!(claim_of(&key(&worker)), Some(Claim::Holder(worker.clone())));
        assert_eq!(
            claim_of(&standby_key(&worker, instance)),
            Some(Claim::StandingBy(worker, instance))
        );
        assert_eq!(claim_of("w1.x"), None);
        assert_eq!(claim_of("=41"), None);
    }
}
