//! The parents cache: for each node of the stacked graph the 14 nodes that it is hashed with. One
//! file for all sectors of a proof type, of 1.75 times their size (56 GiB for 32 GiB sectors), read
//! by PC1 and by unsealing.
//!
//! The library makes it in its place, and takes one that is there as it is. Layers from a half-made
//! one are found out at C1, when the sector's pre-commit is on chain. So it is made here before the
//! library looks for it:
//!
//! ```text
//!  known to be whole ----------------------------------------------------------------------> nothing to do
//!  there, by whomever -- compared with the graph --+-- equal ------------------> noted ----> nothing to do
//!                                                  +-- not --> removed --+
//!  not there ------------------------------------------------------------+--> space asked for, written beside its place,
//!                                                                             synced, renamed, noted
//! ```
//! The note beside it has the file's inode, size and time of change: a file that was touched since
//! is compared again. It is written after the file was synced, so it holds after a loss of power
//! too. A lock on the directory lets one process or thread do this while others wait.
//!
//! Decision 034 in `docs/decisions`.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use filecoin_hashers::Hasher;
use filecoin_proofs::DefaultTreeHasher;
use filecoin_proofs_api::RegisteredSealProof;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use storage_proofs_core::{
    crypto::{FEISTEL_DST, derive_porep_domain_seed},
    drgraph::{BASE_DEGREE, Graph},
    parameter_cache::{ParameterSetMetadata, VERSION},
    settings::SETTINGS,
    util::NODE_SIZE,
};
use storage_proofs_porep::stacked::{EXP_DEGREE, StackedBucketGraph};
use tracing::{info, warn};

use crate::replica::Error;

const DEGREE: usize = BASE_DEGREE + EXP_DEGREE;
const ENTRY_BYTES: usize = DEGREE * size_of::<u32>();
// Nodes that are computed at once: some MiB.
const CHUNK: usize = 1 << 16;
const NOTE: &str = "whole";
const PARTIAL: &str = "partial";

// Files that were seen to be whole, for directories in which nothing can be noted.
static SEEN: Mutex<BTreeMap<PathBuf, Stamp>> = Mutex::new(BTreeMap::new());

/// What [`ensure`] found or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// It was known to be whole.
    Known,
    /// It was compared with the graph.
    Checked,
    /// There was none, and it was made.
    Made,
    /// One that was not whole was replaced.
    MadeAgain,
}

/// Where the library looks for it: `FIL_PROOFS_PARENT_CACHE`, else the library's own default.
pub fn directory() -> PathBuf {
    PathBuf::from(&SETTINGS.parent_cache)
}

/// Sees to it that the directory has a whole cache for sectors of the proof type; returns its path
/// too. Takes minutes if it is to be made or compared. `require_space` refuses a directory that has
/// no room for so many bytes.
pub fn ensure(
    proof: RegisteredSealProof,
    directory: &Path,
    require_space: impl FnOnce(&Path, u64) -> io::Result<()>,
) -> Result<(PathBuf, Ensured), Error> {
    let parents = Parents::of(proof)?;
    let path = directory.join(&parents.name);
    if is_known(&path) {
        return Ok((path, Ensured::Known));
    }
    fs::create_dir_all(directory).map_err(|error| at(directory, error))?;
    let _lock = lock(directory)?;
    // Whoever had the lock may have made it.
    let ensured =
        if is_known(&path) { Ensured::Known } else { parents.provide(&path, require_space)? };
    Ok((path, ensured))
}

// A graph's parents.
struct Parents {
    graph: StackedBucketGraph<DefaultTreeHasher>,
    /// The library's name for the file.
    name: String,
}

// What tells a file that was changed from one that was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of the last change of the file or its inode.
    changed: (i64, i64),
}

impl Parents {
    fn of(proof: RegisteredSealProof) -> Result<Parents, Error> {
        let config = proof.as_v1_config();
        let nodes = usize::try_from(u64::from(config.padded_bytes_amount()))? / NODE_SIZE;
        let graph = StackedBucketGraph::<DefaultTreeHasher>::new_stacked(
            nodes,
            BASE_DEGREE,
            EXP_DEGREE,
            config.porep_id,
            config.api_version,
        )?;
        let name = name(&graph, config.porep_id)?;
        Ok(Parents { graph, name })
    }

    fn bytes(&self) -> u64 {
        (self.graph.size() * ENTRY_BYTES) as u64
    }

    // With the lock.
    fn provide(
        &self,
        path: &Path,
        require_space: impl FnOnce(&Path, u64) -> io::Result<()>,
    ) -> Result<Ensured, Error> {
        let bytes = self.bytes();
        let was_there = path.try_exists().map_err(|error| at(path, error))?;
        if was_there {
            info!(
                bytes,
                "the parents cache {} is checked, as nobody has noted that it is whole: once, minutes for large sectors",
                path.display()
            );
            if self.are_in(path).map_err(|error| at(path, error))? {
                note(path)?;
                return Ok(Ensured::Checked);
            }
            warn!(
                "the parents cache {} is not whole: it was half-made, and is made again",
                path.display()
            );
            fs::remove_file(path).map_err(|error| at(path, error))?;
        }
        let partial = beside(path, PARTIAL);
        // Left by somebody who was killed.
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&partial, error))?,
            _ => {}
        }
        let directory = path.parent().unwrap_or(Path::new("."));
        require_space(directory, bytes)?;
        info!(
            bytes,
            "the parents cache {} is made, once for all sectors of this kind: minutes for large sectors",
            path.display()
        );
        let made = self
            .write(&partial)
            .and_then(|()| fs::rename(&partial, path))
            .and_then(|()| File::open(directory)?.sync_all());
        if let Err(error) = made {
            // Of use to nobody; the next one removes it if this one cannot.
            let _ = fs::remove_file(&partial);
            Err(at(path, error))?;
        }
        note(path)?;
        info!("the parents cache {} is made", path.display());
        Ok(if was_there { Ensured::MadeAgain } else { Ensured::Made })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = File::create(path)?;
        self.chunks(|chunk| file.write_all(chunk).map(|()| true))?;
        file.sync_all()
    }

    // Whether the file holds them and nothing else.
    fn are_in(&self, path: &Path) -> io::Result<bool> {
        let mut file = File::open(path)?;
        // The library holds a file that it is making.
        file.lock_shared()?;
        if file.metadata()?.len() != self.bytes() {
            return Ok(false);
        }
        let mut found = vec![0; CHUNK * ENTRY_BYTES];
        self.chunks(|chunk| {
            let found = &mut found[..chunk.len()];
            file.read_exact(found).map(|()| found == chunk)
        })
    }

    // Computes them in order, for as long as `take` goes on; returns whether it went on to the end.
    fn chunks(&self, mut take: impl FnMut(&[u8]) -> io::Result<bool>) -> io::Result<bool> {
        let mut chunk = vec![0; CHUNK.min(self.graph.size()) * ENTRY_BYTES];
        for first in (0..self.graph.size()).step_by(CHUNK) {
            let nodes = CHUNK.min(self.graph.size() - first);
            let computed = &mut chunk[..nodes * ENTRY_BYTES];
            computed
                .par_chunks_mut(ENTRY_BYTES)
                .enumerate()
                .try_for_each(|(node, entry)| self.entry(first + node, entry))?;
            if !take(computed)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn entry(&self, node: usize, entry: &mut [u8]) -> io::Result<()> {
        let mut parents = [0; DEGREE];
        self.graph.parents(node, &mut parents).map_err(io::Error::other)?;
        for (bytes, parent) in entry.chunks_exact_mut(size_of::<u32>()).zip(parents) {
            bytes.copy_from_slice(&parent.to_le_bytes());
        }
        Ok(())
    }
}

// As the library makes it (`cache_path` in storage-proofs-porep), which does not say it.
fn name(
    graph: &StackedBucketGraph<DefaultTreeHasher>,
    porep_id: [u8; 32],
) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    hasher.update(DefaultTreeHasher::name());
    hasher.update(graph.identifier());
    // The keys of the Feistel permutation are the four words of this seed, in the same order of
    // bytes.
    hasher.update(derive_porep_domain_seed(FEISTEL_DST, porep_id));
    hasher.update(u32::try_from(graph.size())?.to_le_bytes());
    let id: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("v{VERSION}-sdr-parent-{id}.cache"))
}

fn lock(directory: &Path) -> Result<File, Error> {
    let file = File::open(directory).map_err(|error| at(directory, error))?;
    let taken = match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            info!(
                "the parents cache in {} is being made or checked by another process or thread: waiting",
                directory.display()
            );
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    taken.map_err(|error| at(directory, error))?;
    Ok(file)
}

fn is_known(path: &Path) -> bool {
    let Ok(now) = stamp(path) else { return false };
    let noted = || serde_json::from_slice::<Stamp>(&fs::read(beside(path, NOTE)).ok()?).ok();
    seen().get(path) == Some(&now) || noted() == Some(now)
}

// That the file is whole, and will be for as long as nobody touches it.
fn note(path: &Path) -> Result<(), Error> {
    let stamp = stamp(path).map_err(|error| at(path, error))?;
    let note = beside(path, NOTE);
    let written =
        fs::write(&note, serde_json::to_vec(&stamp)?).and_then(|()| File::open(&note)?.sync_all());
    if let Err(error) = written {
        warn!(
            "the parents cache will be checked again by the next process, for {} cannot be written: {error}",
            note.display()
        );
    }
    seen().insert(path.to_owned(), stamp);
    Ok(())
}

fn seen() -> MutexGuard<'static, BTreeMap<PathBuf, Stamp>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let file = fs::metadata(path)?;
    Ok(Stamp { inode: file.ino(), size: file.len(), changed: (file.ctime(), file.ctime_nsec()) })
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    PathBuf::from(name)
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tempfile::TempDir;

    use super::*;

    const PROOF: RegisteredSealProof = RegisteredSealProof::StackedDrg2KiBV1_1;

    fn ensured(directory: &Path) -> (PathBuf, Ensured) {
        ensure(PROOF, directory, |_, _| Ok(())).unwrap()
    }

    // A file system tells two changes apart only if some time lies between them.
    fn changed(path: &Path, before: &Stamp, change: impl Fn()) {
        while stamp(path).unwrap() == *before {
            change();
        }
    }

    #[test]
    fn the_file_is_the_librarys_in_name_and_content() {
        // `parent_cache.json` of storage-proofs-porep.
        let known = [
            (
                RegisteredSealProof::StackedDrg2KiBV1,
                "v28-sdr-parent-3f0eef38bb48af1f48ad65e14eb85b4ebfc167cec18cd81764f6d998836c9899.cache",
                "3da49221e2ed55371b86d0bf3d6526fcf128af61bed904f966428db1b531750d",
            ),
            (
                RegisteredSealProof::StackedDrg2KiBV1_1,
                "v28-sdr-parent-494d91dc80f2df5272c4b9e129bc7ade9405225993af9fe34e6542a39a47554b.cache",
                "840057702eea7652cf97e04306c30fe57174714d90de156a25eddd6075c25b97",
            ),
        ];
        let directory = TempDir::new().unwrap();
        for (proof, name, digest) in known {
            let (path, _) = ensure(proof, directory.path(), |_, _| Ok(())).unwrap();
            let found: String = Sha256::digest(fs::read(&path).unwrap())
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(
                (path.file_name().unwrap().to_str().unwrap(), found.as_str()),
                (name, digest),
                "{proof:?}"
            );
        }
        // Those of the real network only by their names.
        let named = |proof| Parents::of(proof).unwrap().name;
        for proof in
            [RegisteredSealProof::StackedDrg32GiBV1_1, RegisteredSealProof::StackedDrg64GiBV1_1]
        {
            assert!(MAINNET.contains(&named(proof).as_str()), "{proof:?}: {}", named(proof));
        }
    }

    const MAINNET: [&str; 4] = [
        "v28-sdr-parent-21981246c370f9d76c7a77ab273d94bde0ceb4e938292334960bce05585dc117.cache",
        "v28-sdr-parent-e1fa5d5b811ddbd118be3412c4a8c329156b8b8acc72632bca459455b5a05a13.cache",
        "v28-sdr-parent-4905486b7af19558ac3649bc6261411858b6add534438878c4ee3b29d8b9de0b.cache",
        "v28-sdr-parent-8a99e8d6b6be7ab87a56b632e6739ff201c23ea14e99737c74690f0e265574d6.cache",
    ];

    #[test]
    fn it_is_made_once_and_leaves_nothing_else() {
        let directory = TempDir::new().unwrap();
        let directory = directory.path().join("parents");
        let (path, made) = ensured(&directory);
        assert_eq!(made, Ensured::Made);
        let (size, inode) =
            (fs::metadata(&path).unwrap().len(), fs::metadata(&path).unwrap().ino());
        assert_eq!(size, 64 * 14 * 4);
        assert_eq!(ensured(&directory).1, Ensured::Known);
        // Another process has seen nothing, and reads the note.
        seen().clear();
        assert_eq!(ensured(&directory).1, Ensured::Known);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        let mut names: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        assert_eq!(names, [path.clone(), beside(&path, NOTE)]);
    }

    #[test]
    fn one_that_nobody_has_noted_is_checked() {
        let directory = TempDir::new().unwrap();
        let (path, _) = ensured(directory.path());
        let inode = fs::metadata(&path).unwrap().ino();
        for note in [None, Some(""), Some("{\"inode\":1}")] {
            seen().clear();
            let file = beside(&path, NOTE);
            note.map_or_else(|| fs::remove_file(&file), |text| fs::write(&file, text)).unwrap();
            assert_eq!(ensured(directory.path()).1, Ensured::Checked);
            assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        }
    }

    #[test]
    fn a_half_made_one_is_made_again_whatever_was_noted() {
        let directory = TempDir::new().unwrap();
        let (path, _) = ensured(directory.path());
        let whole = fs::read(&path).unwrap();
        let half = whole.len() / 2;
        let zero_tail = [&whole[..half], &vec![0; half][..]].concat();
        for wrong in [&whole[..half], &zero_tail, &[], &[&whole[..], b"x"].concat()] {
            let before = stamp(&path).unwrap();
            changed(&path, &before, || fs::write(&path, wrong).unwrap());
            assert_eq!(ensured(directory.path()).1, Ensured::MadeAgain);
            assert!(fs::read(&path).unwrap() == whole);
        }
    }

    #[test]
    fn without_space_nothing_is_written() {
        let directory = TempDir::new().unwrap();
        let full = |_: &Path, bytes| Err(io::Error::other(format!("no room for {bytes}")));
        let error = ensure(PROOF, directory.path(), full).unwrap_err();
        assert_eq!(error.to_string(), "no room for 3584");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn of_several_at_once_one_makes_it() {
        let directory = TempDir::new().unwrap();
        let made = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| match ensured(directory.path()).1 {
                    Ensured::Made => made.fetch_add(1, Ordering::SeqCst),
                    Ensured::Known => 0,
                    other => panic!("{other:?}"),
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }
}
