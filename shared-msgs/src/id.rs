//! Ids that are never reused: UUIDv7, as text in both encodings (the `uuid` crate would write 16
//! raw bytes into MessagePack, which JSON and most readers cannot show).
//!
//! Decision 012 in `docs/decisions`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a process's run, or of a request. Ids are compared for equality only: their order
/// would compare clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(Uuid);

impl Id {
    /// Draws a new id by this machine's clock and randomness.
    pub fn generate() -> Self {
        Id(Uuid::now_v7())
    }

    /// The id of nothing, for examples and tests.
    pub const NIL: Id = Id(Uuid::nil());
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for Id {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Id)
    }
}

impl TryFrom<String> for Id {
    type Error = uuid::Error;

    fn try_from(text: String) -> Result<Self, uuid::Error> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Encoding;

    #[test]
    fn an_id_is_text_in_both_encodings() {
        #[derive(Serialize)]
        struct Message {
            id: Id,
        }
        let text = "00000000-0000-0000-0000-000000000000";
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            let bytes = encoding.encode(&Message { id: Id::NIL }).unwrap();
            assert!(
                bytes.windows(text.len()).any(|window| window == text.as_bytes()),
                "{encoding:?}"
            );
        }
    }
}
