//! A configuration file as it is written: its values, and where each of them stands.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use serde::de::DeserializeOwned;
use shared_msgs::keys::nearest;
use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

use super::{
    ConfigError, Ignored, Mistake, WithoutEffect,
    effective::Origin,
    fault::Fault,
    key::{KeyPath, Step},
    reader::{Notes, Reader},
    shape::{self, Section},
};

// A file with more values of a wrong type is no configuration; so many are looked for.
const MOST_READ: usize = 100;
// So many tables that have a key are named.
const MAX_NAMED: usize = 3;

/// A file that is TOML.
#[derive(Debug)]
pub struct Document {
    path: String,
    values: Value,
    places: HashMap<KeyPath, Places>,
}

/// A place in a file, each from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

#[derive(Clone, Copy, Debug)]
struct Places {
    key: Place,
    value: Place,
    // It is no table, and holds none.
    is_leaf: bool,
}

impl Place {
    pub(super) fn of(offset: usize, text: &str) -> Place {
        let before = &text[..text.floor_char_boundary(offset)];
        let line = before.rsplit('\n').next().unwrap_or_default();
        Place { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }
}

impl Document {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Document, ConfigError> {
        let shown = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Document::parse(&text, &shown),
            Err(error) => Err(ConfigError::Read { path: shown, error }),
        }
    }

    /// Like [`Document::load`], from a text; `path` is for messages.
    pub fn parse(text: &str, path: &str) -> Result<Document, ConfigError> {
        let tree = DeTable::parse(text).map_err(|error| ConfigError::no_toml(path, text, error))?;
        let mut places = HashMap::new();
        let values = take_table(tree.get_ref(), &KeyPath::root(), text, &mut places);
        Ok(Document { path: path.to_owned(), values, places })
    }

    /// A file that says nothing.
    pub fn empty(path: &Path) -> Document {
        let (path, values) = (path.display().to_string(), Value::Table(Table::new()));
        Document { path, values, places: HashMap::new() }
    }

    /// Its path, as it was given.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A table as it is written; empty if it is not there.
    pub fn table(&self, at: &KeyPath) -> Table {
        let found = at.steps().iter().try_fold(&self.values, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        });
        found.and_then(Value::as_table).cloned().unwrap_or_default()
    }

    /// Where a value comes from, or what it was made of: the file, if it has it.
    pub fn origin(&self, at: &KeyPath) -> Origin {
        let own = self.places.get(at);
        let made_of = || {
            // A list of names may stand for a table.
            let (_, above) = at.steps().split_last()?;
            self.places.get(&KeyPath::from(above)).filter(|above| above.is_leaf)
        };
        own.or_else(made_of).map_or(Origin::Default, |places| Origin::File {
            file: self.path.clone(),
            line: places.key.line,
        })
    }

    /// Reads all of it, refuses keys that nobody knows, and returns what to warn about beside it.
    pub fn read<T: DeserializeOwned>(
        &self,
        without_effect: &[WithoutEffect],
    ) -> Result<(T, Vec<String>), ConfigError> {
        self.read_checked(without_effect, Ok)
    }

    /// Like [`Document::read`], and makes of what was read what a program works with. Whatever is
    /// wrong is refused together: what is wrong of its type is passed over, so that the rest is
    /// looked at too, and left out is what may only follow from something else.
    pub fn read_checked<T: DeserializeOwned, C>(
        &self,
        without_effect: &[WithoutEffect],
        check: impl FnOnce(T) -> Result<C, Vec<Fault>>,
    ) -> Result<(C, Vec<String>), ConfigError> {
        let mut notes = Notes::default();
        let mut faults: Vec<Fault> = vec![];
        let read = loop {
            match T::deserialize(Reader::new(&self.values, &KeyPath::root(), &notes)) {
                Ok(read) => break Some(read),
                Err(fault) => {
                    let at = fault.path();
                    faults.push(fault);
                    let goes_on = at != KeyPath::root() && faults.len() < MOST_READ;
                    if !goes_on || !notes.passed_over.insert(at) {
                        break None;
                    }
                }
            }
        };
        let mut warnings = vec![];
        // Each was met again after everything that was passed over.
        let mut seen = HashSet::new();
        let unknown = notes.unknown.into_inner().into_iter();
        for path in unknown.filter(|path| seen.insert(path.clone())) {
            let key = path.to_string();
            match without_effect.iter().find(|(known, _)| *known == key) {
                Some((_, effect)) => {
                    let ignored = Ignored { key, effect: *effect };
                    warnings.push(format!("{}: {ignored}", self.path));
                }
                None => {
                    let way_out = way_out::<T>(&path, without_effect);
                    faults.push(Fault::unknown(path, way_out));
                }
            }
        }
        match read.map(check) {
            Some(Ok(checked)) if faults.is_empty() => return Ok((checked, warnings)),
            Some(Err(more)) => faults.extend(more),
            Some(Ok(_)) | None => {}
        }
        let follows = |fault: &Fault| faults.iter().any(|other| fault.follows_from(other));
        let own: Vec<_> = faults.iter().filter(|fault| !follows(fault)).cloned().collect();
        // Nothing follows from nothing.
        Err(self.refuse_all(if own.is_empty() { faults } else { own }))
    }

    /// Says where in the file it is.
    pub fn refuse(&self, fault: Fault) -> ConfigError {
        self.refuse_all(vec![fault])
    }

    /// Says where in the file each of them is, in its order.
    pub fn refuse_all(&self, faults: Vec<Fault>) -> ConfigError {
        let mistake = |fault| Mistake { place: self.place(&fault), fault };
        let mut mistakes: Vec<_> = faults.into_iter().map(mistake).collect();
        mistakes.sort_by_key(|mistake| mistake.place);
        mistakes.dedup();
        ConfigError::Invalid { path: self.path.clone(), mistakes }
    }

    fn place(&self, fault: &Fault) -> Option<Place> {
        let path = fault.path();
        let mut steps = path.steps();
        loop {
            let at = KeyPath::from(steps);
            match (self.places.get(&at), steps) {
                (Some(places), _) if fault.is_of_key() => break Some(places.key),
                (Some(places), _) => break Some(places.value),
                (None, [above @ .., _]) => steps = above,
                (None, []) => break None,
            }
        }
    }
}

/// Reads a table that was put together of parts, each of which was read before.
pub fn read_table<T: DeserializeOwned>(table: Table) -> Result<T, Fault> {
    T::deserialize(Reader::new(&Value::Table(table), &KeyPath::root(), &Notes::default()))
}

// The values of a table, with the place of each noted.
fn take_table(
    table: &DeTable<'_>,
    at: &KeyPath,
    text: &str,
    places: &mut HashMap<KeyPath, Places>,
) -> Value {
    let entries = table.iter().map(|(key, value)| {
        let (path, place) = (at.clone().key(key.get_ref()), Place::of(key.span().start, text));
        (key.get_ref().to_string(), take_value(value, place, path, text, places))
    });
    Value::Table(entries.collect())
}

fn take_value(
    value: &Spanned<DeValue<'_>>,
    key: Place,
    path: KeyPath,
    text: &str,
    places: &mut HashMap<KeyPath, Places>,
) -> Value {
    let place = Place::of(value.span().start, text);
    let taken = match value.get_ref() {
        DeValue::Table(table) => take_table(table, &path, text, places),
        DeValue::Array(list) => {
            let elements = list.iter().enumerate().map(|(index, element)| {
                let at = Place::of(element.span().start, text);
                take_value(element, at, path.clone().index(index), text, places)
            });
            Value::Array(elements.collect())
        }
        DeValue::String(text) => Value::String(text.to_string()),
        // One that is too large stays a number, which is refused where a whole one is wanted.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Float(float(number.as_str())), Value::Integer),
        DeValue::Float(number) => Value::Float(float(number.as_str())),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(time) => Value::Datetime(*time),
    };
    let is_leaf = match &taken {
        Value::Table(_) => false,
        Value::Array(list) => !list.iter().any(Value::is_table),
        _ => true,
    };
    places.insert(path, Places { key, value: place, is_leaf });
    taken
}

fn float(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

// What whoever wrote this key may have meant.
fn way_out<T: DeserializeOwned>(path: &KeyPath, without_effect: &[WithoutEffect]) -> String {
    let keys: Vec<_> = path.keys().collect();
    let Some((key, above)) = keys.split_last() else { return String::new() };
    let sections = shape::sections::<T>();
    let elsewhere: Vec<_> = sections.iter().filter(|section| section.keys.contains(key)).collect();
    if !elsewhere.is_empty() {
        return belongs(key, &elsewhere, &sections);
    }
    let here = sections.iter().find(|section| section.is_at(above.iter().copied()));
    let parent = above.join(".");
    let without_effect = without_effect.iter().filter_map(|(known, _)| match &parent[..] {
        "" => Some(*known),
        parent => known.strip_prefix(parent)?.strip_prefix('.'),
    });
    let known = here.into_iter().flat_map(|section| section.keys.iter().copied());
    let names = known.clone().chain(without_effect.filter(|name| !name.contains('.')));
    let near = nearest(key, names);
    // A slip of the pen in another section is likelier than a far name in this one.
    let slips = |name: &str| strsim::damerau_levenshtein(name, key);
    let all = sections.iter().flat_map(|section| section.keys.iter().copied());
    let alike =
        all.filter(|name| slips(name) <= 2 && name.len() > 4).min_by_key(|name| slips(name));
    if let Some(far) = alike.filter(|far| near.is_none_or(|near| slips(near) > slips(far))) {
        let elsewhere: Vec<_> =
            sections.iter().filter(|section| section.keys.contains(&far)).collect();
        return format!("did you mean `{far}`? {}", belongs(far, &elsewhere, &sections));
    }
    if let Some(near) = near {
        let near = above.iter().copied().chain([near]).collect::<Vec<_>>().join(".");
        return format!("did you mean `{near}`?");
    }
    match known.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "no keys are known here".to_owned(),
        known => format!("the keys here are {known}"),
    }
}

// Where such a key stands, the file's uppermost tables first.
fn belongs(key: &str, having: &[&Section], all: &[Section]) -> String {
    let depth = having.iter().map(|section| section.depth()).min().unwrap_or_default();
    if depth == 0 {
        let own = all.iter().find(|section| section.is_at([key]));
        let header = own.map_or_else(|| format!("[{key}]"), Section::header);
        return format!("it is a section of its own: write `{header}`");
    }
    let having: Vec<_> = having.iter().filter(|section| section.depth() == depth).collect();
    let mut named: Vec<String> = vec![];
    for (position, section) in having.iter().enumerate() {
        // Of many that are alike one stands for all.
        if having[..position].iter().any(|earlier| earlier.is_like(section)) {
            continue;
        }
        let alone = !having[position + 1..].iter().any(|later| later.is_like(section));
        let like = if alone { "" } else { "a section like " };
        named.push(format!("{like}`{}`", section.header()));
    }
    named.truncate(MAX_NAMED);
    format!("`{key}` belongs into {}", named.join(" or "))
}
