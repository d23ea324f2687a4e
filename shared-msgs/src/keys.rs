//! Which keys a type reads, as its `Deserialize` asks for them: to find the one that was meant by a
//! key that it does not read.

use std::{cell::Cell, iter::once};

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, Error as _, IntoDeserializer, Visitor,
        value::{Error, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

/// What a type reads at a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// It reads a list of what is told of here.
    pub is_list: bool,
    /// What it reads, once or in the list.
    pub kind: Kind,
}

/// What a type reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A table with these keys.
    Keys(&'static [&'static str]),
    /// A table that may have any key.
    AnyKeys,
    /// No table.
    #[default]
    Other,
}

/// What a type reads at a path. Positions in lists are left out of it.
pub fn at<T: DeserializeOwned>(path: &[String]) -> Shape {
    let found = Cell::default();
    // It never gets as far as a value.
    let _ = T::deserialize(Names { path, found: &found });
    found.get()
}

/// The keys of the table that a type reads at a path; none where it reads no table with fixed keys.
pub fn of<T: DeserializeOwned>(path: &[String]) -> &'static [&'static str] {
    match at::<T>(path).kind {
        Kind::Keys(keys) => keys,
        Kind::AnyKeys | Kind::Other => &[],
    }
}

/// The name that was probably meant by `given`; `None` if none is like it, or several are.
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase().replace(['-', ' '], "_");
    let names: Vec<&str> = names.into_iter().collect();
    let mut whole =
        names.iter().filter(|name| given.len() > 3 && name.to_lowercase().contains(&given));
    if let (Some(only), None) = (whole.next(), whole.next()) {
        return Some(only);
    }
    let score = |name: &str| strsim::jaro_winkler(&name.to_lowercase(), &given);
    let alike = names.iter().copied().filter(|name| score(name) > 0.7);
    let best = alike.max_by(|a, b| score(a).total_cmp(&score(b)))?;
    let is_worse = |name: &&str| *name == best || score(name) < score(best);
    names.iter().all(is_worse).then_some(best)
}

/// What to write instead of `given`, which is none of these names: the nearest one, or any of them.
pub fn instead(given: &str, names: &[&str]) -> String {
    match nearest(given, names.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there are {}", names.join(", ")),
    }
}

/// The names on a path that [`serde_ignored`] tells; positions in arrays are left out.
pub fn on_path(path: &serde_ignored::Path<'_>) -> Vec<String> {
    use serde_ignored::Path::*;
    match path {
        Root => vec![],
        Map { parent, key } => {
            let mut keys = on_path(parent);
            keys.push(key.clone());
            keys
        }
        Seq { parent, .. }
        | Some { parent }
        | NewtypeStruct { parent }
        | NewtypeVariant { parent } => on_path(parent),
    }
}

// Leads a type along a path, and fails at its end.
#[derive(Clone, Copy)]
struct Names<'a> {
    path: &'a [String],
    found: &'a Cell<Shape>,
}

impl Names<'_> {
    fn note(self, kind: Kind) {
        if self.path.is_empty() {
            self.found.set(Shape { kind, ..self.found.get() });
        }
    }

    fn lead<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Some((key, path)) = self.path.split_first() else {
            return self.deserialize_any(visitor);
        };
        visitor.visit_map(MapDeserializer::new(once((key.as_str(), Names { path, ..self }))))
    }
}

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.note(Kind::Keys(fields));
        self.lead(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note(Kind::AnyKeys);
        self.lead(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.path.is_empty() {
            self.found.set(Shape { is_list: true, ..self.found.get() });
        }
        visitor.visit_seq(SeqDeserializer::new(once(self)))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("the end of the path"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Names<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
