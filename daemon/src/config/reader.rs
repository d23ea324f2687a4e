//! Reads a type from a value of a file: what is wrong with it has its place, and keys that the type
//! does not know are collected.

use std::{cell::RefCell, collections::HashSet};

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};
use toml::{Table, Value};

use super::{
    fault::{Fault, PATH},
    key::KeyPath,
};

/// What is noted while a file is read.
#[derive(Default)]
pub(super) struct Notes {
    /// Keys that nobody knows.
    pub(super) unknown: RefCell<Vec<KeyPath>>,
    /// Values that are passed over as if they were not written: they are known to be wrong.
    pub(super) passed_over: HashSet<KeyPath>,
}

/// A value, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    value: &'a Value,
    at: &'a KeyPath,
    notes: &'a Notes,
}

impl<'a> Reader<'a> {
    /// Reads this value, which stands there.
    pub(super) fn new(value: &'a Value, at: &'a KeyPath, notes: &'a Notes) -> Self {
        Reader { value, at, notes }
    }

    fn located<T>(self, read: Result<T, Fault>) -> Result<T, Fault> {
        read.map_err(|fault| fault.or_at(|| self.at.clone()))
    }

    fn entries(self, table: &'a Table) -> Entries<'a> {
        Entries { reader: self, entries: table.iter(), next: None }
    }

    fn unexpected(self) -> Unexpected<'a> {
        match self.value {
            Value::String(text) => Unexpected::Str(text),
            Value::Integer(number) => Unexpected::Signed(*number),
            Value::Float(number) => Unexpected::Float(*number),
            Value::Boolean(value) => Unexpected::Bool(*value),
            Value::Datetime(_) => Unexpected::Other("a date"),
            Value::Array(_) => Unexpected::Seq,
            Value::Table(_) => Unexpected::Map,
        }
    }

    fn is_list_of_tables(self) -> bool {
        self.value.as_array().is_some_and(|list| list.iter().any(Value::is_table))
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.located(match self.value {
            Value::String(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Datetime(_) => Err(Fault::invalid_type(self.unexpected(), &visitor)),
            Value::Array(list) => visitor.visit_seq(Elements { reader: self, list, position: 0 }),
            Value::Table(table) => visitor.visit_map(self.entries(table)),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let Value::Table(table) = self.value {
            let unknown = table.keys().filter(|key| !fields.contains(&key.as_str()));
            self.notes.unknown.borrow_mut().extend(unknown.map(|key| self.at.clone().key(key)));
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.is_list_of_tables() {
            return self.located(Err(Fault::wants_one_table()));
        }
        match self.value {
            Value::Table(_) => self.deserialize_any(visitor),
            // A struct could be read from a list of its values, which nobody means.
            _ => self.located(Err(Fault::invalid_type(self.unexpected(), &"a table"))),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.value.is_array() {
            return self.deserialize_any(visitor);
        }
        // If it could be an entry of the list, only the brackets are wrong.
        let wanted = Fault::invalid_type(self.unexpected(), &visitor);
        let (list, notes) = ([self.value.clone()], Notes::default());
        let entry = Reader { notes: &notes, ..self };
        let read = visitor.visit_seq(Elements { reader: entry, list: &list, position: 0 });
        let is_entry = match read {
            Ok(_) => true,
            Err(fault) => !fault.is_of_kind() || fault.path() != self.at.clone().index(0),
        };
        self.located(Err(match self.value {
            _ if !is_entry => wanted,
            Value::Table(_) => Fault::wants_tables(),
            _ => Fault::wants_list_of(self.unexpected()),
        }))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.located(visitor.visit_newtype_struct(self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.located(match self.value {
            Value::String(text) => {
                let name: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
                visitor.visit_enum(name)
            }
            _ => Err(Fault::one_of(self.unexpected(), variants)),
        })
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        // An empty path would be the directory that a program happens to be started in.
        let takes_path = (&visitor as &dyn Expected).to_string() == PATH;
        if takes_path && self.value.as_str() == Some("") {
            return self.located(Err(Fault::invalid_value(self.unexpected(), &visitor)));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str bytes byte_buf unit
        unit_struct tuple tuple_struct identifier
    }
}

struct Elements<'a> {
    reader: Reader<'a>,
    list: &'a [Value],
    position: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let (value, at) = loop {
            let Some(value) = self.list.get(self.position) else { return Ok(None) };
            let at = self.reader.at.clone().index(self.position);
            self.position += 1;
            if !self.reader.notes.passed_over.contains(&at) {
                break (value, at);
            }
        };
        let element = Reader { value, at: &at, ..self.reader };
        element.located(seed.deserialize(element)).map(Some)
    }
}

struct Entries<'a> {
    reader: Reader<'a>,
    entries: toml::map::Iter<'a, String, Value>,
    next: Option<(&'a String, &'a Value)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Reader { at, notes, .. } = self.reader;
        let passed_over = |key: &str| notes.passed_over.contains(&at.clone().key(key));
        self.next = self.entries.find(|(key, _)| !passed_over(key));
        let Some((key, _)) = self.next else { return Ok(None) };
        let key: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let Some((key, value)) = self.next.take() else {
            return Err(Fault::custom("a value is read before its key"));
        };
        let at = self.reader.at.clone().key(key);
        let entry = Reader { value, at: &at, ..self.reader };
        entry.located(seed.deserialize(entry))
    }
}
