//! Attached stores: where sealed sectors are kept for good.
//!
//! ```text
//!  <store>/sealed/<sector>         the replica
//!  <store>/cache/<sector>/p_aux …  what proving needs later
//! ```
//! A file counts as there only once it is whole: it is copied under another name, synced, renamed, and the directory
//! is synced.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use shared_msgs::sealer::SectorId;

use super::location::{SectorFiles, at, remove_path};

const PARTIAL: &str = ".partial";

/// One attached store.
#[derive(Clone, Debug)]
pub struct AttachedStore {
    /// The name that the sector manager knows it by.
    pub name: String,
    /// Its absolute path.
    pub path: PathBuf,
    /// Nothing is written to it.
    pub readonly: bool,
}

impl AttachedStore {
    /// Makes what is missing of the store's directories.
    pub fn initialise(path: &Path) -> io::Result<PathBuf> {
        let path = std::path::absolute(path)?;
        for directory in ["sealed", "cache"] {
            fs::create_dir_all(path.join(directory)).map_err(|error| at(&path, error))?;
        }
        Ok(path)
    }

    /// Copies what must be kept of a sector: the replica, and from the cache `p_aux`, `t_aux` and the tree-r-last
    /// files (what Lotus and damocles keep of a finalized sector). Safe to repeat after a crash.
    pub fn persist(&self, sector: SectorId, files: &SectorFiles) -> io::Result<()> {
        let (sealed, cache) = self.paths(sector);
        fs::create_dir_all(&cache).map_err(|error| at(&cache, error))?;
        let mut kept = 0;
        for entry in fs::read_dir(&files.cache).map_err(|error| at(&files.cache, error))? {
            let entry = entry.map_err(|error| at(&files.cache, error))?;
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if text == "p_aux" || text == "t_aux" || text.starts_with("sc-02-data-tree-r-last") {
                copy_whole(&entry.path(), &cache.join(&name))?;
                kept += 1;
            }
        }
        if kept < 3 {
            let missing = format!("{}: p_aux, t_aux or tree-r-last is missing", files.cache.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, missing));
        }
        sync_dir(&cache)?;
        copy_whole(&files.sealed, &sealed)?;
        for directory in [sealed.parent(), cache.parent()].into_iter().flatten() {
            sync_dir(directory)?;
        }
        Ok(())
    }

    /// Removes a sector's files; those that are not there are no error.
    pub fn remove(&self, sector: SectorId) -> io::Result<()> {
        let (sealed, cache) = self.paths(sector);
        remove_path(&partial(&sealed))?;
        remove_path(&sealed)?;
        remove_path(&cache)
    }

    fn paths(&self, sector: SectorId) -> (PathBuf, PathBuf) {
        let name = sector.to_string();
        (self.path.join("sealed").join(&name), self.path.join("cache").join(&name))
    }
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    PathBuf::from(name)
}

fn copy_whole(from: &Path, to: &Path) -> io::Result<()> {
    let partial = partial(to);
    let copied = fs::copy(from, &partial).map_err(|error| at(&partial, error))?;
    let size = fs::metadata(from).map_err(|error| at(from, error))?.len();
    let written =
        fs::File::open(&partial).and_then(|file| file.sync_all().and(file.metadata())).map_err(|error| at(&partial, error))?.len();
    if copied != size || written != size {
        let short = format!("{}: {written} bytes arrived of {size}", partial.display());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, short));
    }
    fs::rename(&partial, to).map_err(|error| at(to, error))
}

fn sync_dir(path: &Path) -> io::Result<()> {
    fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(|error| at(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::location::Location;

    const SECTOR: SectorId = SectorId { miner: 10000, number: 2 };

    fn sealed_sector(directory: &Path) -> (AttachedStore, SectorFiles) {
        let files = Location::initialise(&directory.join("local")).unwrap().sector_files(SECTOR);
        fs::create_dir_all(&files.cache).unwrap();
        for name in ["p_aux", "t_aux", "sc-02-data-tree-r-last.dat", "sc-02-data-layer-1.dat"] {
            fs::write(files.cache.join(name), name).unwrap();
        }
        fs::write(&files.sealed, [7; 2048]).unwrap();
        let path = AttachedStore::initialise(&directory.join("remote")).unwrap();
        (AttachedStore { name: "remote".into(), path, readonly: false }, files)
    }

    #[test]
    fn what_proving_needs_is_kept_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let (store, files) = sealed_sector(directory.path());
        store.persist(SECTOR, &files).unwrap();
        store.persist(SECTOR, &files).unwrap();
        assert_eq!(fs::read(store.path.join("sealed/s-t010000-2")).unwrap(), [7; 2048]);
        let mut names: Vec<_> = fs::read_dir(store.path.join("cache/s-t010000-2"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["p_aux", "sc-02-data-tree-r-last.dat", "t_aux"]);
        store.remove(SECTOR).unwrap();
        store.remove(SECTOR).unwrap();
        assert!(!store.path.join("sealed/s-t010000-2").exists());
    }

    #[test]
    fn a_missing_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let (store, files) = sealed_sector(directory.path());
        fs::remove_file(files.cache.join("p_aux")).unwrap();
        assert!(store.persist(SECTOR, &files).unwrap_err().to_string().contains("p_aux"));
    }
}
