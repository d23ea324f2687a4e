//! The files that are offered as deals, by their pieces' CIDs.
//!
//! A directory is looked through whenever deals are asked for. A file's commitment is computed once
//! for each size and modification time; as long as that takes, the file is not offered, and the
//! request is answered without it.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use shared_msgs::sector_manager::piece_cid;
use tokio::fs::File;
use tracing::{info, warn};

use super::commp;

// What was a file a moment ago may be a link by now, to what nobody offers.
const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
// For a look through the directory, before the answer goes without what is new.
const PATIENCE: Duration = Duration::from_secs(2);

/// A piece that is there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    pub cid: String,
    /// In padded bytes: a power of two.
    pub size: u64,
    /// In bytes, of the file.
    pub payload_size: u64,
}

/// A directory of files.
#[derive(Debug)]
pub(crate) struct PieceFiles {
    directory: PathBuf,
    base_url: String,
    known: Arc<Mutex<Known>>,
    // Held as long as somebody looks through the directory.
    looking: Arc<tokio::sync::Mutex<()>>,
}

// What was found of each file.
type Known = HashMap<PathBuf, Found>;

#[derive(Clone, Debug, PartialEq)]
struct Found {
    version: Version,
    // None where it can be no deal.
    piece: Option<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Version {
    length: u64,
    modified: Option<SystemTime>,
}

impl PieceFiles {
    /// Offers a directory's files under `<base_url>/pieces/<cid>`.
    pub(crate) fn new(directory: PathBuf, base_url: String) -> Self {
        PieceFiles { directory, base_url, known: Arc::default(), looking: Arc::default() }
    }

    /// Looks through the directory. The pieces whose commitment is known, sorted by CID.
    pub(crate) async fn scan(&self) -> Vec<Piece> {
        let look = async {
            let looking = self.looking.clone().lock_owned().await;
            let (directory, known) = (self.directory.clone(), self.known.clone());
            // It goes on when nobody waits for it any more.
            tokio::task::spawn_blocking(move || {
                look_through(&directory, &known);
                drop(looking);
            })
            .await
        };
        if tokio::time::timeout(PATIENCE, look).await.is_err() {
            info!(directory = %self.directory.display(), "commitments of files are still being computed");
        }
        let known = locked(&self.known);
        let by_cid: BTreeMap<_, _> = known
            .values()
            .filter_map(|found| found.piece.as_ref())
            .map(|piece| (&piece.cid, piece))
            .collect();
        by_cid.into_values().cloned().collect()
    }

    /// Whether a piece is known to be there.
    pub(crate) fn has(&self, cid: &str) -> bool {
        self.find(cid).is_some()
    }

    /// Opens a piece; beside it, how many bytes it has. `None` if no file is known to have them any
    /// more.
    pub(crate) async fn open(&self, cid: &str) -> io::Result<Option<(File, u64)>> {
        let Some((path, version)) = self.find(cid) else { return Ok(None) };
        let mut options = File::options();
        let open = async {
            let file = options.read(true).custom_flags(NOFOLLOW).open(&path).await?;
            let is_it = Version::of(&file.metadata().await?) == version;
            io::Result::Ok(is_it.then_some((file, version.length)))
        };
        match open.await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            }),
        }
    }

    fn find(&self, cid: &str) -> Option<(PathBuf, Version)> {
        let known = locked(&self.known);
        let is_it = |found: &Found| found.piece.as_ref().is_some_and(|piece| piece.cid == cid);
        known
            .iter()
            .find(|(_, found)| is_it(found))
            .map(|(path, found)| (path.clone(), found.version))
    }

    /// Where a piece can be had by HTTP.
    pub(crate) fn url(&self, cid: &str) -> String {
        format!("{}/pieces/{cid}", self.base_url)
    }
}

fn locked(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look_through(directory: &Path, known: &Mutex<Known>) {
    let files = match files(directory) {
        Ok(files) => files,
        Err(error) => {
            return warn!(directory = %directory.display(), %error, "the directory of pieces cannot be read");
        }
    };
    locked(known).retain(|path, found| files.get(path) == Some(&found.version));
    for (path, version) in files {
        if locked(known).contains_key(&path) {
            continue;
        }
        match found(&path, version) {
            Ok(found) => {
                if let Some(piece) = &found.piece {
                    info!(file = %path.display(), piece = piece.cid, size = piece.size, "a deal");
                }
                locked(known).insert(path, found);
            }
            Err(error) => {
                warn!(file = %path.display(), %error, "this file cannot be read and is not offered")
            }
        }
    }
}

// Regular files; what begins with a dot is somebody's half-made file.
fn files(directory: &Path) -> io::Result<BTreeMap<PathBuf, Version>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if hidden || !entry.file_type()?.is_file() {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) => files.insert(entry.path(), Version::of(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
    }
    Ok(files)
}

fn found(path: &Path, version: Version) -> io::Result<Found> {
    let Some(size) = commp::piece_size(version.length).filter(|_| version.length > 0) else {
        warn!(file = %path.display(), "an empty file is no deal");
        return Ok(Found { version, piece: None });
    };
    let file = fs::OpenOptions::new().read(true).custom_flags(NOFOLLOW).open(path)?;
    let (commitment, payload_size) =
        commp::commitment(io::BufReader::with_capacity(1 << 20, &file), size)?;
    if payload_size != version.length || Version::of(&file.metadata()?) != version {
        return Err(io::Error::other("it changed while it was read"));
    }
    Ok(Found { version, piece: Some(Piece { cid: piece_cid(&commitment), size, payload_size }) })
}

impl Version {
    fn of(metadata: &fs::Metadata) -> Self {
        Version { length: metadata.len(), modified: metadata.modified().ok() }
    }
}
