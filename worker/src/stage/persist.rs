//! PersistFiles and SubmitPersisted: brings the sector into an attached store and says so.

use shared_msgs::{plan::Event, sealer::SubmitPersisted};

use super::{Done, Job, field, on_disk};
use crate::{
    plan::end::persisted_kind,
    store::{
        attached::{AttachedStore, Kind},
        location::require_space,
    },
    thread::failure::Failure,
};

pub(super) async fn copy_files(job: &Job<'_>) -> Result<Done, Failure> {
    // An upgraded replica is decoded with the one that it was made from: a rebuild brings back both.
    let kinds = match persisted_kind(job.sector) {
        Kind::Update if job.upgrade()?.source.is_none() => vec![Kind::Sealed, Kind::Update],
        kind => vec![kind],
    };
    let store = choose_store(job, kinds.len() as u64).await?;
    for kind in kinds {
        let (id, local, target) = (job.id(), job.local(kind), store.clone());
        let transfer = on_disk(move || target.transfer(id, kind, &local)).await?;
        let brought = transfer.clone();
        if !job.shared.processors.run(transfer, job.activity).await? {
            return Err(Failure::temporary(format!("the files could not be brought to store {:?}", store.name)));
        }
        on_disk(move || AttachedStore::check_arrived(&brought)).await?;
    }
    job.done(Event::Persist, |sector| sector.persisted = Some(store.name))
}

// A sector that was persisted before goes where it went, an upgrade where the sector is; others to the first store that
// has room.
async fn choose_store(job: &Job<'_>, replicas: u64) -> Result<AttachedStore, Failure> {
    let bytes = job.bytes_of(replicas)?;
    let wanted = job.sector.persisted.as_ref().or(job.sector.upgrade.as_ref().and_then(|upgrade| upgrade.source.as_ref()));
    let mut stores: Vec<_> = job.shared.attached.iter().filter(|store| !store.readonly).cloned().collect();
    if stores.is_empty() {
        return Err(Failure::permanent("no attached store can be written to: configure [[attached]] without readonly"));
    }
    stores.sort_by_key(|store| Some(&store.name) != wanted);
    let usable = move || {
        let mut unusable = vec![];
        for store in stores {
            match store.check_present().and_then(|()| require_space(&store.path, bytes)) {
                Ok(()) => return Ok(Ok(store)),
                Err(error) => unusable.push(error.to_string()),
            }
        }
        Ok(Err(unusable.join("; ")))
    };
    on_disk(usable).await?.map_err(|unusable| Failure::temporary(format!("no attached store can be used: {unusable}")))
}

pub(super) async fn submit(job: &Job<'_>) -> Result<Done, Failure> {
    let store = field(&job.sector.persisted, "store")?.clone();
    let is_upgrade = job.sector.upgrade.is_some();
    let request = SubmitPersisted { request_id: job.request_id, sector: job.id(), store: store.clone(), is_upgrade };
    if job.ask(&request).await? {
        job.done(Event::SubmitPersistance, |_| {})
    } else {
        Err(Failure::permanent(format!("the sector manager does not find the sector's files in store {store:?}")))
    }
}
