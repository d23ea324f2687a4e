//! Files of sectors that a location's thread does not work on: those that it has let go of, and
//! those that no record speaks of.
//!
//! ```text
//!  <location>/data/aside/<sector>.<Unix ms>/note.json      why and since when, and the sector's record
//!                                          /sealed, cache … what lay in data/sealed/<sector>, data/cache/<sector>, …
//! ```
//! They lie beside the directories that they come from, so that they are moved by a rename. Nothing
//! here is removed unless an operator asks for it.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use shared_msgs::sector_manager::SectorId;

use super::{
    durable::{replace, sync_dir},
    files::{at, remove_path},
    location::{DATA_DIRS, Location},
    record::Sector,
};

const ASIDE: &str = "aside";
const NOTE: &str = "note.json";

/// What is known of a sector that is kept aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub sector: SectorId,
    /// The plan that worked on it.
    #[serde(default)]
    pub plan: String,
    /// How far it was.
    #[serde(default)]
    pub state: String,
    /// Why it was let go of.
    #[serde(default)]
    pub reason: String,
    /// When, Unix milliseconds by this machine's clock.
    pub since_ms: u64,
    /// What its stages had yielded.
    #[serde(default)]
    pub record: Option<Sector>,
}

/// Files of a sector that nobody works on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Idle {
    pub sector: SectorId,
    pub why: Why,
    /// The space that they take.
    pub bytes: u64,
    pub paths: Vec<PathBuf>,
}

/// Why files are there that nobody works on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Why {
    /// They are kept aside; without a note if that is gone or cannot be read.
    Aside(Option<Box<Note>>),
    /// The thread's record does not speak of the sector.
    NotInHand,
}

/// Moves what there is of a sector out of the way, with what is known of it and the outputs of its
/// stages. May be repeated after it was cut off anywhere.
pub(crate) fn keep(
    location: &Location,
    note: &Note,
    outputs: &[(&str, Vec<u8>)],
) -> io::Result<()> {
    let sector = note.sector.to_string();
    let there: Vec<_> =
        DATA_DIRS.iter().filter(|kind| is_there(&location.data(kind).join(&sector))).collect();
    if there.is_empty() {
        return Ok(());
    }
    let all = location.data(ASIDE);
    let entry = all.join(format!("{sector}.{}", note.since_ms));
    fs::create_dir_all(&entry).map_err(|error| at(&entry, error))?;
    for (name, bytes) in outputs {
        replace(&entry.join(name), bytes)?;
    }
    replace(&entry.join(NOTE), &serde_json::to_vec_pretty(note).map_err(io::Error::other)?)?;
    sync_dir(&all)?;
    for kind in there {
        let (from, to) = (location.data(kind), entry.join(kind));
        fs::rename(from.join(&sector), &to).map_err(|error| at(&to, error))?;
        sync_dir(&entry)?;
        sync_dir(&from)?;
    }
    Ok(())
}

/// What is kept aside in a location, by sector and age.
pub(crate) fn kept(location: &Location) -> io::Result<Vec<Idle>> {
    let mut kept = vec![];
    for entry in entries(&location.data(ASIDE))? {
        let Some((sector, since_ms)) = named(&entry) else { continue };
        let note =
            fs::read(entry.join(NOTE)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        kept.push((
            since_ms,
            Idle { sector, why: Why::Aside(note), bytes: bytes_of(&entry)?, paths: vec![entry] },
        ));
    }
    kept.sort_by_key(|(since_ms, idle)| (idle.sector, *since_ms));
    Ok(kept.into_iter().map(|(_, idle)| idle).collect())
}

/// The files of sectors other than the one in hand that lie where a thread works, by sector. Nobody
/// may have the location's store meanwhile.
pub(crate) fn not_in_hand(location: &Location, in_hand: Option<SectorId>) -> io::Result<Vec<Idle>> {
    let mut found: BTreeMap<SectorId, Vec<PathBuf>> = BTreeMap::new();
    for kind in DATA_DIRS {
        for path in entries(&location.data(kind))? {
            let sector = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            if let Some(sector) = sector.filter(|sector| Some(*sector) != in_hand) {
                found.entry(sector).or_default().push(path);
            }
        }
    }
    let idle = found.into_iter().map(|(sector, paths)| {
        let bytes =
            paths.iter().try_fold(0, |sum, path| bytes_of(path).map(|bytes| sum + bytes))?;
        Ok(Idle { sector, why: Why::NotInHand, bytes, paths })
    });
    idle.collect()
}

impl Idle {
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.paths.iter().try_for_each(|path| remove_path(path))
    }
}

fn named(entry: &Path) -> Option<(SectorId, u64)> {
    let (sector, since_ms) = entry.file_name()?.to_str()?.rsplit_once('.')?;
    Some((sector.parse().ok()?, since_ms.parse().ok()?))
}

// What is in a directory; nothing if there is none.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(error) => Err(at(directory, error)),
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()).map_err(|error| at(directory, error)))
            .collect(),
    }
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

// The space on the disk: a sector's files may have holes.
fn bytes_of(path: &Path) -> io::Result<u64> {
    const BLOCK: u64 = 512;
    let metadata = fs::symlink_metadata(path).map_err(|error| at(path, error))?;
    let own = metadata.blocks() * BLOCK;
    if !metadata.is_dir() {
        return Ok(own);
    }
    entries(path)?.iter().try_fold(own, |sum, path| bytes_of(path).map(|bytes| sum + bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: SectorId = SectorId { miner: 10000, number: 2 };

    fn note(since_ms: u64) -> Note {
        Note {
            sector: SECTOR,
            plan: "sealer".into(),
            state: "PC2Done".into(),
            reason: "x".into(),
            since_ms,
            record: None,
        }
    }

    fn sealed(directory: &Path) -> Location {
        let location = Location::at(directory).unwrap();
        location.make_directories().unwrap();
        let files = location.sector_files(SECTOR);
        fs::write(&files.sealed, [7; 2048]).unwrap();
        fs::create_dir_all(&files.cache).unwrap();
        fs::write(files.cache.join("p_aux"), "x").unwrap();
        location
    }

    #[test]
    fn files_are_moved_whole_with_what_is_known_of_them_and_removed_when_somebody_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let location = sealed(directory.path());
        keep(&location, &note(5), &[("pc1out", b"{}".to_vec())]).unwrap();
        assert!(not_in_hand(&location, None).unwrap().is_empty());
        sealed(directory.path());
        keep(&location, &note(6), &[]).unwrap();
        let all = kept(&location).unwrap();
        assert_eq!(
            all.iter().map(|idle| &idle.why).collect::<Vec<_>>(),
            [&Why::Aside(Some(note(5).into())), &Why::Aside(Some(note(6).into()))]
        );
        let first = &all[0].paths[0];
        assert_eq!(fs::read(first.join("sealed")).unwrap(), [7; 2048]);
        assert_eq!(
            (fs::read(first.join("cache/p_aux")).unwrap(), fs::read(first.join("pc1out")).unwrap()),
            (b"x".to_vec(), b"{}".to_vec())
        );
        assert!(all[0].bytes >= 2048);
        all[0].remove().unwrap();
        assert_eq!(kept(&location).unwrap(), all[1..]);
    }

    #[test]
    fn a_move_that_was_cut_off_is_brought_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let location = sealed(directory.path());
        let cache = location.sector_files(SECTOR).cache;
        let elsewhere = directory.path().join("cache");
        fs::rename(&cache, &elsewhere).unwrap();
        keep(&location, &note(5), &[]).unwrap();
        fs::rename(&elsewhere, &cache).unwrap();
        for _ in 0..2 {
            keep(&location, &note(5), &[]).unwrap();
            let all = kept(&location).unwrap();
            assert_eq!(all.len(), 1);
            assert!(
                all[0].paths[0].join("sealed").exists()
                    && all[0].paths[0].join("cache/p_aux").exists()
            );
        }
    }

    #[test]
    fn what_no_record_speaks_of_is_found_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let location = sealed(directory.path());
        fs::write(location.data("unsealed").join("s-t010000-3"), "x").unwrap();
        fs::write(location.data("unsealed").join("lost+found"), "x").unwrap();
        let found = not_in_hand(&location, Some(SECTOR)).unwrap();
        assert_eq!((found.len(), found[0].sector.number, &found[0].why), (1, 3, &Why::NotInHand));
        let both = not_in_hand(&location, None).unwrap();
        assert_eq!(both[0].paths.len(), 2);
        both[0].remove().unwrap();
        assert!(!location.sector_files(SECTOR).cache.exists());
    }
}
