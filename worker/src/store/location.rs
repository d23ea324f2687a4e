//! A sealing thread's location: where its store and the files of the sector in hand are.
//!
//! Decision 003 in `docs/decisions`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use shared_msgs::sector_manager::SectorId;

use super::{
    database::{Look, Store, StoreError},
    files::remove_path,
    place::Places,
};

/// The directories of files under a location, one entry in each for a sector.
pub(super) const DATA_DIRS: [&str; 11] = [
    "unsealed",
    "tree-d",
    "sealed",
    "cache",
    "layers",
    "update-unsealed",
    "update-tree-d",
    "update",
    "update-cache",
    "piece",
    "unseal-cache",
];

// Where damocles's worker keeps its records, in a RocksDB.
const OF_DAMOCLES: &str = "meta";

/// Directories that belong to a location's owner; a thread's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(PathBuf);

/// The files of one sector while it is worked on.
#[derive(Clone, Debug)]
pub struct SectorFiles {
    /// The pieces one behind the other, fr32-padded.
    pub unsealed: PathBuf,
    /// The directory of the data's Merkle tree.
    pub tree_d: PathBuf,
    /// The sealed replica, of the sector's size.
    pub sealed: PathBuf,
    /// The directory of layers, trees and auxiliary files.
    pub cache: PathBuf,
    /// The note of what the layers in it are.
    pub layers: PathBuf,
    /// The new pieces of an upgrade, fr32-padded.
    pub update_unsealed: PathBuf,
    /// The directory of the new data's Merkle tree.
    pub update_tree_d: PathBuf,
    /// The upgraded replica, of the sector's size.
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

    /// A location that is there already; makes nothing.
    pub fn existing(path: &Path) -> io::Result<Self> {
        let data = path.join("data");
        if !data.is_dir() {
            let none = format!(
                "{} is no location of a sealing thread: it has no directory data",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, none));
        }
        Ok(Location(std::path::absolute(path)?))
    }

    /// The absolute path, as the configuration spells it.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path that two spellings of one location share, whether it is there or not.
    pub fn canonical(&self) -> io::Result<PathBuf> {
        canonical(&self.0)
    }

    /// Makes what is missing, and opens the thread's store, unless the location is not the one that
    /// it was, or its store is not there any more. Blocks.
    pub fn open(&self, store: &Store, places: &Places) -> Result<(), StoreError> {
        self.refuse_damocles()?;
        places.admit(&self.0)?;
        self.make(store)
    }

    /// Makes what is missing, and opens the thread's store, unless that is not there any more.
    /// Blocks.
    pub fn make(&self, store: &Store) -> Result<(), StoreError> {
        self.refuse_damocles()?;
        let is_there = self.has_store(store)?;
        self.make_directories()?;
        if is_there { store.open() } else { store.make() }
    }

    /// Looks whether the location can be used, and reads what its thread is doing. Makes nothing.
    /// Blocks.
    pub fn look(&self, places: &Places) -> Result<Look, StoreError> {
        self.refuse_damocles()?;
        places.look(&self.0)?;
        let store = Store::file(&self.store_file(), Arc::default());
        if self.has_store(&store)? { store.look() } else { Ok(Look::None) }
    }

    // Two workers must not work in one location; what that one is doing cannot be told from here.
    fn refuse_damocles(&self) -> Result<(), StoreError> {
        let has_entries = match fs::read_dir(self.0.join(OF_DAMOCLES)) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) => {
                !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
        };
        if has_entries {
            return Err(StoreError::Damocles { path: self.0.display().to_string() });
        }
        Ok(())
    }

    // Whether there is a store; one that is not there any more is an error.
    fn has_store(&self, store: &Store) -> Result<bool, StoreError> {
        if store.has_file()? {
            return Ok(true);
        }
        match self.first_file()? {
            None => Ok(false),
            Some(beside) => Err(StoreError::Missing {
                path: self.store_file().display().to_string(),
                beside: beside.display().to_string(),
            }),
        }
    }

    pub(super) fn make_directories(&self) -> Result<(), StoreError> {
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

    /// Path of the thread's database, `store.redb` in the location.
    pub fn store_file(&self) -> PathBuf {
        self.0.join("store.redb")
    }

    /// The file that names the process groups which the worker has started, see
    /// [`crate::processor::groups`].
    pub fn processors_file(&self) -> PathBuf {
        self.0.join("processors.json")
    }

    /// The directory of one kind of file.
    pub(super) fn data(&self, kind: &str) -> PathBuf {
        self.0.join("data").join(kind)
    }

    /// The files of a sector.
    pub fn sector_files(&self, sector: SectorId) -> SectorFiles {
        let [
            unsealed,
            tree_d,
            sealed,
            cache,
            layers,
            update_unsealed,
            update_tree_d,
            update,
            update_cache,
            piece,
            unseal_cache,
        ] = DATA_DIRS.map(|kind| self.data(kind).join(sector.to_string()));
        SectorFiles {
            unsealed,
            tree_d,
            sealed,
            cache,
            layers,
            update_unsealed,
            update_tree_d,
            update,
            update_cache,
            piece,
            unseal_cache,
        }
    }
}

// Of what is not there, the part that is there counts.
fn canonical(path: &Path) -> io::Result<PathBuf> {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(canonical(parent)?.join(name))
        }
        (found, ..) => found,
    }
}

impl SectorFiles {
    /// Removes all of them; those that are not there are no error.
    pub fn remove(&self) -> io::Result<()> {
        let sealed = [&self.unsealed, &self.tree_d, &self.sealed, &self.layers, &self.cache];
        let updated =
            [&self.update_unsealed, &self.update_tree_d, &self.update, &self.update_cache];
        sealed
            .into_iter()
            .chain(updated)
            .chain([&self.piece, &self.unseal_cache])
            .try_for_each(|path| remove_path(path))
    }
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
        location.make_directories().unwrap();
        fs::create_dir(&files.cache).unwrap();
        fs::write(files.cache.join("p_aux"), "x").unwrap();
        fs::write(&files.sealed, "x").unwrap();
        fs::write(&files.layers, "x").unwrap();
        files.remove().unwrap();
        files.remove().unwrap();
        assert!(!files.cache.exists() && !files.sealed.exists() && !files.layers.exists());
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

    #[test]
    fn a_location_of_damocles_is_refused_with_the_way_out_and_nothing_is_made_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let meta = directory.path().join("meta");
        fs::create_dir(&meta).unwrap();
        fs::write(meta.join("CURRENT"), "MANIFEST-000004\n").unwrap();
        fs::create_dir_all(directory.path().join("data/sealed")).unwrap();
        let location = Location::at(directory.path()).unwrap();
        let store = Store::file(&location.store_file(), Default::default());
        let looked = location.look(&Places::default()).map(drop);
        for refused in [opened(directory.path()).map(drop), location.make(&store), looked] {
            let Err(error @ StoreError::Damocles { .. }) = refused else { panic!("{refused:?}") };
            assert!(error.to_string().contains("give this thread a location of its own"));
            assert!(!error.may_pass());
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        fs::remove_dir_all(&meta).unwrap();
        drop(opened(directory.path()).unwrap());
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
        for missing in [|store: &Path| fs::write(store, ""), |store: &Path| fs::remove_file(store)]
        {
            missing(&store).unwrap();
            let Err(StoreError::Missing { beside, .. }) = opened(directory.path()) else {
                panic!("made anew")
            };
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
            assert!(
                matches!(&refused, Err(_) | Ok(Err(StoreError::Damaged { .. }))),
                "cut off at {length}: {refused:?}"
            );
        }
        fs::write(&path, "garbage ".repeat(1000)).unwrap();
        let Err(error) = opened(directory.path()) else { panic!("opened") };
        assert!(
            matches!(error, StoreError::Damaged { .. })
                && error.to_string().contains("restore it from a backup"),
            "{error}"
        );
        fs::write(&path, whole).unwrap();
        opened(directory.path()).unwrap();
    }
}
