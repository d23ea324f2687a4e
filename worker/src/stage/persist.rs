//! PersistFiles and SubmitPersisted: brings the sector into an attached store and says so.
//!
//! Decision 044 in `docs/decisions`.

use std::fs;

use shared_msgs::{
    plan::{Event, Plan},
    sector_manager::SubmitPersisted,
};
use tracing::warn;

use super::{Done, Job, field, on_disk};
use crate::{
    failure::Failure,
    plan::end::persisted_kind,
    store::{
        attached::{AttachedStore, Kind},
        location::require_space,
    },
};

pub(super) async fn copy_files(job: &Job<'_>) -> Result<Done, Failure> {
    // An upgraded replica is decoded with the one that it was made from: a rebuild brings back
    // both.
    let kinds = match persisted_kind(job.sector) {
        Kind::Update if job.upgrade()?.source.is_none() => vec![Kind::Sealed, Kind::Update],
        kind => vec![kind],
    };
    let mut refused = vec![];
    for store in candidates(job)? {
        if let Err(error) = usable(job, &store, &kinds).await? {
            refused.push(error);
            continue;
        }
        if !is_begun(job, &store) {
            // What is there is never replaced by a sector that happens to have its number.
            require_none(job, &store, &kinds).await?;
            return Ok(job.note(|sector| sector.persisting = Some(store.name)));
        }
        match bring(job, &store, &kinds).await {
            Ok(()) => {
                return job.done(Event::Persist, |sector| sector.persisted = Some(store.name));
            }
            // The look before has not shown it, or it has become so meanwhile.
            Err(failure) if is_refused(&failure.message) => {
                warn!(sector = %job.id(), store = store.name, %failure, "this store cannot be written to; the next one is tried");
                refused.push(failure.message);
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::temporary(format!("no attached store can be used: {}", refused.join("; "))))
}

// Whether what the store has of the sector is this job's: a rebuild replaces the sector by itself.
fn is_begun(job: &Job<'_>, store: &AttachedStore) -> bool {
    let begun = [&job.sector.persisting, &job.sector.persisted].into_iter().flatten();
    let named = |name: &String| {
        AttachedStore::named(&job.shared.attached, name)
            .is_some_and(|named| named.name == store.name)
    };
    job.plan == Plan::Rebuild || begun.into_iter().any(named)
}

async fn require_none(job: &Job<'_>, store: &AttachedStore, kinds: &[Kind]) -> Result<(), Failure> {
    let replicas: Vec<_> = kinds.iter().map(|kind| store.files(job.id(), *kind).replica).collect();
    let there = on_disk(move || {
        Ok(replicas.into_iter().find(|replica| fs::symlink_metadata(replica).is_ok()))
    })
    .await?;
    match there {
        None => Ok(()),
        Some(replica) => Err(Failure::permanent(format!(
            "store {:?} has a replica of {} that this job has not brought, {}: move it away if it is not needed, then resume",
            store.name,
            job.id(),
            replica.display()
        ))),
    }
}

// A sector that was persisted before goes where it went, an upgrade where the sector is; others to
// the first store that can take them.
fn candidates(job: &Job<'_>) -> Result<Vec<AttachedStore>, Failure> {
    let stores = &job.shared.attached;
    let before = job.sector.persisted.as_ref().or(job.sector.persisting.as_ref());
    let wanted = before.or(job.sector.upgrade.as_ref().and_then(|upgrade| upgrade.source.as_ref()));
    let wanted =
        wanted.and_then(|name| AttachedStore::named(stores, name)).map(|store| &store.name);
    let mut writable: Vec<_> = stores.iter().filter(|store| !store.readonly).cloned().collect();
    if writable.is_empty() {
        return Err(Failure::permanent(
            "no attached store can be written to: configure [[attached]] without readonly",
        ));
    }
    writable.sort_by_key(|store| Some(&store.name) != wanted);
    Ok(writable)
}

// Why a store cannot take them, if so.
async fn usable(
    job: &Job<'_>,
    store: &AttachedStore,
    kinds: &[Kind],
) -> Result<Result<(), String>, Failure> {
    let (bytes, store, kinds) = (job.bytes_of(kinds.len() as u64)?, store.clone(), kinds.to_vec());
    let look = move || {
        let writable = || kinds.iter().try_for_each(|kind| store.check_writable(*kind));
        let checked = store
            .check_present()
            .and_then(|()| writable())
            .and_then(|()| require_space(&store.path, bytes));
        Ok(checked.map_err(|error| error.to_string()))
    };
    on_disk(look).await
}

async fn bring(job: &Job<'_>, store: &AttachedStore, kinds: &[Kind]) -> Result<(), Failure> {
    for kind in kinds.iter().copied() {
        let (id, local, target) = (job.id(), job.local(kind), store.clone());
        let transfer = on_disk(move || target.transfer(id, kind, &local)).await?;
        let brought = transfer.clone();
        if !job.shared.processors.run(transfer, job.activity).await? {
            return Err(Failure::temporary(format!(
                "the files could not be brought to store {:?}",
                store.name
            )));
        }
        on_disk(move || AttachedStore::check_arrived(&brought)).await?;
    }
    Ok(())
}

// By the system's words for it: a processor has no others.
fn is_refused(message: &str) -> bool {
    ["Read-only file system", "Permission denied"].iter().any(|sign| message.contains(sign))
}

pub(super) async fn submit(job: &Job<'_>) -> Result<Done, Failure> {
    let store = field(&job.sector.persisted, "store")?.clone();
    let is_upgrade = job.sector.upgrade.is_some();
    let request = SubmitPersisted {
        request_id: job.request_id,
        sector: job.id(),
        store: store.clone(),
        is_upgrade,
    };
    if job.ask(&request).await? {
        job.done(Event::SubmitPersistance, |_| {})
    } else {
        Err(Failure::permanent(format!(
            "the sector manager does not find the sector's files in store {store:?}"
        )))
    }
}
