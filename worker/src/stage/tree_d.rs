//! TreeD: builds the Merkle tree of the unsealed file, and with it the data's commitment.
//!
//! Decision 014 in `docs/decisions`.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use shared_msgs::{plan::PlanEvent, sector_manager::Commitment};

use super::{Done, StageRun, on_disk};
use crate::{
    failure::Failure,
    processor::task::{CommD, TreeD},
    store::{
        durable::sync_dir_and_files,
        files::{at, fresh_dir},
    },
};

// The proofs library's name for it.
pub(crate) const TREE_FILE: &str = "sc-02-data-tree-d.dat";
const NODE_BYTES: u64 = 32;

pub(super) async fn run(run: &StageRun<'_>) -> Result<Done, Failure> {
    let upgrading = run.is_for_upgrade();
    let files = &run.files;
    let (staged_file, cache_dir) = if upgrading {
        (&files.update_unsealed, &files.update_tree_d)
    } else {
        (&files.unsealed, &files.tree_d)
    };
    let (staged_file, cache_dir) = (staged_file.clone(), cache_dir.clone());
    // A tree that is there is taken as it is, so a half-made one must go.
    on_disk({
        let cache_dir = cache_dir.clone();
        move || fresh_dir(&cache_dir)
    })
    .await?;
    let tree = cache_dir.join(TREE_FILE);
    match run.static_tree()? {
        Some(made_before) => {
            let tree = tree.clone();
            on_disk(move || symlink(made_before, &tree).map_err(|error| at(&tree, error))).await?;
        }
        None => {
            run.require_sectors(2).await?;
            let task = TreeD {
                registered_proof: run.proof_name(),
                staged_file,
                cache_dir: cache_dir.clone(),
            };
            run.compute(task).await?;
            // What is committed as made must outlive a loss of power; here as after each stage that
            // makes files.
            on_disk(move || sync_dir_and_files(&cache_dir)).await?;
        }
    }
    let leaves = run.sector_size() / NODE_BYTES;
    let comm_d = on_disk(move || root_of(&tree, leaves)).await?;
    check_pieces(run, comm_d).await?;
    run.done(PlanEvent::BuildTreeD, |sector| match &mut sector.upgrade {
        Some(upgrade) if upgrading => upgrade.comm_d = Some(comm_d),
        _ => sector.comm_d = Some(comm_d),
    })
}

impl StageRun<'_> {
    // Every sector of zeros has the same tree: one that was made before will do.
    fn static_tree(&self) -> Result<Option<PathBuf>, Failure> {
        Ok(if self.deals().is_empty() {
            self.shared.static_tree_d.get(&self.sector_size()).cloned()
        } else {
            None
        })
    }
}

// A binary tree's file holds the leaves, then each row above; its last node is the root.
fn root_of(tree: &Path, leaves: u64) -> io::Result<Commitment> {
    let mut file = File::open(tree).map_err(|error| at(tree, error))?;
    let (size, expected) = (file.metadata()?.len(), (2 * leaves - 1) * NODE_BYTES);
    if size != expected {
        return Err(io::Error::other(format!(
            "{}: {size} bytes, a whole tree has {expected}",
            tree.display()
        )));
    }
    let mut root = [0; NODE_BYTES as usize];
    file.seek(SeekFrom::End(-(NODE_BYTES as i64)))?;
    file.read_exact(&mut root).map_err(|error| at(tree, error))?;
    Ok(root)
}

async fn check_pieces(run: &StageRun<'_>, comm_d: Commitment) -> Result<(), Failure> {
    let task = CommD { registered_proof: run.proof_name(), piece_infos: run.piece_infos()? };
    if run.compute(task).await? == comm_d {
        Ok(())
    } else {
        Err(Failure::permanent("tree-d's root is not the commitment of the pieces"))
    }
}
