//! Attached stores: where sealed sectors are kept for good.
//!
//! ```text
//!  <store>/sealed/<sector>         the replica
//!  <store>/cache/<sector>/p_aux …  what proving needs later
//!  <store>/update…                 the same of a sector that got deals later (FIP-0019)
//! ```
//!
//! Decisions 004, 044 in `docs/decisions`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::Access;
use shared_msgs::{id::Id, sector_manager::SectorId};

use super::{
    durable::partial,
    files::{at, is_inside, remove_path},
    place::{self, Places},
    record::Sector,
};

const DIRECTORIES: [&str; 4] = ["sealed", "cache", "update", "update-cache"];

#[derive(Clone, Debug)]
pub(crate) struct AttachedStore {
    /// The name that the sector manager knows it by.
    pub name: String,
    /// A store without a name of its own was called by its location, as the configuration spells
    /// it, before it was called by its canonical path: sectors that were persisted then are in a
    /// store of this name.
    pub earlier_name: Option<String>,
    /// Absolute, without links.
    pub path: PathBuf,
    /// Nothing is written to it.
    pub readonly: bool,
    /// What its marker says, if it has one.
    pub id: Option<Id>,
    /// Free-form facts, for whoever transfers files there.
    pub meta: BTreeMap<String, String>,
}

/// A replica, with the directory of what proving it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaFiles {
    pub replica: PathBuf,
    /// Has `p_aux`, `t_aux` and tree-r-last.
    pub cache: PathBuf,
}

/// Which replica of a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As it was sealed.
    Sealed,
    /// With the deals that it got later.
    Update,
}

impl Kind {
    /// The one that a job brings into a store.
    pub(crate) fn persisted(sector: &Sector) -> Self {
        if sector.upgrade.is_some() { Kind::Update } else { Kind::Sealed }
    }
}

impl AttachedStore {
    /// The store that is called so.
    pub(crate) fn named<'a>(stores: &'a [AttachedStore], name: &str) -> Option<&'a AttachedStore> {
        let earlier = || stores.iter().find(|store| store.earlier_name.as_deref() == Some(name));
        stores.iter().find(|store| store.name == name).or_else(earlier)
    }

    /// Attaches the store at a path, whose marker it must have if it is remembered. Makes what is
    /// missing in one that is written to, and is there; one that is not is used as soon as it is.
    pub(crate) fn attach(
        name: String,
        path: &Path,
        readonly: bool,
        places: &Places,
    ) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let id = match places.remembered(&path) {
            None if readonly => None,
            _ => places.admit(&path).unwrap_or_else(|error| {
                tracing::error!(store = name, "{error}; nothing is kept in it until it is back");
                places.remembered(&path)
            }),
        };
        let meta = BTreeMap::new();
        let store = AttachedStore { name, earlier_name: None, path, readonly, id, meta };
        if !readonly && store.has_its_marker().is_ok() {
            AttachedStore::make_directories(&store.path)?;
        }
        Ok(store)
    }

    /// Makes what is missing of the directories of the store at a path.
    pub(crate) fn make_directories(path: &Path) -> io::Result<()> {
        let make =
            |directory| fs::create_dir_all(path.join(directory)).map_err(|error| at(path, error));
        DIRECTORIES.into_iter().try_for_each(make)
    }

    /// Refuses a store that is not there any more: its mount point may be, and must not be filled
    /// in its place.
    pub(crate) fn check_present(&self) -> io::Result<()> {
        let gone = |why: String| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("attached store {:?} is gone: {why}", self.name),
            )
        };
        self.has_its_marker().map_err(|error| gone(error.to_string()))?;
        if self.path.join(DIRECTORIES[0]).is_dir() {
            return Ok(());
        }
        Err(gone(format!("{} has no directory {}", self.path.display(), DIRECTORIES[0])))
    }

    fn has_its_marker(&self) -> io::Result<()> {
        self.id.map_or(Ok(()), |id| place::check(&self.path, id))
    }

    /// Refuses a store whose directories for such replicas cannot be written to, as those of a disk
    /// that the system has made read-only after an error.
    pub(crate) fn check_writable(&self, kind: Kind) -> io::Result<()> {
        let allowed = |directory: &str| {
            let path = self.path.join(directory);
            rustix::fs::access(&path, Access::WRITE_OK | Access::EXEC_OK)
                .map_err(|error| at(&path, error.into()))
        };
        directories_of(kind).into_iter().try_for_each(allowed)
    }

    /// Where a sector's files are, or would be.
    pub(crate) fn files(&self, sector: SectorId, kind: Kind) -> ReplicaFiles {
        let name = sector.to_string();
        let [replica, cache] = directories_of(kind);
        ReplicaFiles {
            replica: self.path.join(replica).join(&name),
            cache: self.path.join(cache).join(&name),
        }
    }

    /// Removes one replica of a sector; one that is not there is no error.
    pub(crate) fn remove(&self, sector: SectorId, kind: Kind) -> io::Result<()> {
        let files = self.files(sector, kind);
        remove_path(&partial(&files.replica))?;
        remove_path(&files.replica)?;
        remove_path(&files.cache)
    }
}

fn directories_of(kind: Kind) -> [&'static str; 2] {
    match kind {
        Kind::Sealed => ["sealed", "cache"],
        Kind::Update => ["update", "update-cache"],
    }
}

/// The file or directory that the sector manager means: `store://<name>/<path in the store>`, or an
/// absolute path that lies in a store. Anything else is refused: a message from the bus must not
/// name just any path.
pub(crate) fn resolve(stores: &[AttachedStore], access: &str) -> Result<PathBuf, String> {
    let refused = |why: &str| format!("{access:?} {why}");
    let path = match access.strip_prefix("store://") {
        Some(rest) => {
            // A store without a name of its own is called by its path: names may have slashes.
            let in_store = |store: &AttachedStore, name: &str| {
                Some(store.path.join(rest.strip_prefix(name)?.strip_prefix('/')?))
            };
            let by_name = stores.iter().find_map(|store| in_store(store, &store.name));
            let by_earlier_name =
                || stores.iter().find_map(|store| in_store(store, store.earlier_name.as_deref()?));
            by_name
                .or_else(by_earlier_name)
                .ok_or_else(|| refused("is in a store that is not attached"))?
        }
        None => PathBuf::from(access),
    };
    if stores.iter().any(|store| is_inside(&path, &store.path)) {
        Ok(path)
    } else {
        Err(refused("is in none of the attached stores"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_gone_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("remote");
        let store =
            AttachedStore::attach("remote".into(), &path, false, &Places::default()).unwrap();
        store.check_present().unwrap();
        let away = directory.path().join("away");
        fs::rename(&store.path, &away).unwrap();
        assert!(store.check_present().unwrap_err().to_string().contains("\"remote\" is gone"));
        fs::create_dir_all(store.path.join("sealed")).unwrap();
        assert!(store.check_present().unwrap_err().to_string().contains("is its disk mounted?"));
        fs::remove_dir_all(&store.path).unwrap();
        fs::rename(&away, &store.path).unwrap();
        store.check_present().unwrap();
    }

    #[test]
    fn only_what_lies_in_an_attached_store_can_be_meant() {
        let store = AttachedStore {
            name: "remote".into(),
            earlier_name: None,
            path: "/mnt/remote".into(),
            readonly: false,
            id: None,
            meta: BTreeMap::new(),
        };
        let meant = |access| resolve(std::slice::from_ref(&store), access);
        assert_eq!(
            meant("store://remote/sealed/s-t010000-2"),
            Ok("/mnt/remote/sealed/s-t010000-2".into())
        );
        assert_eq!(
            meant("/mnt/remote/cache/s-t010000-2"),
            Ok("/mnt/remote/cache/s-t010000-2".into())
        );
        for refused in [
            "store://other/sealed/x",
            "store://remote",
            "store://remote/../x",
            "store://remote//etc/passwd",
            "/mnt/remote/../x",
            "/etc/passwd",
            "x",
            "",
        ] {
            assert!(meant(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_store_is_found_by_its_name_and_by_the_one_that_it_had_before() {
        let store = |name: &str, earlier: Option<&str>, path: &str| AttachedStore {
            name: name.into(),
            earlier_name: earlier.map(Into::into),
            path: path.into(),
            readonly: false,
            id: None,
            meta: BTreeMap::new(),
        };
        let stores = [
            store("/mnt/a", Some("./a"), "/mnt/a"),
            store("./b", None, "/mnt/b"),
            store("/mnt/c", Some("./b"), "/mnt/c"),
        ];
        let path =
            |name| AttachedStore::named(&stores, name).map(|store| store.path.to_str().unwrap());
        assert_eq!(
            (path("/mnt/a"), path("./a"), path("./b"), path("a")),
            (Some("/mnt/a"), Some("/mnt/a"), Some("/mnt/b"), None)
        );
        for access in ["store:///mnt/a/sealed/s-t010000-2", "store://./a/sealed/s-t010000-2"] {
            assert_eq!(resolve(&stores, access), Ok("/mnt/a/sealed/s-t010000-2".into()));
        }
        assert_eq!(resolve(&stores, "store://./b/sealed/x"), Ok("/mnt/b/sealed/x".into()));
    }
}
