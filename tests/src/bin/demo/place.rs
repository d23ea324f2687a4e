//! Where the demo's files are: `mock-tmp/`, as the mock configuration says, with the demo's own in
//! `mock-tmp/demo/`.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use e2e::repository;

/// What a worker with the mock configuration makes, below `mock-tmp/`.
const STORES: [&str; 3] = ["store1", "store2", "store3"];
const ATTACHED: &str = "remote";
/// What the demo makes. That it is there marks the stores beside it as a demo's.
const OWN: &str = "demo";

/// The demo's directory, held by this demo alone.
pub(crate) struct Place {
    own: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes `mock-tmp/`, and removes what an earlier demo left in it, and nothing else.
    pub(crate) fn take() -> Result<Place, String> {
        let top = repository().join("mock-tmp");
        let failed = |error: io::Error| format!("{}: {error}", top.display());
        fs::create_dir_all(&top).map_err(failed)?;
        let lock = File::create(top.join("demo.lock")).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                format!("another demo runs in {}; stop it first", top.display())
            }
            TryLockError::Error(error) => failed(error),
        })?;
        let own = top.join(OWN);
        remove_leftovers(&top, &own)?;
        fs::create_dir(&own).map_err(failed)?;
        Ok(Place { own, _lock: lock })
    }

    /// For the demo's own files.
    pub(crate) fn own(&self) -> &Path {
        &self.own
    }
}

fn remove_leftovers(top: &Path, own: &Path) -> Result<(), String> {
    let made: Vec<_> = STORES
        .iter()
        .chain([&ATTACHED])
        .map(|name| top.join(name))
        .filter(|path| path.exists())
        .collect();
    if let (Some(foreign), false) = (made.first(), own.exists()) {
        return Err(format!(
            "{} was not made by a demo; move or remove it first",
            foreign.display()
        ));
    }
    for store in STORES.iter().map(|name| top.join(name)) {
        // A worker holds the lock of its stores as long as it runs.
        if let Ok(file) = File::open(store.join("store.redb"))
            && let Err(TryLockError::WouldBlock) = file.try_lock()
        {
            return Err(format!("a damocles-worker uses {}; stop it first", store.display()));
        }
    }
    // Its own directory last: until then the others are known to be a demo's.
    for path in made.iter().map(PathBuf::as_path).chain([own]) {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
