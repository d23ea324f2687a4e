//! A worker's name and the one subject token that stands for it.
//!
//! ```text
//!  "127.0.0.1"  --token()-->  "127=2E0=2E0=2E1"  --from_token()-->  "127.0.0.1"
//! ```
//! The names that go into subjects are in [`crate::subject`].

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 64;

/// A worker's name: any UTF-8 text of 1 to [`MAX_NAME_BYTES`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkerName(String);

/// Why a text is no worker name or no name token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// The name is empty.
    #[error("a worker's name must not be empty")]
    Empty,
    /// The name has more than [`MAX_NAME_BYTES`] bytes.
    #[error("a worker's name has at most {MAX_NAME_BYTES} bytes of UTF-8, this one has {0}")]
    TooLong(usize),
    /// The token does not decode, or is not the token that [`WorkerName::token`] makes.
    #[error("{0:?} is not the subject token of a worker's name")]
    NotCanonical(String),
}

impl WorkerName {
    /// The name as the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as one subject token: `[A-Za-z0-9_-]` stays, every other byte, and a leading `_`,
    /// becomes `=XX`.
    pub fn token(&self) -> String {
        let mut token = String::with_capacity(self.0.len());
        for (position, byte) in self.0.bytes().enumerate() {
            let plain =
                byte.is_ascii_alphanumeric() || byte == b'-' || (byte == b'_' && position > 0);
            if plain {
                token.push(char::from(byte));
            } else {
                token.push_str(&format!("={byte:02X}"));
            }
        }
        token
    }

    /// The name that a token stands for. A token that [`WorkerName::token`] would not have made is
    /// refused, so that no two tokens mean the same worker.
    pub fn from_token(token: &str) -> Result<Self, NameError> {
        let refused = || NameError::NotCanonical(token.to_owned());
        let mut bytes = Vec::with_capacity(token.len());
        let mut rest = token.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'=' {
                bytes.push(byte);
                continue;
            }
            let (Some(high), Some(low)) =
                (rest.next().and_then(hex_digit), rest.next().and_then(hex_digit))
            else {
                return Err(refused());
            };
            bytes.push(high << 4 | low);
        }
        let name: WorkerName =
            String::from_utf8(bytes).map_err(|_| refused())?.parse().map_err(|_| refused())?;
        if name.token() == token { Ok(name) } else { Err(refused()) }
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for WorkerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.len() {
            0 => Err(NameError::Empty),
            length if length > MAX_NAME_BYTES => Err(NameError::TooLong(length)),
            _ => Ok(WorkerName(text.to_owned())),
        }
    }
}

impl TryFrom<String> for WorkerName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<WorkerName> for String {
    fn from(name: WorkerName) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ip_address_becomes_one_token() {
        let name: WorkerName = "127.0.0.1".parse().unwrap();
        assert_eq!(name.token(), "127=2E0=2E0=2E1");
    }

    #[test]
    fn a_leading_underscore_is_escaped_and_a_later_one_stays() {
        let name: WorkerName = "_a_b".parse().unwrap();
        assert_eq!(name.token(), "=5Fa_b");
    }

    #[test]
    fn tokens_that_are_not_canonical_are_refused() {
        for token in ["", "=", "=4", "=2e", "=41", "_a", "a.b", "a b", "=FF", "=GG", "a=="] {
            assert!(WorkerName::from_token(token).is_err(), "{token:?} was accepted");
        }
    }

    #[test]
    fn names_have_bounds() {
        assert_eq!("".parse::<WorkerName>(), Err(NameError::Empty));
        assert!("x".repeat(64).parse::<WorkerName>().is_ok());
        assert_eq!("x".repeat(65).parse::<WorkerName>(), Err(NameError::TooLong(65)));
    }

    proptest! {
        #[test]
        fn every_name_survives_the_round_trip(text in "\\PC{1,16}|[ -~]{1,64}|[\\x00-\\x1f]{1,8}") {
            let name: WorkerName = text.parse().unwrap();
            let token = name.token();
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-=".contains(&b)));
            prop_assert_eq!(WorkerName::from_token(&token).unwrap(), name);
        }

        #[test]
        fn an_accepted_token_is_the_only_one_of_its_name(token in "[A-Za-z0-9_=-]{1,20}") {
            if let Ok(name) = WorkerName::from_token(&token) {
                prop_assert_eq!(name.token(), token);
            }
        }
    }
}
