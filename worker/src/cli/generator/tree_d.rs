//! `generator tree-d`: the tree that all sectors without deals have in common.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use damocles_terminal::{CliError, Exit, Stop};
use shared_msgs::{
    duration::human_secs,
    sector_manager::{SealVersion, SectorSize},
};
use tokio::{task::spawn_blocking, time::Instant};

use super::{
    TreeDArgs,
    progress::{Progress, line},
};
use crate::{
    processor::{builtin, task::TreeD},
    stage::tree_d::TREE_FILE,
    store::{
        durable::sync_dir_and_files,
        files::{at, remove_path, require_space},
    },
};

// A tree is whole as soon as it has its name.
const UNFINISHED: &str = "tree-d.partial";

/// Makes it, unless it is there.
pub(super) async fn run(args: &TreeDArgs) -> Result<(), CliError> {
    let (name, size, tree) = (args.sector_size.name(), args.sector_size, args.path.join(TREE_FILE));
    if tree.exists() {
        line(&format!("{name} tree-d: already there, not looked at: {}", tree.display()));
        return Ok(());
    }
    let mut stop = Stop::listen()?;
    let started = Instant::now();
    let progress = Progress::start(&format!("{name} tree-d"));
    let directory = args.path.clone();
    let making = spawn_blocking(move || make(size, &directory));
    progress.wait("making", making, &mut stop).await?.map_err(failed)?.map_err(failed)?;
    progress.end();
    let (took, tree) = (human_secs(started.elapsed()), tree.display());
    line(&format!("{name} tree-d: made in {took}: {tree}"));
    Ok(())
}

fn make(size: SectorSize, directory: &Path) -> Result<(), String> {
    let unfinished = directory.join(UNFINISHED);
    let made = prepare(size, directory, &unfinished).map_err(|error| error.to_string()).and_then(
        |zeros| {
            let task = TreeD {
                registered_proof: SealVersion::V1_1.of(size).name(),
                staged_file: zeros,
                cache_dir: unfinished.clone(),
            };
            builtin::tree_d(task).map_err(|error| error.to_string())?;
            let named = || {
                sync_dir_and_files(&unfinished)?;
                fs::rename(unfinished.join(TREE_FILE), directory.join(TREE_FILE))
            };
            named().map_err(|error| at(directory, error).to_string())
        },
    );
    remove_path(&unfinished).map_err(|error| at(&unfinished, error).to_string())?;
    made
}

// An empty directory with a sector of zeros in it, which takes no room.
fn prepare(size: SectorSize, directory: &Path, unfinished: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(directory).map_err(|error| at(directory, error))?;
    require_space(directory, 2 * size.bytes())?;
    remove_path(unfinished)?;
    fs::create_dir(unfinished).map_err(|error| at(unfinished, error))?;
    let zeros = unfinished.join("zeros");
    File::create(&zeros)
        .and_then(|file| file.set_len(size.bytes()))
        .map_err(|error| at(&zeros, error))?;
    Ok(zeros)
}

fn failed(error: impl ToString) -> CliError {
    CliError::new(Exit::Failed, error)
}
