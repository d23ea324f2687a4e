//! PC2: makes the trees and the replica.

use std::{fs, io, path::Path};

use shared_msgs::{plan::PlanEvent, sector_manager::SealVersion};

use super::{Done, StageRun, field, on_disk};
use crate::{
    failure::Failure,
    processor::task::Pc2,
    store::{
        durable::{sync_dir_and_files, sync_file},
        files::{at, remove_path},
        record::Blob,
    },
};

pub(super) async fn run(run: &StageRun<'_>) -> Result<Done, Failure> {
    // The replica, tree-c and tree-r-last.
    run.require_sectors(3).await?;
    let files = run.files.clone();
    on_disk(move || {
        remove_trees(&files.cache)?;
        // The replica is made in place from the data: a half-made one must not be encoded twice.
        fs::copy(&files.unsealed, &files.sealed).map(drop).map_err(|error| at(&files.sealed, error))
    })
    .await?;
    let task = Pc2 {
        pc1out: run.output(Blob::Pc1Out).await?,
        cache_dir: run.files.cache.clone(),
        sealed_file: run.files.sealed.clone(),
    };
    let output = run.compute(task).await?;
    let files = run.files.clone();
    on_disk(move || sync_file(&files.sealed).and_then(|()| sync_dir_and_files(&files.cache)))
        .await?;
    if output.comm_d != *field(&run.sector.comm_d, "commD")? {
        return Err(Failure::permanent("PC2's commD is not that of tree-d"));
    }
    let synthetic = run.sector.allocated.proof_type.version == SealVersion::Synthetic;
    // Commit phase 1 of a synthetic proof type needs the proofs that come next.
    if run.sealing.verify_after_pc2 && !synthetic {
        run.check_replica(run.replica_with(output.comm_r)?).await?;
    }
    let event = if synthetic { PlanEvent::Pc2NeedSyntheticProof } else { PlanEvent::Pc2 };
    run.done(event, |sector| sector.comm_r = Some(output.comm_r))
}

fn remove_trees(cache: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cache).map_err(|error| at(cache, error))? {
        let path = entry.map_err(|error| at(cache, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("sc-02-data-tree-c")
            || name.starts_with("sc-02-data-tree-r-last")
            || name == "p_aux"
            || name == "t_aux"
        {
            remove_path(&path)?;
        }
    }
    Ok(())
}
