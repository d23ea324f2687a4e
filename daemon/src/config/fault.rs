//! What is wrong with a value, in words of whoever writes the file: what was found, what is
//! allowed. A value that may be a secret is never shown.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};
use shared_msgs::{keys::nearest, text::cut_text};

use super::key::KeyPath;

/// What the type of a path says of itself.
pub(super) const PATH: &str = "path string";

// Of a value that is shown.
const MAX_SHOWN_BYTES: usize = 80;

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    at: Option<KeyPath>,
    wrong: Wrong,
    // Where what it misses may be written.
    rests_on: Vec<KeyPath>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wrong {
    Unknown { way_out: String },
    Value { found: Found, wanted: Wanted },
    Brackets { found: &'static str, opening: &'static str, closing: &'static str },
    NoList { found: Found },
    Missing { key: String },
    Type(String),
    Said(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Text(String),
    Number(String),
    Bool(bool),
    Other(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    OneOf(&'static [&'static str]),
    Number(String),
    Bool,
    Other(String),
}

impl Fault {
    /// What is wrong there; the sentence names its key.
    pub fn at(at: KeyPath, sentence: impl Into<String>) -> Self {
        Fault { at: Some(at), ..Fault::of(Wrong::Said(sentence.into())) }
    }

    /// A value there that is read and not allowed: what was found, and what is allowed.
    pub fn takes(at: KeyPath, found: impl fmt::Display, wanted: &str) -> Self {
        let sentence = format!("`{at}` is {found}; it takes {wanted}");
        Fault::at(at, sentence)
    }

    /// Says that something is missed which would stand there: where one of these is wrong itself, or
    /// may be misspelt, nothing is missed.
    pub fn resting_on(self, rests_on: impl IntoIterator<Item = KeyPath>) -> Self {
        Fault { rests_on: rests_on.into_iter().collect(), ..self }
    }

    fn of(wrong: Wrong) -> Self {
        Fault { at: None, wrong, rests_on: vec![] }
    }

    /// Whether it may only follow from another one: from a value that was passed over, or from a key
    /// that was to be another one.
    pub(super) fn follows_from(&self, other: &Fault) -> bool {
        let (own, cause) = (self.path(), other.path());
        let missing = match &self.wrong {
            Wrong::Missing { key } => Some(own.clone().key(key)),
            _ => None,
        };
        let mut missed = self.rests_on.iter().chain(&missing);
        match other.wrong {
            Wrong::Unknown { .. } => missed.any(|missed| missed.above() == cause.above()),
            Wrong::Missing { .. } | Wrong::Said(_) => false,
            _ => {
                let is_judged = matches!(self.wrong, Wrong::Said(_)) && own.is_related_to(&cause);
                is_judged || missed.any(|missed| missed.is_related_to(&cause))
            }
        }
    }

    /// Where it is; the whole file if nobody knows.
    pub fn path(&self) -> KeyPath {
        self.at.clone().unwrap_or_default()
    }

    /// Whether it is the key itself that is wrong, and not its value.
    pub(super) fn is_of_key(&self) -> bool {
        matches!(self.wrong, Wrong::Unknown { .. })
    }

    /// Says where it is, counted from there on.
    pub fn within(mut self, above: KeyPath) -> Self {
        self.rests_on = self.rests_on.into_iter().map(|on| above.clone().join(on)).collect();
        self.at = Some(above.join(self.at.unwrap_or_default()));
        self
    }

    pub(super) fn unknown(at: KeyPath, way_out: String) -> Self {
        Fault { at: Some(at), ..Fault::of(Wrong::Unknown { way_out }) }
    }

    /// A list of tables was found where one table is wanted.
    pub(super) fn wants_one_table() -> Self {
        let (found, opening, closing) = ("a list of tables", "[", "]");
        Fault::of(Wrong::Brackets { found, opening, closing })
    }

    /// A table was found where a list of tables is wanted.
    pub(super) fn wants_tables() -> Self {
        let (found, opening, closing) = ("one table", "[[", "]]");
        Fault::of(Wrong::Brackets { found, opening, closing })
    }

    /// One of its elements was found where a list is wanted.
    pub(super) fn wants_list_of(found: Unexpected<'_>) -> Self {
        Fault::of(Wrong::NoList { found: found.into() })
    }

    /// Whether nothing deeper than the value itself is wrong: it is of another kind.
    pub(super) fn is_of_kind(&self) -> bool {
        matches!(self.wrong, Wrong::Value { .. } | Wrong::Brackets { .. })
    }

    pub(super) fn one_of(found: Unexpected<'_>, allowed: &'static [&'static str]) -> Self {
        Fault::of(Wrong::Value { found: found.into(), wanted: Wanted::OneOf(allowed) })
    }

    // The innermost value says it first.
    pub(super) fn or_at(mut self, at: impl FnOnce() -> KeyPath) -> Self {
        self.at = Some(self.at.unwrap_or_else(at));
        self
    }
}

impl Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault::of(Wrong::Type(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Fault::of(Wrong::Value { found: found.into(), wanted: wanted.into() })
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Fault::invalid_type(found, wanted)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Fault::one_of(Unexpected::Str(variant), expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Fault::of(Wrong::Missing { key: field.to_owned() })
    }
}

impl From<Unexpected<'_>> for Found {
    fn from(found: Unexpected<'_>) -> Self {
        match found {
            Unexpected::Str(text) => Found::Text(text.to_owned()),
            Unexpected::Bool(value) => Found::Bool(value),
            Unexpected::Signed(number) => Found::Number(number.to_string()),
            Unexpected::Unsigned(number) => Found::Number(number.to_string()),
            Unexpected::Float(number) => Found::Number(format!("{number:?}")),
            Unexpected::Seq => Found::Other("a list"),
            Unexpected::Map => Found::Other("a table"),
            _ => Found::Other("a date"),
        }
    }
}

// What the types say of themselves, in words of the field.
impl From<&dyn Expected> for Wanted {
    fn from(expected: &dyn Expected) -> Self {
        let said = expected.to_string();
        let up_to = |max: u64| Wanted::Number(format!("a whole number from 0 to {max}"));
        let words = match said.as_str() {
            "u8" => return up_to(u8::MAX.into()),
            "u16" => return up_to(u16::MAX.into()),
            "u32" => return up_to(u32::MAX.into()),
            "u64" | "usize" => return Wanted::Number("a whole number, 0 or more".into()),
            "a boolean" => return Wanted::Bool,
            // What is secret takes anything, so that nobody shows it, and refuses what is no text.
            "a string" | "any value" => "a text",
            PATH => "a path",
            "a sequence" => "a list",
            "a map" => "a table",
            "a duration" => "a duration such as \"10s\", \"5m\" or \"1h 30m\"",
            said if said.starts_with("struct ") => "a table",
            said => said,
        };
        Wanted::Other(words.into())
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::OneOf(allowed) => write!(f, "one of {}", allowed.join(", ")),
            Wanted::Bool => f.write_str("true or false"),
            Wanted::Number(words) | Wanted::Other(words) => f.write_str(words),
        }
    }
}

impl Found {
    fn shown(&self, secret: bool) -> String {
        match (self, secret) {
            (Found::Other(kind), _) => (*kind).to_owned(),
            (Found::Text(_), true) => "a text".to_owned(),
            (Found::Number(_), true) => "a number".to_owned(),
            (Found::Bool(_), true) => "true or false".to_owned(),
            (Found::Text(text), false) => format!("the text {:?}", cut_text(text, MAX_SHOWN_BYTES)),
            (Found::Number(number), false) => format!("the number {number}"),
            (Found::Bool(value), false) => value.to_string(),
        }
    }

    // How it would be right.
    fn way_out(&self, wanted: &Wanted) -> Option<String> {
        match (self, wanted) {
            (Found::Text(text), Wanted::Number(_)) => {
                text.parse::<u64>().ok().map(|_| "write it without quotes".to_owned())
            }
            (Found::Text(text), Wanted::Bool) => {
                text.parse::<bool>().ok().map(|_| "write it without quotes".to_owned())
            }
            (Found::Text(text), Wanted::OneOf(allowed)) => {
                nearest(text, allowed.iter().copied()).map(|near| format!("did you mean {near:?}?"))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path();
        // What programs are given in their environment or as arguments may be anything.
        let secret = path.is_secret() || path.keys().any(|key| ["envs", "args"].contains(&key));
        match &self.wrong {
            Wrong::Unknown { way_out } => write!(f, "unknown key `{path}`; {way_out}"),
            Wrong::Value { found, wanted } => {
                write!(f, "`{path}` is {}; it takes {wanted}", found.shown(secret))?;
                let way_out = found.way_out(wanted).filter(|_| !secret);
                way_out.map_or(Ok(()), |way_out| write!(f, "; {way_out}"))
            }
            Wrong::Brackets { found, opening, closing } => {
                write!(f, "`{path}` is {found}: write `{opening}{path}{closing}`")
            }
            Wrong::NoList { found } => {
                let found = found.shown(secret);
                write!(f, "`{path}` is {found}; it takes a list: write it in brackets, [ ]")
            }
            Wrong::Missing { key } => write!(f, "`{}` is missing", path.key(key)),
            Wrong::Type(_) if secret => {
                write!(f, "`{path}` cannot be used as it is: a text in quotes is expected")
            }
            Wrong::Type(said) => write!(f, "`{path}`: {said}"),
            Wrong::Said(sentence) => f.write_str(sentence),
        }
    }
}
