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
    let paths: Vec<PathBuf> = later.iter().flat_map(|input| local_files(run, *input)).collect();
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

fn local_files(run: &StageRun<'_>, input: Input) -> Vec<PathBuf> {
    let files = &run.files;
    let paths: &[&PathBuf] = match input {
        Input::Pieces => &[&files.unsealed],
        Input::CommD => &[&files.tree_d],
        // The trees in the cache are made anew by PC2, which needs the layers beside them.
        Input::CommR => &[&files.sealed],
        Input::Pc1Out => &[&files.layers, &files.cache],
        Input::UpgradePieces => &[&files.update_unsealed],
        Input::UpgradeCommD => &[&files.update_tree_d],
        Input::UpgradeCommR => &[&files.update, &files.update_cache],
        Input::UnsealedPiece => &[&files.piece, &files.unseal_cache],
        Input::Deals
        | Input::Ticket
        | Input::Seed
        | Input::SyntheticProofType
        | Input::CheckedReplica
        | Input::PersistedFiles => &[],
        Input::PreCommit
        | Input::C1Out
        | Input::Proof
        | Input::SubmittedProof
        | Input::UpgradeProof
        | Input::WindowProofs => &[],
    };
    paths.iter().map(|path| (*path).clone()).collect()
}
