//! PC1: makes the layers.

use std::fs;

use shared_msgs::plan::Event;

use super::{Done, Job, field, on_disk, tree_d::TREE_FILE};
use crate::{
    processor::task::{Pc1, prover_id},
    store::{
        location::{at, fresh_dir, remove_path},
        record::Blob,
    },
    thread::failure::Failure,
};

pub(super) async fn run(job: &Job<'_>) -> Result<Done, Failure> {
    let files = job.files.clone();
    // The library takes trees and layers that are there as they are: half-made ones must go, and the data's tree, which
    // is whole, is not built again.
    on_disk(move || {
        fresh_dir(&files.cache)?;
        remove_path(&files.sealed)?;
        let tree = files.cache.join(TREE_FILE);
        fs::hard_link(files.tree_d.join(TREE_FILE), &tree).map_err(|error| at(&tree, error))
    })
    .await?;
    job.require_sectors(1 + layers(job.sector_size()?)).await?;
    let task = Pc1 {
        registered_proof: job.proof_name()?,
        cache_path: job.files.cache.clone(),
        in_path: job.files.unsealed.clone(),
        out_path: job.files.sealed.clone(),
        prover_id: prover_id(job.id().miner),
        sector_id: job.id().number,
        ticket: field(&job.sector.ticket, "ticket")?.ticket.0,
        piece_infos: job.piece_infos()?,
    };
    let output = job.shared.processors.run(task, job.activity).await?;
    let mut done = job.done(Event::Pc1, |sector| sector.pc1_done = true)?;
    done.outputs.push((Blob::Pc1Out, output.get().as_bytes().to_vec()));
    Ok(done)
}

// Layers of the stacked graph (Filecoin actors and proofs, `LAYERS`): 2 for the sizes of test networks.
fn layers(sector_size: u64) -> u64 {
    if sector_size < 32 << 30 { 2 } else { 11 }
}
