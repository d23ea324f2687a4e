//! Stores that say themselves what they are: directories with a file `sectorstore.json`, which
//! `damocles-manager util storage gen-sectorstore-json` writes. A worker looks for them at its
//! start, by the patterns of `worker.scan_persist_stores`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tracing::{info, warn};

use super::files::at;

const FILE_NAME: &str = "sectorstore.json";

/// A store that was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SectorStore {
    pub location: PathBuf,
    /// The name that the sector manager knows it by; its canonical path if absent.
    pub name: Option<String>,
    pub readonly: bool,
    /// Free-form facts, for whoever transfers files there.
    pub meta: BTreeMap<String, String>,
}

// What concerns a worker; the rest is the sector manager's.
#[derive(Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[derive(Default)]
struct Written {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    read_only: bool,
    meta: Option<BTreeMap<String, String>>,
}

/// Finds them, in the order of the patterns and then of their paths. Directories without the file
/// are none.
pub(crate) fn scan(patterns: &[String]) -> io::Result<Vec<SectorStore>> {
    let mut found = vec![];
    for pattern in patterns {
        let invalid = |error: String| {
            let said = format!("worker.scan_persist_stores: {pattern:?}: {error}");
            io::Error::new(io::ErrorKind::InvalidInput, said)
        };
        let before = found.len();
        for path in glob::glob(pattern).map_err(|error| invalid(error.to_string()))? {
            let path = path.map_err(|error| invalid(error.to_string()))?;
            found.extend(read(&path)?);
        }
        if found.len() == before {
            warn!(pattern, "worker.scan_persist_stores: no directory has a {FILE_NAME} here");
        }
    }
    Ok(found)
}

fn read(location: &Path) -> io::Result<Option<SectorStore>> {
    let file = location.join(FILE_NAME);
    let bytes = match fs::read(&file) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        read => read.map_err(|error| at(&file, error))?,
    };
    let written: Written =
        serde_json::from_slice(&bytes).map_err(|error| at(&file, error.into()))?;
    let Written { id, name, read_only: readonly, meta } = written;
    let name = [name, id].into_iter().find(|name| !name.is_empty());
    info!(path = %location.display(), name, readonly, "found a store");
    let meta = meta.unwrap_or_default();
    Ok(Some(SectorStore { location: location.to_owned(), name, readonly, meta }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_say_they_are_stores_are_found_by_patterns() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        let store = |name: &str, written: &str| {
            fs::create_dir_all(top.join(name)).unwrap();
            fs::write(top.join(name).join(FILE_NAME), written).unwrap();
            top.join(name)
        };
        let one = store(
            "fil/one",
            r#"{"ID": "s-1", "Name": "", "Strict": false, "ReadOnly": true, "Weight": 0, "AllowMiners": [1], "DenyMiners": [2], "PluginName": "x", "Meta": null}"#,
        );
        let two = store("fil/two", r#"{"Name": "two", "Meta": {"zone": "b"}, "CanSeal": true}"#);
        let three = store("fil3", "{}");
        fs::create_dir(top.join("fil/none")).unwrap();
        let pattern = |name: &str| top.join(name).display().to_string();
        let found = scan(&[pattern("fil/*"), pattern("fil3"), pattern("nowhere/*")]).unwrap();
        let meta: BTreeMap<_, _> = [("zone".to_owned(), "b".to_owned())].into();
        let of = |location: PathBuf, name: Option<&str>, readonly, meta| SectorStore {
            location,
            name: name.map(Into::into),
            readonly,
            meta,
        };
        let none = BTreeMap::new;
        assert_eq!(
            found,
            [
                of(one, Some("s-1"), true, none()),
                of(two, Some("two"), false, meta),
                of(three, None, false, none())
            ]
        );
    }

    #[test]
    fn a_pattern_or_a_file_that_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let said = scan(&["/fil/***".into()]).unwrap_err().to_string();
        assert!(said.contains("scan_persist_stores: \"/fil/***\""), "{said}");
        fs::write(directory.path().join(FILE_NAME), "{").unwrap();
        let said = scan(&[directory.path().display().to_string()]).unwrap_err().to_string();
        assert!(said.contains(FILE_NAME), "{said}");
    }
}
