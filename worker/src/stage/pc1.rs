//! PC1: makes the layers, behind those that an earlier run has left whole.

use std::{fs, sync::Arc};

use shared_msgs::plan::Event;
use tracing::info;

use super::{
    Done, Job, field,
    layers::{Layers, MadeFrom},
    on_disk,
    tree_d::TREE_FILE,
};
use crate::{
    failure::Failure,
    processor::task::{Pc1, prover_id},
    store::{
        files::{at, remove_path},
        record::Blob,
    },
};

pub(super) async fn run(job: &Job<'_>) -> Result<Done, Failure> {
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
    let made_from = MadeFrom {
        registered_proof: task.registered_proof.clone(),
        prover_id: task.prover_id,
        sector_id: task.sector_id,
        ticket: task.ticket,
        comm_d: *field(&job.sector.comm_d, "commD")?,
    };
    let (files, size, count) = (job.files.clone(), job.sector_size()?, layers(job.sector_size()?));
    let layers = Arc::new(Layers::new(&files.cache, &files.layers, count, size, made_from));
    // The library takes trees that are there as they are: half-made ones must go, and the data's
    // tree, which is whole, is not built again.
    let kept = on_disk({
        let layers = layers.clone();
        move || {
            let kept = layers.prepare()?;
            remove_path(&files.sealed)?;
            let tree = files.cache.join(TREE_FILE);
            fs::hard_link(files.tree_d.join(TREE_FILE), &tree)
                .map_err(|error| at(&tree, error))
                .map(|()| kept)
        }
    })
    .await?;
    if kept > 0 {
        info!(sector = %job.id(), "PC1 goes on behind layer {kept} of {count}");
    }
    job.require_sectors(1 + count - kept).await?;
    let making = job.shared.processors.run(task, job.activity);
    let output = layers.follow(kept, job.activity, making).await?;
    let mut done = job.done(Event::Pc1, |sector| sector.pc1_done = true)?;
    done.outputs.push((Blob::Pc1Out, output.get().as_bytes().to_vec()));
    Ok(done)
}

// Layers of the stacked graph (Filecoin actors and proofs, `LAYERS`): 2 for the sizes of test
// networks.
fn layers(sector_size: u64) -> u64 {
    if sector_size < 32 << 30 { 2 } else { 11 }
}
