//! PersistFiles and SubmitPersisted: brings the sector into an attached store and says so.

use shared_msgs::{plan::Event, sealer::SubmitPersisted};

use super::{Done, Job, field, on_disk};
use crate::thread::failure::Failure;

pub(super) async fn copy_files(job: &Job<'_>) -> Result<Done, Failure> {
    let writable = || job.shared.attached.iter().filter(|store| !store.readonly);
    // A sector that was persisted before goes where it went.
    let chosen = writable().find(|store| Some(&store.name) == job.sector.persisted.as_ref()).or_else(|| writable().next());
    let store = chosen.ok_or_else(|| Failure::permanent("no attached store can be written to: configure [[attached]]"))?.clone();
    let (id, files, name) = (job.id(), job.files.clone(), store.name.clone());
    on_disk(move || store.persist(id, &files)).await?;
    job.done(Event::Persist, |sector| sector.persisted = Some(name))
}

pub(super) async fn submit(job: &Job<'_>) -> Result<Done, Failure> {
    let store = field(&job.sector.persisted, "store")?.clone();
    let request = SubmitPersisted { request_id: job.request_id, sector: job.id(), store: store.clone(), is_upgrade: false };
    if job.ask(&request).await? {
        job.done(Event::SubmitPersistance, |_| {})
    } else {
        Err(Failure::permanent(format!("the sector manager does not find the sector's files in store {store:?}")))
    }
}
