//! A sealing thread's location: where its store and the files of the sector in hand are.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use shared_msgs::sealer::SectorId;

use super::{
    database::{Store, StoreError},
    place::Places,
};

/// The directories of files under a location, one entry in each for a sector.
const DATA_DIRS: [&str; 10] =
    ["unsealed", "tree-d", "sealed", "cache", "update-unsealed", "update-tree-d", "update", "update-cache", "piece", "unseal-cache"];

/// Directories that belong to a location's owner; a thread's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(PathBuf);

/// The files of one sector while it is worked on.
#[derive(Clone, Debug)]
pub struct SectorFiles {
    /// The pieces, fr32-padded.
    pub unsealed: PathBuf,
    /// The directory of the data's Merkle tree.
    pub tree_d: PathBuf,
    /// The replica.
    pub sealed: PathBuf,
    /// The directory of layers, trees and auxiliary files.
    pub cache: PathBuf,
    /// The new pieces of an upgrade, fr32-padded.
    pub update_unsealed: PathBuf,
    /// The directory of the new data's Merkle tree.
    pub update_tree_d: PathBuf,
    /// The upgraded replica.
    pub update: PathBuf,
    /// The directory of the upgraded replica's trees and auxiliary files.
    pub update_cache: PathBuf,
    /// A piece's bytes, got out of a replica.
    pub piece: PathBuf,
    /// What getting them out leaves behind.
    pub unseal_cache: PathBuf,
}

impl Location {
    /// The location at that path. Nothing is made.
    pub fn at(path: &Path) -> io::Result<Self> {
        std::path::absolute(path).map(Location)
    }

    /// The absolute path, as the configuration spells it.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path that two spellings of one location share, whether it is there or not.
    pub fn canonical(&self) -> io::Result<PathBuf> {
        canonical(&self.0)
    }

    /// Makes what is missing, and opens the thread's store, unless the location is not the one that it was, or its store is
    /// not there any more. Blocks.
    pub fn open(&self, store: &Store, places: &Places) -> Result<(), StoreError> {
        places.admit(&self.0)?;
        self.make(store)
    }

    /// Makes what is missing, and opens the thread's store, unless that is not there any more. Blocks.
    pub fn make(&self, store: &Store) -> Result<(), StoreError> {
        if store.has_file()? {
            self.make_directories()?;
            return store.open();
        }
        if let Some(beside) = self.first_file()? {
            return Err(StoreError::Missing { path: self.store_file().display().to_string(), beside: beside.display().to_string() });
        }
        self.make_directories()?;
        store.make()
    }

    fn make_directories(&self) -> Result<(), StoreError> {
        let make = |directory| fs::create_dir_all(self.0.join("data").join(directory));
        DATA_DIRS.into_iter().try_for_each(make).map_err(|error| self.failed(error))
    }

    // A file or directory of a sector, if there is any.
    fn first_file(&self) -> Result<Option<PathBuf>, StoreError> {
        for kind in DATA_DIRS {
            let first = match fs::read_dir(self.0.join("data").join(kind)) {
                Ok(mut entries) => entries.next().transpose(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            };
            if let Some(first) = first.map_err(|error| self.failed(error))? {
                return Ok(Some(first.path()));
            }
        }
        Ok(None)
    }

    fn failed(&self, error: io::Error) -> StoreError {
        StoreError::Io { path: self.0.display().to_string(), error: error.to_string() }
    }

    /// The thread's store file.
    pub fn store_file(&self) -> PathBuf {
        self.0.join("store.redb")
    }

    /// The files of a sector.
    pub fn sector_files(&self, sector: SectorId) -> SectorFiles {
        let [unsealed, tree_d, sealed, cache, update_unsealed, update_tree_d, update, update_cache, piece, unseal_cache] =
            DATA_DIRS.map(|kind| self.0.join("data").join(kind).join(sector.to_string()));
        SectorFiles { unsealed, tree_d, sealed, cache, update_unsealed, update_tree_d, update, update_cache, piece, unseal_cache }
    }
}

// Of what is not there, the part that is there counts.
fn canonical(path: &Path) -> io::Result<PathBuf> {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == io::ErrorKind::NotFound => Ok(canonical(parent)?.join(name)),
        (found, ..) => found,
    }
}

impl SectorFiles {
    /// Removes all of them; those that are not there are no error.
    pub fn remove(&self) -> io::Result<()> {
        let sealed = [&self.unsealed, &self.tree_d, &self.sealed, &self.cache];
        let updated = [&self.update_unsealed, &self.update_tree_d, &self.update, &self.update_cache];
        sealed.into_iter().chain(updated).chain([&self.piece, &self.unseal_cache]).try_for_each(|path| remove_path(path))
    }
}

/// Removes a file or a directory with all in it. One that is not there is no error; another names the path.
pub fn remove_path(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path, error)),
        _ => Ok(()),
    }
}

/// An empty directory at `path`, whatever was there before.
pub fn fresh_dir(path: &Path) -> io::Result<()> {
    remove_path(path)?;
    fs::create_dir_all(path).map_err(|error| at(path, error))
}

/// Refuses work for which the disk has no room: the proofs library writes through memory maps, and a full disk under one
/// kills the process.
pub fn require_space(path: &Path, bytes: u64) -> io::Result<()> {
    let stat = rustix::fs::statvfs(path).map_err(|error| at(path, error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    let short = format!("{}: No space left on device: {free} bytes are free, the stage needs {bytes}", path.display());
    Err(io::Error::new(io::ErrorKind::StorageFull, short))
}

/// Whether a path names something below a directory, without a way out of it (`..`).
pub fn is_inside(path: &Path, directory: &Path) -> bool {
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    plain && path.strip_prefix(directory).is_ok_and(|rest| rest.components().next().is_some())
}

/// Names the path in an error.
pub fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sectors_files_are_removed_whatever_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::at(directory.path()).unwrap();
        let files = location.sector_files(SectorId { miner: 10000, number: 2 });
        assert!(files.cache.ends_with("data/cache/s-t010000-2"));
        fs::create_dir_all(&files.cache).unwrap();
        fs::create_dir_all(files.sealed.parent().unwrap()).unwrap();
        fs::write(files.cache.join("p_aux"), "x").unwrap();
        fs::write(&files.sealed, "x").unwrap();
        files.remove().unwrap();
        files.remove().unwrap();
        assert!(!files.cache.exists() && !files.sealed.exists());
    }

    #[test]
    fn work_that_does_not_fit_on_the_disk_is_refused_with_its_path() {
        let directory = tempfile::tempdir().unwrap();
        require_space(directory.path(), 1).unwrap();
        let error = require_space(directory.path(), u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains(directory.path().to_str().unwrap()));
    }

    #[test]
    fn two_spellings_of_a_location_have_one_canonical_path() {
        let directory = tempfile::tempdir().unwrap();
        let plain = Location::at(&directory.path().join("a")).unwrap();
        std::os::unix::fs::symlink(".", directory.path().join("b")).unwrap();
        let link = Location::at(&directory.path().join("b/a")).unwrap();
        assert_ne!(plain, link);
        assert_eq!(plain.canonical().unwrap(), link.canonical().unwrap(), "before it is made");
        fs::create_dir(directory.path().join("a")).unwrap();
        assert_eq!(plain.canonical().unwrap(), link.canonical().unwrap());
    }

    fn opened(directory: &Path) -> Result<Store, StoreError> {
        let location = Location::at(directory).unwrap();
        let store = Store::file(&location.store_file(), Default::default());
        location.open(&store, &Places::default()).map(|()| store)
    }

    #[test]
    fn a_store_is_made_anew_only_where_there_are_no_files_of_a_sector() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store.redb");
        drop(opened(directory.path()).unwrap());
        fs::write(&store, "").unwrap();
        drop(opened(directory.path()).unwrap());
        fs::write(directory.path().join("data/sealed/s-t010000-2"), "x").unwrap();
        drop(opened(directory.path()).unwrap());
        for missing in [|store: &Path| fs::write(store, ""), |store: &Path| fs::remove_file(store)] {
            missing(&store).unwrap();
            let Err(StoreError::Missing { beside, .. }) = opened(directory.path()) else { panic!("made anew") };
            assert!(beside.ends_with("data/sealed/s-t010000-2"));
        }
        assert!(!store.exists());
    }

    #[test]
    fn a_store_that_is_cut_off_or_something_else_is_refused_and_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        drop(opened(directory.path()).unwrap());
        let whole = fs::read(&path).unwrap();
        for length in [1, 100, 4096, 5000, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            let refused = std::panic::catch_unwind(|| opened(directory.path()).map(drop));
            assert!(matches!(&refused, Err(_) | Ok(Err(StoreError::Damaged { .. }))), "cut off at {length}: {refused:?}");
        }
        fs::write(&path, "garbage ".repeat(1000)).unwrap();
        let Err(error) = opened(directory.path()) else { panic!("opened") };
        assert!(matches!(error, StoreError::Damaged { .. }) && error.to_string().contains("restore it from a backup"), "{error}");
        fs::write(&path, whole).unwrap();
        opened(directory.path()).unwrap();
    }
}
