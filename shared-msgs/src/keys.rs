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

/// The keys of the table that a type reads at a path; none where it reads no table with fixed keys.
pub fn of<T: DeserializeOwned>(path: &[String]) -> &'static [&'static str] {
    let found = Cell::default();
    // It never gets as far as a value.
    let _ = T::deserialize(Names { path, found: &found });
    found.get()
}

/// The name that was probably meant by `given`; `None` if none is like it.
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.into_iter().map(|name| (strsim::jaro_winkler(name, given), name));
    let alike = scored.filter(|(score, _)| *score > 0.7);
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
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
    found: &'a Cell<&'static [&'static str]>,
}

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.path.is_empty() {
            self.found.set(fields);
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Some((key, path)) = self.path.split_first() else {
            return self.deserialize_any(visitor);
        };
        visitor.visit_map(MapDeserializer::new(once((key.as_str(), Names { path, ..self }))))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
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
