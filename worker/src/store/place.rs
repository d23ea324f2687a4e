//! Which directory is which: a location or an attached store that has been in use has a marker with
//! an id in it, and the worker remembers the id elsewhere, by the directory's path. What lacks its
//! marker is not the place that it was, most likely a mount point whose disk is not mounted:
//! nothing is made in it.
//!
//! ```text
//!  <place>/damocles.json               {"id": …}
//!  <state directory>/places.json       {"<path of the place>": "<id>", …}, for all workers of the machine
//! ```
//!
//! Decision 038 in `docs/decisions`.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread::sleep,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use shared_msgs::id::Id;

use super::{durable::replace, files::at};

const MARKER: &str = "damocles.json";
const REMEMBERED: &str = "places.json";
/// Names the state directory.
pub(crate) const STATE_DIR: &str = "DAMOCLES_WORKER_STATE_DIR";
// Another worker may have made a marker and not written it yet.
const READS: u32 = 20;
const BETWEEN_READS: Duration = Duration::from_millis(50);

/// Why a place cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// It was in use, and its marker is not there.
    #[error(
        "{path} is not the place that was used before (its marker {MARKER} is missing): is its disk mounted? `damocles-worker store sealing-init -l DIR` (file-init for an attached store) takes it as a new one"
    )]
    Unmarked { path: String },
    /// It has the marker of another place.
    #[error(
        "{path} is another place than was used before (its marker {MARKER} has the id {found}, not {expected}): are disks mixed up? `damocles-worker store sealing-init --as-new -l DIR` (file-init for an attached store) takes it as a new one"
    )]
    Other {
        path: String,
        /// The id in its marker.
        found: Id,
        /// The id that is remembered.
        expected: Id,
    },
    /// Whether it has a marker cannot be told.
    #[error("{path}: {error}")]
    Io { path: String, error: String },
}

/// What marks a place.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    id: Id,
    /// An operator has taken the place as a new one: it may stand where another one is remembered.
    #[serde(default)]
    new: bool,
}

/// The places that the workers of this machine have used.
#[derive(Debug, Default)]
pub struct Places {
    /// Where they are remembered; for this process only if absent.
    file: Option<PathBuf>,
    known: Mutex<BTreeMap<PathBuf, Id>>,
}

impl Places {
    /// Those that are remembered in a state directory.
    pub fn load(directory: &Path) -> io::Result<Places> {
        let file = directory.join(REMEMBERED);
        let known = read_known(&file)?;
        Ok(Places { file: Some(file), known: Mutex::new(known) })
    }

    /// The id of a place that may be used. A place that nobody has used yet is marked; `None` if it
    /// cannot be.
    pub fn admit(&self, path: &Path) -> Result<Option<Id>, PlaceError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let id = match judge(&known, path)? {
            Verdict::Known(id) => return Ok(Some(id)),
            Verdict::Marked(id) => id,
            Verdict::Unused => match make_marker(path, false) {
                Ok(id) => id,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "the place cannot be marked: nobody will notice when its disk is not mounted");
                    return Ok(None);
                }
            },
        };
        known.insert(path.to_owned(), id);
        self.save(path, id);
        Ok(Some(id))
    }

    /// Whether a place may be used. Nothing is marked or remembered.
    pub fn look(&self, path: &Path) -> Result<(), PlaceError> {
        judge(&self.known.lock().unwrap_or_else(PoisonError::into_inner), path).map(drop)
    }

    /// The id that a place had when it was used last.
    pub fn remembered(&self, path: &Path) -> Option<Id> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied()
    }

    // Other workers of the machine remember their places in the same file.
    fn save(&self, path: &Path, id: Id) {
        let Some(file) = &self.file else { return };
        let save = || {
            fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
            let lock = fs::File::create(file.with_extension("lock"))?;
            lock.lock()?;
            let mut known = read_known(file)?;
            known.insert(path.to_owned(), id);
            replace(file, &serde_json::to_vec_pretty(&known)?)
        };
        if let Err(error) = save() {
            let file = file.display();
            tracing::warn!(%file, %error, "places cannot be remembered: set {STATE_DIR}, or nobody will notice when a disk is not mounted");
        }
    }
}

// What a place is that may be used.
enum Verdict {
    /// It is the one that is remembered.
    Known(Id),
    /// It is marked, and nobody here has used it.
    Marked(Id),
    /// Nobody has used it.
    Unused,
}

fn judge(known: &BTreeMap<PathBuf, Id>, path: &Path) -> Result<Verdict, PlaceError> {
    let shown = || path.display().to_string();
    let marker = read_marker(path)
        .map_err(|error| PlaceError::Io { path: shown(), error: error.to_string() })?;
    match (known.get(path), marker) {
        (Some(id), Some(marker)) if marker.id == *id => Ok(Verdict::Known(*id)),
        (Some(_), None) => Err(PlaceError::Unmarked { path: shown() }),
        // Two places that were both taken as new ones can be mixed up like any others.
        (Some(expected), Some(marker))
            if !marker.new || known.values().any(|id| *id == marker.id) =>
        {
            Err(PlaceError::Other { path: shown(), found: marker.id, expected: *expected })
        }
        (_, Some(marker)) => Ok(Verdict::Marked(marker.id)),
        (None, None) => Ok(Verdict::Unused),
    }
}

/// Marks a place by hand, if it has no marker; `as_new` gives it another one if it has.
pub(crate) fn mark(path: &Path, as_new: bool) -> io::Result<()> {
    match read_marker(path)? {
        Some(_) if !as_new => Ok(()),
        Some(_) => {
            fs::remove_file(path.join(MARKER)).and_then(|()| make_marker(path, true)).map(drop)
        }
        None => make_marker(path, true).map(drop),
    }
}

/// The id in a place's marker; `None` if it has none that can be read.
pub(crate) fn id_of(path: &Path) -> Option<Id> {
    read_marker(path).ok().flatten().map(|marker| marker.id)
}

/// Refuses a place that has not this id.
pub(crate) fn check(path: &Path, id: Id) -> io::Result<()> {
    match read_marker(path)? {
        Some(marker) if marker.id == id => Ok(()),
        found => {
            let path = path.display().to_string();
            let error = match found {
                Some(Marker { id: found, .. }) => PlaceError::Other { path, found, expected: id },
                None => PlaceError::Unmarked { path },
            };
            Err(io::Error::new(io::ErrorKind::NotFound, error.to_string()))
        }
    }
}

/// Where a worker keeps what belongs to the machine: named by the environment (ours, or systemd's
/// `StateDirectory=`), else where such things are.
pub(crate) fn state_directory() -> PathBuf {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(directory) = named(STATE_DIR).or(named("STATE_DIRECTORY")) {
        return directory;
    }
    let of_user =
        || named("XDG_STATE_HOME").or(named("HOME").map(|home| home.join(".local/state")));
    let parent = if rustix::process::geteuid().is_root() { None } else { of_user() };
    parent.unwrap_or("/var/lib".into()).join("damocles-worker")
}

// A directory that is not there has no marker.
fn read_marker(path: &Path) -> io::Result<Option<Marker>> {
    let file = path.join(MARKER);
    for read in 1.. {
        match fs::read(&file) {
            Ok(bytes) if bytes.is_empty() && read < READS => sleep(BETWEEN_READS),
            Ok(bytes) => {
                return serde_json::from_slice(&bytes)
                    .map(Some)
                    .map_err(|error| at(&file, error.into()));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                break;
            }
            Err(error) => return Err(at(&file, error)),
        }
    }
    Ok(None)
}

// Of two workers that share a store one makes its marker.
fn make_marker(path: &Path, new: bool) -> io::Result<Id> {
    fs::create_dir_all(path)?;
    let (file, id) = (path.join(MARKER), Id::generate());
    let mut marker = match fs::File::create_new(&file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return read_marker(path)?.map(|marker| marker.id).ok_or(error);
        }
        made => made?,
    };
    let written = serde_json::to_vec(&Marker { id, new })?;
    let kept = marker.write_all(&written).and_then(|()| marker.sync_all());
    kept.inspect_err(|_| drop(fs::remove_file(&file)))?;
    Ok(id)
}

fn read_known(file: &Path) -> io::Result<BTreeMap<PathBuf, Id>> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| at(file, error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(at(file, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_lacks_its_marker_is_refused_until_it_is_back_and_nothing_is_made_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let (state, place, away) = (
            directory.path().join("state"),
            directory.path().join("place"),
            directory.path().join("away"),
        );
        let id = Places::load(&state).unwrap().admit(&place).unwrap();
        assert!(id.is_some());
        fs::rename(&place, &away).unwrap();
        fs::create_dir(&place).unwrap();
        let places = Places::load(&state).unwrap();
        for _ in 0..2 {
            assert!(matches!(places.admit(&place), Err(PlaceError::Unmarked { .. })));
        }
        assert!(
            check(&place, id.unwrap()).unwrap_err().to_string().contains("is its disk mounted?")
        );
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        fs::remove_dir(&place).unwrap();
        assert!(matches!(places.admit(&place), Err(PlaceError::Unmarked { .. })));
        fs::rename(&away, &place).unwrap();
        assert_eq!(places.admit(&place).unwrap(), id);
        check(&place, id.unwrap()).unwrap();
    }

    #[test]
    fn disks_that_are_mixed_up_are_refused_and_new_ones_are_taken_where_an_operator_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let [state, one, two, between] =
            ["state", "one", "two", "between"].map(|name| directory.path().join(name));
        let places = Places::load(&state).unwrap();
        let (first, second) =
            (places.admit(&one).unwrap().unwrap(), places.admit(&two).unwrap().unwrap());
        fs::rename(&one, &between).unwrap();
        fs::rename(&two, &one).unwrap();
        let mixed_up =
            PlaceError::Other { path: one.display().to_string(), found: second, expected: first };
        assert_eq!(places.admit(&one), Err(mixed_up));
        fs::rename(&one, &two).unwrap();
        fs::remove_dir_all(&between).unwrap();
        fs::create_dir(&one).unwrap();
        mark(&one, false).unwrap();
        let new = places.admit(&one).unwrap().unwrap();
        assert_ne!(new, first);
        assert_eq!(Places::load(&state).unwrap().admit(&one), Ok(Some(new)));
        // One that was taken as new is still one of its kind.
        fs::rename(&one, &between).unwrap();
        fs::rename(&two, &one).unwrap();
        fs::rename(&between, &two).unwrap();
        assert!(matches!(places.admit(&two), Err(PlaceError::Other { .. })));
    }

    #[test]
    fn workers_that_share_a_place_or_the_state_directory_remember_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let [state, shared, own] =
            ["state", "shared", "own"].map(|name| directory.path().join(name));
        let (one, two) = (Places::load(&state).unwrap(), Places::load(&state).unwrap());
        let ids: Vec<_> = std::thread::scope(|scope| {
            let admitting: Vec<_> =
                [&one, &two].map(|places| scope.spawn(|| places.admit(&shared))).into();
            admitting
                .into_iter()
                .map(|admitting| admitting.join().unwrap().unwrap().unwrap())
                .collect()
        });
        assert_eq!(ids[0], ids[1]);
        one.admit(&own).unwrap();
        two.admit(&directory.path().join("other")).unwrap();
        let all = Places::load(&state).unwrap();
        assert!(all.remembered(&own).is_some() && all.remembered(&shared) == Some(ids[0]));
    }

    #[test]
    fn a_state_directory_that_cannot_be_written_to_or_read_is_said_and_not_guessed_around() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        fs::write(&state, "a file").unwrap();
        assert!(Places::load(&state).is_err());
        fs::remove_file(&state).unwrap();
        fs::create_dir(&state).unwrap();
        fs::write(state.join(REMEMBERED), "{").unwrap();
        assert!(Places::load(&state).unwrap_err().to_string().contains(REMEMBERED));
    }
}
