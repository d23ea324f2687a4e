//! What outlives a loss of power: files and directories that were synced.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::files::at;

const PARTIAL: &str = ".partial";

/// The name under which a file is written until it is whole.
pub(crate) fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    PathBuf::from(name)
}

/// Replaces a file as a whole: whoever reads it later, after any end, sees the old bytes or the new
/// ones.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = partial(path);
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|error| at(path, error))?;
    path.parent().map_or(Ok(()), sync_dir)
}

pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| at(path, error))
}

/// Syncs the names in a directory.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    sync_file(path)
}

/// Syncs all files in a directory, and their names.
pub(crate) fn sync_dir_and_files(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path).map_err(|error| at(path, error))? {
        sync_file(&entry.map_err(|error| at(path, error))?.path())?;
    }
    sync_dir(path)
}
