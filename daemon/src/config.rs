//! Reading configuration files strictly, and saying what is wrong with them in words of whoever
//! writes them: file, line and column, key, what was found, what is allowed.
//!
//! ```text
//!  file --parse--> Document --read--> what a type makes of it, refused with a Fault that has its place
//!                     `-- origin, table: where a value stands, and what is written there
//!  a type --settings--> every value of it with its Origin, secrets hidden
//! ```
//! All that is wrong is said together, each with its line, but for what may only follow from something else.
//! The types that are read say which keys there are and what they take. A key that nobody reads is
//! refused with the nearest known one, or with the section that it belongs into; one that is known
//! but has no effect is named in a warning. Nothing prints a source line: it may hold a secret.

mod document;
mod effective;
mod fault;
mod key;
mod reader;
mod shape;

use std::fmt;

pub use self::{
    document::{Document, Place, read_table},
    effective::{Origin, Setting, setting, settings},
    fault::Fault,
    key::{KeyPath, Step},
};

/// Why a key has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It will have one.
    NotYet,
    /// The bus has replaced what it was for.
    Replaced,
    /// For the reason that is given, in a sentence.
    Because(&'static str),
}

/// A key without effect: its path, without the positions in arrays.
pub type WithoutEffect = (&'static str, Effect);

// A key of a file that has no effect.
struct Ignored {
    key: String,
    effect: Effect,
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration file {path}: {error}")]
    Read {
        /// Path as it was given.
        path: String,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// The file is no TOML.
    #[error("configuration file {path}, {place}: {error}")]
    NoToml {
        /// Path as it was given.
        path: String,
        /// Where.
        place: Place,
        /// What.
        error: String,
    },
    /// Keys are unknown, or values are not allowed.
    #[error("configuration file {path}{}", together(mistakes))]
    Invalid {
        /// Path as it was given.
        path: String,
        /// At least one, in the order of the file.
        mistakes: Vec<Mistake>,
    },
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, if it is at one place.
    pub place: Option<Place>,
    /// What is wrong, and the way out.
    pub fault: Fault,
}

// So many mistakes are told.
const MOST_TOLD: usize = 20;

// All of them in one line.
fn together(mistakes: &[Mistake]) -> String {
    let told: Vec<_> = mistakes.iter().take(MOST_TOLD).map(Mistake::to_string).collect();
    told.join("; also") + &more(mistakes).map(|more| format!("; {more}")).unwrap_or_default()
}

fn more(mistakes: &[Mistake]) -> Option<String> {
    let more = mistakes.len().saturating_sub(MOST_TOLD);
    (more > 0).then(|| format!("and {more} more"))
}

impl ConfigError {
    /// Each mistake in a line of its own, which names the file.
    pub fn lines(&self) -> Vec<String> {
        let ConfigError::Invalid { path, mistakes } = self else { return vec![self.to_string()] };
        let line = |mistake: &Mistake| format!("configuration file {path}{mistake}");
        let rest = more(mistakes).map(|more| format!("configuration file {path}: {more}"));
        mistakes.iter().take(MOST_TOLD).map(line).chain(rest).collect()
    }

    // The error's own text shows the source.
    fn no_toml(path: &str, text: &str, error: toml::de::Error) -> Self {
        let place = Place::of(error.span().map_or(0, |span| span.start), text);
        let said = error.message().lines().collect::<Vec<_>>().join("; ");
        ConfigError::NoToml { path: path.to_owned(), place, error: said }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

// Behind the file's name.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(place) => write!(f, ", {place}: {}", self.fault),
            None => write!(f, ": {}", self.fault),
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.effect {
            Effect::NotYet => write!(f, "`{}` has no effect yet", self.key),
            Effect::Replaced => {
                write!(f, "`{}` has no effect: the bus has replaced it, see [nats]", self.key)
            }
            Effect::Because(why) => write!(f, "`{}` has no effect: {why}", self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct File {
        worker: Worker,
        thread: Vec<Thread>,
        limits: Limits,
        processors: BTreeMap<String, Vec<Processor>>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[expect(dead_code, reason = "only its keys matter")]
    struct Worker {
        name: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its keys matter")]
    struct Thread {
        location: PathBuf,
        #[serde(default)]
        sealing: Option<Sealing>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[expect(dead_code, reason = "only its keys matter")]
    struct Sealing {
        max_retries: u32,
    }

    #[derive(Debug, Default, Deserialize)]
    struct Limits {}

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its keys matter")]
    struct Processor {
        bin: String,
    }

    const WITHOUT_EFFECT: &[WithoutEffect] =
        &[("worker.rpc_server", Effect::Replaced), ("limits.pc1", Effect::NotYet)];

    fn check(text: &str) -> Result<Vec<String>, String> {
        let read = Document::parse(text, "w.toml")
            .and_then(|document| document.read::<File>(WITHOUT_EFFECT));
        read.map(|(_, warnings)| warnings).map_err(|error| error.to_string())
    }

    #[test]
    fn known_keys_pass_in_silence() {
        let text = "[worker]\nname='a'\n[[thread]]\nlocation='x'\nsealing.max_retries=3\n[[processors.c2]]\nbin='x'";
        assert_eq!(check(text), Ok(vec![]));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_name_and_the_nearest_known_one() {
        assert_eq!(
            check("[worker]\nnmae='a'").unwrap_err(),
            "configuration file w.toml, line 2, column 1: unknown key `worker.nmae`; did you mean `worker.name`?"
        );
        assert_eq!(
            check("[wroker]\nname='a'").unwrap_err(),
            "configuration file w.toml, line 1, column 2: unknown key `wroker`; did you mean `worker`?"
        );
        let nested = check("[[thread]]\nlocation='x'\nsealing.max_retrys=3").unwrap_err();
        assert!(
            nested.contains(
                "`thread.sealing.max_retrys`; did you mean `thread.sealing.max_retries`?"
            ),
            "{nested}"
        );
        assert_eq!(
            check("[worker]\nzzz=1").unwrap_err(),
            "configuration file w.toml, line 2, column 1: unknown key `worker.zzz`; the keys here are name"
        );
    }

    #[test]
    fn an_unknown_key_is_found_in_every_table_and_before_the_value_that_it_hides() {
        let unknown = |text: &str, key: &str, nearest: &str| {
            let error = check(text).unwrap_err();
            let words = format!("unknown key `{key}`; did you mean `{nearest}`?");
            assert!(error.contains(&words), "{error}");
        };
        unknown("[[processors.c2]]\nbinn='x'", "processors.c2.binn", "processors.c2.bin");
        unknown(
            "[[thread]]\nlocation='x'\n[[thread]]\nloaction='x'",
            "thread.loaction",
            "thread.location",
        );
        unknown("[worker]\nrpc_sever.port=1", "worker.rpc_sever", "worker.rpc_server");
        unknown("[limits]\npc=1", "limits.pc", "limits.pc1");
    }

    #[test]
    fn all_that_is_wrong_is_said_in_the_order_of_the_file() {
        let text = "[worker]\nname = 7\nnmae = 'a'\n[[thread]]\nlocation = ''\nsealing.max_retries = '5'\n\
                    [[thread]]\nlocation = 'b'\nsealing.max_retries = -1\n[wroker]\n[processors.c2]\nbin = 'x'";
        let document = Document::parse(text, "w.toml").unwrap();
        let error = document.read::<File>(WITHOUT_EFFECT).unwrap_err();
        let said = [
            "2, column 8: `worker.name` is the number 7; it takes a text",
            "3, column 1: unknown key `worker.nmae`; did you mean `worker.name`?",
            "5, column 12: `thread.location` is the text \"\"; it takes a path",
            "6, column 23: `thread.sealing.max_retries` is the text \"5\"; it takes a whole number from 0 to 4294967295; write it without quotes",
            "9, column 23: `thread.sealing.max_retries` is the number -1; it takes a whole number from 0 to 4294967295",
            "10, column 2: unknown key `wroker`; did you mean `worker`?",
            "11, column 1: `processors.c2` is one table: write `[[processors.c2]]`",
        ];
        let lines = said.map(|said| format!("configuration file w.toml, line {said}"));
        assert_eq!(error.lines(), lines);
        let two = check("[[thread]]\n[worker]\nname = 7").unwrap_err();
        assert!(
            two.contains("line 1, column 1: `thread.location` is missing; also, line 3"),
            "{two}"
        );
        let together = error.to_string();
        assert!(together.starts_with(&lines[0]) && !together.contains('\n'), "{together}");
        assert!(together.ends_with(&format!("; also, line {}", said[6])), "{together}");
    }

    #[test]
    fn what_only_follows_from_another_mistake_is_not_said() {
        for (text, said) in [
            (
                "[[thread]]\nloaction = 'a'",
                "2, column 1: unknown key `thread.loaction`; did you mean `thread.location`?",
            ),
            (
                "[[thread]]\nlocation = 1",
                "2, column 12: `thread.location` is the number 1; it takes a path",
            ),
        ] {
            assert_eq!(check(text).unwrap_err(), format!("configuration file w.toml, line {said}"));
        }
    }

    #[test]
    fn of_many_mistakes_the_first_are_said_and_how_many_there_are() {
        let text: String = (0..25).map(|key| format!("zz{key} = 1\n")).collect();
        let document = Document::parse(&text, "w.toml").unwrap();
        let lines = document.read::<File>(WITHOUT_EFFECT).unwrap_err().lines();
        assert_eq!(lines.len(), 21);
        assert_eq!(lines[20], "configuration file w.toml: and 5 more");
        let text = format!(
            "[processors]\n{}",
            (0..200).map(|key| format!("k{key} = 1\n")).collect::<String>()
        );
        let document = Document::parse(&text, "w.toml").unwrap();
        assert!(document.read::<File>(WITHOUT_EFFECT).is_err());
    }

    #[test]
    fn keys_without_effect_are_named_in_warnings() {
        assert_eq!(check("[limits]\npc1=1").unwrap(), ["w.toml: `limits.pc1` has no effect yet"]);
        assert!(check("[worker]\nrpc_server.port=1").unwrap()[0].contains("`worker.rpc_server`"));
    }

    #[test]
    fn broken_toml_says_where() {
        assert!(check("[worker\nname=1").unwrap_err().contains("line 1"));
        assert!(check("[worker]\nname=1").unwrap_err().contains("line 2"));
    }
}
