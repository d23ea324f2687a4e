//! The self-describing encoding of every payload: the first byte says which it is.
//!
//! ```text
//!  '{'                    JSON
//!  0x80-0x8F, 0xDE, 0xDF  a MessagePack map with field names
//!  (empty)                {} in JSON
//! ```
//!
//! Decision 043 in `docs/decisions`.

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use crate::{keys, text::cut_text};

/// Nesting deeper than this is refused: no message of ours comes near it, and a decoder's stack is
/// finite.
const MAX_DEPTH: usize = 64;

/// What is shown of a text that a stranger has chosen.
const MAX_SHOWN_BYTES: usize = 128;

/// How a payload is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// For people and scripts.
    Json,
    /// Smaller and faster; the default of the state subjects.
    #[default]
    Msgpack,
}

/// Why a payload could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The first byte starts neither a JSON object nor a MessagePack map.
    #[error(
        "the payload is neither a JSON object nor a MessagePack map: it starts with byte 0x{0:02X}"
    )]
    UnknownEncoding(u8),
    /// Invalid JSON, or JSON of another shape.
    #[error("the payload is no valid JSON message: {0}")]
    Json(#[from] serde_json::Error),
    /// Invalid MessagePack, or MessagePack of another shape.
    #[error("the payload is no valid MessagePack message: {0}")]
    Msgpack(#[from] rmp_serde::decode::Error),
    /// A request has a field that it does not know.
    #[error("unknown field `{field}`{}", nearest.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownField {
        /// Its path: `selector.statuss`.
        field: String,
        /// The path of the one that was probably meant.
        nearest: Option<String>,
    },
    /// A field of a request has a value that it cannot have.
    #[error("field `{field}`: {why}")]
    Field {
        /// Its path: `selector.index[0]`.
        field: String,
        /// What was found, and what is expected.
        why: String,
    },
    /// Bytes follow the MessagePack map.
    #[error("{0} bytes follow the end of the MessagePack message")]
    TrailingBytes(usize),
    /// The message does not fit, however its texts are cut.
    #[error("the message has {bytes} bytes, {max_bytes} are allowed")]
    TooLarge {
        /// With all of its texts cut to nothing.
        bytes: usize,
        /// The most that is allowed.
        max_bytes: usize,
    },
    /// A value that MessagePack cannot hold.
    #[error("the message cannot be written as MessagePack: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

impl Encoding {
    /// The encoding of a payload, by its first byte. An empty one counts as JSON.
    pub fn of(payload: &[u8]) -> Result<Encoding, CodecError> {
        match payload.first() {
            None | Some(b'{') => Ok(Encoding::Json),
            Some(0x80..=0x8F | 0xDE | 0xDF) => Ok(Encoding::Msgpack),
            Some(&other) => Err(CodecError::UnknownEncoding(other)),
        }
    }

    /// Writes a message, which must be a struct or a map.
    pub fn encode<T: Serialize>(self, message: &T) -> Result<Vec<u8>, CodecError> {
        match self {
            Encoding::Json => Ok(serde_json::to_vec(message)?),
            Encoding::Msgpack => Ok(rmp_serde::to_vec_named(message)?),
        }
    }
}

/// A message with texts for people. They can be long, and may be cut where there is no room.
pub trait Texts: Serialize + Clone {
    /// Those of them that may be cut.
    fn texts(&mut self) -> Vec<&mut String>;
}

impl Encoding {
    /// Writes a message in at most so many bytes: if need be, each of its texts is cut to an equal
    /// share.
    pub fn encode_within<T: Texts>(
        self,
        message: &T,
        max_bytes: usize,
    ) -> Result<Vec<u8>, CodecError> {
        let whole = self.encode(message)?;
        if whole.len() <= max_bytes {
            return Ok(whole);
        }
        let mut cut = message.clone();
        let full: Vec<String> = cut.texts().into_iter().map(std::mem::take).collect();
        let bare = self.encode(&cut)?.len();
        let Some(room) = max_bytes.checked_sub(bare) else {
            return Err(CodecError::TooLarge { bytes: bare, max_bytes });
        };
        let room = room / full.iter().filter(|text| !text.is_empty()).count().max(1);
        // An escaped character takes up to 6 bytes in JSON.
        let share = if self == Encoding::Json { room / 6 } else { room.saturating_sub(5) };
        cut.texts().into_iter().zip(&full).for_each(|(text, full)| *text = cut_text(full, share));
        self.encode(&cut)
    }
}

/// Reads a message in either encoding; an empty payload reads as `{}`.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, CodecError> {
    match Encoding::of(payload)? {
        Encoding::Json if payload.is_empty() => Ok(serde_json::from_slice(b"{}")?),
        Encoding::Json => Ok(serde_json::from_slice(payload)?),
        Encoding::Msgpack => {
            let mut deserializer = rmp_serde::Deserializer::new(std::io::Cursor::new(payload));
            deserializer.set_max_depth(MAX_DEPTH);
            let message = T::deserialize(&mut deserializer)?;
            match payload.len() - deserializer.position() as usize {
                0 => Ok(message),
                rest => Err(CodecError::TrailingBytes(rest)),
            }
        }
    }
}

/// Reads a request. Unlike [`decode`] it refuses a field that the request does not have: what is
/// misspelt would be passed over, and the rest carried out.
pub fn decode_request<T: DeserializeOwned>(payload: &[u8]) -> Result<T, CodecError> {
    match Encoding::of(payload)? {
        Encoding::Json => {
            let text = if payload.is_empty() { b"{}" } else { payload };
            let mut deserializer = serde_json::Deserializer::from_slice(text);
            let read = known_fields_only(&mut deserializer);
            let message = read.map_err(|(path, error)| match error.classify() {
                serde_json::error::Category::Data => wrong_value(path, &error),
                _ => CodecError::Json(error),
            })??;
            deserializer.end()?;
            Ok(message)
        }
        Encoding::Msgpack => {
            let mut deserializer = rmp_serde::Deserializer::new(std::io::Cursor::new(payload));
            deserializer.set_max_depth(MAX_DEPTH);
            let read = known_fields_only(&mut deserializer);
            let message = read.map_err(|(path, error)| match error {
                rmp_serde::decode::Error::Syntax(_) | rmp_serde::decode::Error::TypeMismatch(_) => {
                    wrong_value(path, &error)
                }
                _ => CodecError::Msgpack(error),
            })??;
            match payload.len() - deserializer.position() as usize {
                0 => Ok(message),
                rest => Err(CodecError::TrailingBytes(rest)),
            }
        }
    }
}

type Path = serde_path_to_error::Path;

// The outer error is a decoder's, with where it is; the inner one is about a field that is not
// known.
fn known_fields_only<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Result<T, CodecError>, (Path, D::Error)> {
    let mut unknown = None;
    let mut passed_over = |path: serde_ignored::Path<'_>| {
        unknown.get_or_insert_with(|| keys::on_path(&path));
    };
    let strict = serde_ignored::Deserializer::new(deserializer, &mut passed_over);
    let message = serde_path_to_error::deserialize(strict)
        .map_err(|error| (error.path().clone(), error.into_inner()))?;
    Ok(match unknown {
        None => Ok(message),
        Some(path) => Err(unknown_field::<T>(path)),
    })
}

fn unknown_field<T: DeserializeOwned>(path: Vec<String>) -> CodecError {
    let (name, parents) =
        path.split_last().map_or(("", &path[..]), |(name, parents)| (name.as_str(), parents));
    let near = keys::nearest(name, keys::of::<T>(parents).iter().copied());
    let nearest = near.map(|near| [parents, &[near.to_owned()]].concat().join("."));
    CodecError::UnknownField { field: cut_text(&path.join("."), MAX_SHOWN_BYTES), nearest }
}

fn wrong_value(path: Path, error: &dyn std::fmt::Display) -> CodecError {
    // What serde_json says ends with a place, which the field's name says better.
    let text = error.to_string();
    let why = text.split_once(" at line ").map_or(text.as_str(), |(why, _)| why);
    CodecError::Field {
        field: cut_text(&path.to_string(), MAX_SHOWN_BYTES),
        why: cut_text(why, MAX_SHOWN_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn encodings_are_told_by_the_first_byte() {
        assert_eq!(Encoding::of(b"").unwrap(), Encoding::Json);
        assert_eq!(Encoding::of(b"{\"a\":1}").unwrap(), Encoding::Json);
        assert_eq!(Encoding::of(&[0x81]).unwrap(), Encoding::Msgpack);
        assert_eq!(Encoding::of(&[0xDE, 0, 0]).unwrap(), Encoding::Msgpack);
        for garbage in [b"[1]".as_slice(), b" {}", b"null", &[0x00], &[0x90], &[0xC0], &[0xFF]] {
            assert!(
                matches!(Encoding::of(garbage), Err(CodecError::UnknownEncoding(_))),
                "{garbage:?}"
            );
        }
    }

    #[test]
    fn messagepack_carries_field_names() {
        assert_eq!(Encoding::Msgpack.encode(&json!({"index": 5})).unwrap(), b"\x81\xA5index\x05");
    }

    #[test]
    fn an_empty_payload_is_an_empty_object() {
        assert_eq!(decode::<Value>(b"").unwrap(), json!({}));
    }

    #[test]
    fn bytes_after_the_message_are_refused_in_both_encodings() {
        assert!(matches!(decode::<Value>(b"\x80\x00"), Err(CodecError::TrailingBytes(1))));
        assert!(matches!(decode::<Value>(b"{}{}"), Err(CodecError::Json(_))));
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Request {
        index: Option<u32>,
        #[serde(default)]
        dry_run: bool,
        selector: Option<Inner>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Inner {
        #[serde(default)]
        status: Vec<String>,
    }

    fn refused(request: Value) -> String {
        let of = |encoding: Encoding| {
            decode_request::<Request>(&encoding.encode(&request).unwrap()).unwrap_err().to_string()
        };
        // The values' types have other names in MessagePack.
        let (json, msgpack) = (of(Encoding::Json), of(Encoding::Msgpack));
        let field =
            |text: &str| text.split_once('`').unwrap().1.split_once('`').unwrap().0.to_owned();
        assert_eq!(field(&json), field(&msgpack));
        json
    }

    #[test]
    fn a_request_with_an_unknown_field_is_refused_with_the_nearest_one() {
        assert_eq!(
            refused(json!({"index": 1, "dryrun": true})),
            "unknown field `dryrun`; did you mean `dry_run`?"
        );
        assert_eq!(
            refused(json!({"selector": {"statuss": ["paused"]}})),
            "unknown field `selector.statuss`; did you mean `selector.status`?"
        );
        assert_eq!(refused(json!({"zzz": 1})), "unknown field `zzz`");
        let known = json!({"index": 1, "dry_run": true, "selector": {"status": ["paused"]}});
        assert!(decode_request::<Request>(&Encoding::Msgpack.encode(&known).unwrap()).is_ok());
        assert!(decode_request::<Request>(b"").is_ok());
    }

    #[test]
    fn a_wrong_value_is_named_by_its_field() {
        assert_eq!(
            refused(json!({"index": "1"})),
            "field `index`: invalid type: string \"1\", expected u32"
        );
        assert_eq!(
            refused(json!({"selector": {"status": ["paused", 1]}})),
            "field `selector.status[1]`: invalid type: integer `1`, expected a string"
        );
        assert!(matches!(decode_request::<Request>(b"{\"index\":"), Err(CodecError::Json(_))));
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
        let mut deep = vec![0x81; 1];
        deep.extend_from_slice(b"\xA1a");
        deep.extend(std::iter::repeat_n(0x91, 100_000));
        assert!(decode::<Value>(&deep).is_err());
        let json = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(decode::<Value>(json.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), first in prop::sample::select(vec![b'{', 0x80, 0x8F, 0xDE, 0xDF])) {
            let mut payload = vec![first];
            payload.extend(bytes);
            let _ = decode::<Value>(&payload);
        }
    }
}
