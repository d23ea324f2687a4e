//! Which tables with which keys a type reads, all over a file.

use serde::de::DeserializeOwned;
use shared_msgs::keys::{self, Kind};

// Stands for any key where a table takes any.
const ANY: &str = "*";

/// A table with fixed keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    path: Vec<String>,
    is_list: bool,
    pub(super) keys: &'static [&'static str],
}

impl Section {
    /// As it is written in a file.
    pub(super) fn header(&self) -> String {
        let path = self.path.join(".");
        if self.is_list { format!("[[{path}]]") } else { format!("[{path}]") }
    }

    /// Whether it stands there.
    pub(super) fn is_at<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> bool {
        let mut keys = keys.into_iter();
        self.path.iter().all(|own| keys.next().is_some_and(|key| own == ANY || own == key))
            && keys.next().is_none()
    }

    /// How deep it stands.
    pub(super) fn depth(&self) -> usize {
        self.path.len()
    }

    /// Whether both are one of many in a table, and alike.
    pub(super) fn is_like(&self, other: &Section) -> bool {
        self.depth() == other.depth()
            && self.keys == other.keys
            && self.path.split_last().map(|(_, above)| above)
                == other.path.split_last().map(|(_, above)| above)
    }
}

/// All of a type's tables with fixed keys; the file itself first.
pub(super) fn sections<T: DeserializeOwned>() -> Vec<Section> {
    let mut sections = vec![];
    let mut paths = vec![vec![]];
    while let Some(path) = paths.pop() {
        let found = keys::at::<T>(&path);
        let keys = match found.kind {
            Kind::Other => continue,
            Kind::AnyKeys => &[ANY][..],
            Kind::Keys(keys) => {
                let section = Section { path: path.clone(), is_list: found.is_list, keys };
                sections.push(section);
                keys
            }
        };
        let on = |key: &&str| path.iter().cloned().chain([(*key).to_owned()]).collect::<Vec<_>>();
        // One that may be written in capitals too is named in small letters.
        let has_twin = |key: &str| {
            let small = key.to_ascii_lowercase();
            small != *key && keys.contains(&small.as_str())
        };
        paths.extend(keys.iter().rev().filter(|key| !has_twin(key)).map(on));
    }
    sections
}
