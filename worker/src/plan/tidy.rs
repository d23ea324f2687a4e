//! Going back: what the later stages left behind is removed before the sector goes on.

use std::path::PathBuf;

use super::{input::Input, inputs};
use crate::{
    failure::Failure,
    stage::{StageRun, on_disk},
    store::{attached::Kind, files::remove_path, record::Sector},
};

/// Removes it, and returns the sector as it is then. Safe to repeat.
pub(crate) async fn remove_later(run: &StageRun<'_>) -> Result<Sector, Failure> {
    let later = inputs::later(run.plan, run.state);
    let paths: Vec<PathBuf> =
        later.iter().flat_map(|input| input.files(&run.files)).cloned().collect();
    on_disk(move || paths.iter().try_for_each(|path| remove_path(path))).await?;
    let mut sector = run.sector.clone();
    if let Some(name) = &run.sector.persisted
        && later.contains(&Input::PersistedFiles)
    {
        let store = run.store_named(name).await?;
        let (id, kind) = (run.id(), Kind::persisted(run.sector));
        on_disk(move || store.remove(id, kind)).await?;
        sector.persisted = None;
    }
    Ok(sector)
}
