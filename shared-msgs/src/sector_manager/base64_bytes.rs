//! Bytes that travel as base64 text, as damocles writes tickets, seeds and proofs.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// Any bytes, as base64 text (RFC 4648, with padding).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Base64Bytes(pub Vec<u8>);

/// 32 bytes of chain randomness, as base64 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Randomness(pub [u8; 32]);

impl TryFrom<String> for Base64Bytes {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        STANDARD.decode(text).map(Base64Bytes)
    }
}

impl From<Base64Bytes> for String {
    fn from(bytes: Base64Bytes) -> String {
        STANDARD.encode(bytes.0)
    }
}

/// Why a text is no randomness.
#[derive(Debug, thiserror::Error)]
pub enum RandomnessError {
    /// It is no base64.
    #[error(transparent)]
    Base64(#[from] base64::DecodeError),
    /// It has another length.
    #[error("randomness has 32 bytes, not {0}")]
    Length(usize),
}

impl TryFrom<String> for Randomness {
    type Error = RandomnessError;

    fn try_from(text: String) -> Result<Self, RandomnessError> {
        let bytes = STANDARD.decode(text)?;
        let bytes = bytes.try_into().map(Randomness);
        bytes.map_err(|bytes: Vec<u8>| RandomnessError::Length(bytes.len()))
    }
}

impl From<Randomness> for String {
    fn from(randomness: Randomness) -> String {
        STANDARD.encode(randomness.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn randomness_of_another_length_is_refused() {
        assert!(serde_json::from_str::<Randomness>("\"AQE=\"").is_err());
        assert!(serde_json::from_str::<Randomness>("\"no base64!\"").is_err());
    }
}
