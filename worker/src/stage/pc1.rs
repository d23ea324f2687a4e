//! PC1: makes the layers, behind those that an earlier run has left whole.

use std::{fs, sync::Arc};

use shared_msgs::plan::PlanEvent;
use tracing::info;

use super::{
    Done, StageRun, field,
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

pub(super) async fn run(run: &StageRun<'_>) -> Result<Done, Failure> {
    let task = Pc1 {
        registered_proof: run.proof_name(),
        cache_path: run.files.cache.clone(),
        in_path: run.files.unsealed.clone(),
        out_path: run.files.sealed.clone(),
        prover_id: prover_id(run.id().miner),
        sector_id: run.id().number,
        ticket: field(&run.sector.ticket, "ticket")?.ticket.0,
        piece_infos: run.piece_infos()?,
    };
    let made_from = MadeFrom {
        registered_proof: task.registered_proof.clone(),
        prover_id: task.prover_id,
        sector_id: task.sector_id,
        ticket: task.ticket,
        comm_d: *field(&run.sector.comm_d, "commD")?,
    };
    let (files, size, count) = (run.files.clone(), run.sector_size(), layers(run.sector_size()));
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
        info!(sector = %run.id(), "PC1 goes on behind layer {kept} of {count}");
    }
    run.require_sectors(1 + count - kept).await?;
    let making = run.compute(task);
    let output = layers.follow(kept, run.activity, making).await?;
    let mut done = run.done(PlanEvent::Pc1, |sector| sector.pc1_done = true)?;
    done.outputs.push((Blob::Pc1Out, output.get().as_bytes().to_vec()));
    Ok(done)
}

// Layers of the stacked graph (Filecoin actors and proofs, `LAYERS`): 2 for the sizes of test
// networks.
fn layers(sector_size: u64) -> u64 {
    if sector_size < 32 << 30 { 2 } else { 11 }
}
