//! Threads of a worker as they are typed: `3`, `0,2-4`.

use std::{collections::BTreeSet, str::FromStr};

// As many as a selector may name.
const MOST: usize = 256;

/// Positions of threads in their worker's configuration, from 0; at most 256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexes(Vec<u32>);

/// What was typed is no such list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexesError {
    /// A part of it is neither a number nor a range that rises.
    #[error("{0:?} is no thread's index, and no range of them: write 3, or 0,2-4")]
    Unreadable(String),
    /// It has more than that.
    #[error("these are more than {MOST} threads")]
    TooMany,
}

impl FromStr for Indexes {
    type Err = IndexesError;

    fn from_str(text: &str) -> Result<Indexes, IndexesError> {
        let mut indexes = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = first.parse::<u32>().ok().zip(last.parse::<u32>().ok());
            let range = range.filter(|(first, last)| first <= last);
            let (first, last) = range.ok_or_else(|| IndexesError::Unreadable(part.to_owned()))?;
            if indexes.len() + (last - first) as usize >= MOST {
                return Err(IndexesError::TooMany);
            }
            indexes.extend(first..=last);
        }
        Ok(Indexes(indexes))
    }
}

/// All threads of these lists, in order, each once.
pub fn all(lists: &[Indexes]) -> Vec<u32> {
    let indexes: BTreeSet<u32> = lists.iter().flat_map(|list| list.0.iter().copied()).collect();
    indexes.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u32>, IndexesError> {
        text.parse().map(|list| all(&[list]))
    }

    #[test]
    fn numbers_and_ranges_are_read_in_any_order_and_each_thread_once() {
        for (text, expected) in
            [("3", &[3][..]), ("0,2-4", &[0, 2, 3, 4]), ("4,1-2,2,4-4", &[1, 2, 4])]
        {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        let lists = ["2", "0-1"].map(|text| text.parse().unwrap());
        assert_eq!(all(&lists), [0, 1, 2]);
    }

    #[test]
    fn what_is_no_list_of_threads_is_refused_and_named() {
        for (text, part) in [
            ("", ""),
            ("0,", ""),
            ("a", "a"),
            ("-1", "-1"),
            ("0,2-", "2-"),
            ("4-2", "4-2"),
            ("1-2-3", "1-2-3"),
            ("4294967296", "4294967296"),
        ] {
            assert_eq!(read(text), Err(IndexesError::Unreadable(part.into())), "{text}");
        }
        assert_eq!(read("0-255").map(|all| all.len()), Ok(256));
        for text in ["0-256", "0-255,7", "0-4294967295"] {
            assert_eq!(read(text), Err(IndexesError::TooMany), "{text}");
        }
    }
}
