//! TreeD: builds the Merkle tree of the unsealed file, and with it the data's commitment.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use shared_msgs::{plan::Event, sealer::Commitment};

use super::{Done, Job, on_disk};
use crate::{
    processor::task::TreeD,
    store::location::{at, fresh_dir},
    thread::failure::Failure,
};

// The proofs library's name for it.
const TREE_FILE: &str = "sc-02-data-tree-d.dat";
const NODE_BYTES: u64 = 32;

pub(super) async fn run(job: &Job<'_>) -> Result<Done, Failure> {
    let cache_dir = job.files.tree_d.clone();
    // A tree that is there is taken as it is, so a half-made one must go.
    on_disk({
        let cache_dir = cache_dir.clone();
        move || fresh_dir(&cache_dir)
    })
    .await?;
    let tree = cache_dir.join(TREE_FILE);
    let task = TreeD { registered_proof: job.proof_name()?, staged_file: job.files.unsealed.clone(), cache_dir };
    job.shared.processors.run(task, job.activity).await?;
    let leaves = job.sector_size()? / NODE_BYTES;
    let comm_d = on_disk(move || root_of(&tree, leaves)).await?;
    check_pieces(job, comm_d)?;
    job.done(Event::BuildTreeD, |sector| sector.comm_d = Some(comm_d))
}

// A binary tree's file holds the leaves, then each row above; its last node is the root.
fn root_of(tree: &Path, leaves: u64) -> io::Result<Commitment> {
    let mut file = File::open(tree).map_err(|error| at(tree, error))?;
    let (size, expected) = (file.metadata()?.len(), (2 * leaves - 1) * NODE_BYTES);
    if size != expected {
        return Err(io::Error::other(format!("{}: {size} bytes, a whole tree has {expected}", tree.display())));
    }
    let mut root = [0; NODE_BYTES as usize];
    file.seek(SeekFrom::End(-(NODE_BYTES as i64)))?;
    file.read_exact(&mut root).map_err(|error| at(tree, error))?;
    Ok(root)
}

#[cfg(feature = "builtin-proofs")]
fn check_pieces(job: &Job<'_>, comm_d: Commitment) -> Result<(), Failure> {
    let expected = crate::processor::builtin::comm_d_of(&job.proof_name()?, &job.piece_infos()?).map_err(Failure::permanent)?;
    if expected == comm_d { Ok(()) } else { Err(Failure::permanent("tree-d's root is not the commitment of the pieces")) }
}

// Pre-commit phase 1 checks it again, wherever it runs.
#[cfg(not(feature = "builtin-proofs"))]
fn check_pieces(_job: &Job<'_>, _comm_d: Commitment) -> Result<(), Failure> {
    Ok(())
}
