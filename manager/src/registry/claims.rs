//! Who claims the workers' names, as the leases say.

use std::collections::BTreeMap;

use shared_msgs::{
    id::Id,
    lease::{Claim, Lease},
    name::WorkerName,
    text::cut_text,
};

use super::{MAX_TEXT_BYTES, MAX_WORKERS};

// Of one name; each renews its claim, so those that are left out come back when there is room.
const MAX_STANDING_BY: usize = 8;

/// The claims of all names.
#[derive(Default)]
pub struct Claims {
    names: BTreeMap<WorkerName, OfName>,
}

#[derive(Default)]
struct OfName {
    holder: Option<Lease>,
    standing_by: Vec<Lease>,
}

impl Claims {
    /// Takes a new or renewed claim in. Claims of names that nobody has `reported` are kept up to
    /// [`MAX_WORKERS`].
    pub fn insert(
        &mut self,
        claim: Claim,
        mut lease: Lease,
        reported: impl Fn(&WorkerName) -> bool,
    ) {
        lease.host = cut_text(&lease.host, MAX_TEXT_BYTES);
        let (Claim::Holder(name) | Claim::StandingBy(name, _)) = &claim;
        if self.names.len() >= MAX_WORKERS && !self.names.contains_key(name) && !reported(name) {
            return;
        }
        let of_name = self.names.entry(name.clone()).or_default();
        match claim {
            Claim::Holder(_) => of_name.holder = Some(lease),
            Claim::StandingBy(_, instance) => {
                // Whose it is says the key.
                lease.instance_id = instance;
                let standing_by = &mut of_name.standing_by;
                match standing_by.iter().position(|other| other.instance_id == instance) {
                    Some(position) => standing_by[position] = lease,
                    None if standing_by.len() < MAX_STANDING_BY => standing_by.push(lease),
                    None => {}
                }
            }
        }
    }

    /// Drops a claim, as its key has gone from the bucket of leases.
    pub fn remove(&mut self, claim: &Claim) {
        let (Claim::Holder(name) | Claim::StandingBy(name, _)) = claim;
        let Some(of_name) = self.names.get_mut(name) else { return };
        match claim {
            Claim::Holder(_) => of_name.holder = None,
            Claim::StandingBy(_, instance) => {
                of_name.standing_by.retain(|lease| lease.instance_id != *instance)
            }
        }
        if of_name.holder.is_none() && of_name.standing_by.is_empty() {
            self.names.remove(name);
        }
    }

    /// Whether somebody holds the name.
    pub fn is_held(&self, name: &WorkerName) -> bool {
        self.names.get(name).is_some_and(|of_name| of_name.holder.is_some())
    }

    /// Whether this process holds the name.
    pub fn is_held_by(&self, name: &WorkerName, instance: Id) -> bool {
        let holder = self.names.get(name).and_then(|of_name| of_name.holder.as_ref());
        holder.is_some_and(|lease| lease.instance_id == instance)
    }

    /// The processes that stand by.
    pub fn standing_by(&self, name: &WorkerName) -> &[Lease] {
        self.names.get(name).map_or(&[], |of_name| &of_name.standing_by)
    }

    /// How many names are claimed.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no name is claimed.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
