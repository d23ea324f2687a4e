//! Which threads a command is for. The same text selects at the tool, which lists what it would
//! hit, and in the worker, where each thread asks again at the moment it acts.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::{
    keys,
    plan::{Plan, State},
    snapshot::{ThreadSnapshot, ThreadStatus},
};

// They come from the bus.
const MAX_ITEMS: usize = 256;
const MAX_ITEM_BYTES: usize = 1024;
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// The names that [`Selector::status`] knows, see [`ThreadStatus::name`].
pub const STATUSES: &[&str] = match <ThreadStatus as strum::VariantNames>::VARIANTS {
    [known @ .., _other] => known,
    [] => &[],
};

/// The threads for which every given part holds; of a part with several values one has to.
/// Something must be given: all threads of all workers are `all`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selector {
    /// Selects every thread, so that no other part is needed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Globs (`*`, `?`, `[a-z]`, `{a,b}`) over the worker's name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub worker: Vec<String>,
    /// Positions of threads in their worker's configuration, from 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub index: Vec<u32>,
    /// Names of states that the thread is in one of, e.g. `C1Done`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<String>,
    /// Names of plans that the thread has one of, e.g. `sealer`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,
    /// What the thread does now, each one of [`STATUSES`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<String>,
    /// A regular expression found in `last_err`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The sectors in hand, e.g. `s-t010000-2`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sector: Vec<String>,
}

/// A selector that is known to make sense.
#[derive(Clone, Debug)]
pub struct Selection {
    selector: Selector,
    workers: Option<GlobSet>,
    error: Option<Regex>,
}

/// Why a selector makes no sense.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SelectorError {
    /// It would select nothing or everything.
    #[error("the selector names no thread: give one of its parts, or all")]
    NamesNothing,
    /// One of its parts is too long a list.
    #[error("the selector has more than {} values in one of its parts", MAX_ITEMS)]
    TooManyValues,
    /// One of its values is too long.
    #[error("the selector has a value of more than {} bytes", MAX_ITEM_BYTES)]
    LongValue,
    /// There is no such state, plan or status.
    #[error("{given:?} is no {what}; {}", keys::instead(given, names))]
    Unknown {
        /// Which part of it: `state`, `plan` or `status`.
        what: &'static str,
        /// What was given.
        given: String,
        /// Those that there are.
        names: Vec<&'static str>,
    },
    /// A worker's glob is none.
    #[error("worker: {0}")]
    Glob(#[from] globset::Error),
    /// The error's regular expression is none, or too large.
    #[error("error is no regular expression: {0}")]
    Regex(#[from] regex::Error),
}

impl Selector {
    /// Checks it. The error says which part is wrong.
    pub fn compile(&self) -> Result<Selection, SelectorError> {
        let Selector { all, worker, index, state, plan, status, error, sector } = self;
        let texts = [worker, state, plan, status, sector];
        let given =
            texts.iter().any(|texts| !texts.is_empty()) || !index.is_empty() || error.is_some();
        if !all && !given {
            return Err(SelectorError::NamesNothing);
        }
        if texts.iter().map(|texts| texts.len()).chain([index.len()]).any(|items| items > MAX_ITEMS)
        {
            return Err(SelectorError::TooManyValues);
        }
        if texts.iter().copied().flatten().chain(error).any(|text| text.len() > MAX_ITEM_BYTES) {
            return Err(SelectorError::LongValue);
        }
        check("state", state, State::ALL.iter().map(|state| state.name()))?;
        check("plan", plan, Plan::ALL.iter().map(|plan| plan.name()))?;
        check("status", status, STATUSES.iter().copied())?;
        let workers = (!worker.is_empty()).then(|| globs(worker)).transpose()?;
        let error = error.as_deref().map(regex).transpose()?;
        Ok(Selection { selector: self.clone(), workers, error })
    }
}

// Every one that is wanted is known.
fn check(
    what: &'static str,
    wanted: &[String],
    known: impl Iterator<Item = &'static str>,
) -> Result<(), SelectorError> {
    let names: Vec<_> = known.collect();
    match wanted.iter().find(|wanted| !names.contains(&wanted.as_str())) {
        None => Ok(()),
        Some(given) => Err(SelectorError::Unknown { what, given: given.clone(), names }),
    }
}

fn globs(texts: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        // A name is no path.
        let glob = GlobBuilder::new(text).literal_separator(false).build();
        set.add(glob?);
    }
    set.build()
}

fn regex(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text)
        .size_limit(MAX_COMPILED_BYTES)
        .dfa_size_limit(MAX_COMPILED_BYTES)
        .build()
}

impl Selection {
    /// Whether threads of this worker can be meant.
    pub fn fits_worker(&self, name: &str) -> bool {
        self.workers.as_ref().is_none_or(|workers| workers.is_match(name))
    }

    /// Whether this thread, of a worker that fits, is meant.
    pub fn fits(&self, thread: &ThreadSnapshot) -> bool {
        let Selector { index, state, plan, status, sector, .. } = &self.selector;
        let one_of = |wanted: &[String], value: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted == value)
        };
        (index.is_empty() || index.contains(&thread.index))
            && one_of(state, &thread.state)
            && one_of(plan, &thread.plan)
            && one_of(status, thread.status.name())
            && (sector.is_empty()
                || thread.sector_id.as_ref().is_some_and(|id| sector.contains(id)))
            && self.error.as_ref().is_none_or(|error| {
                thread.last_err.as_deref().is_some_and(|text| error.is_match(text))
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn thread() -> ThreadSnapshot {
        serde_json::from_value(json!({
            "index": 1, "plan": "sealer", "sector_id": "s-t010000-2", "state": "C1Done", "status": {"kind": "paused", "by": "error"},
            "last_err": "permanent: No cached parameters found for stacked",
        }))
        .unwrap()
    }

    fn fits(selector: serde_json::Value) -> bool {
        let selection = serde_json::from_value::<Selector>(selector).unwrap().compile().unwrap();
        selection.fits_worker("rack1/w-7") && selection.fits(&thread())
    }

    #[test]
    fn every_part_has_to_hold_and_of_several_values_one() {
        for selector in [
            json!({"all": true}),
            json!({"worker": ["rack1*"]}),
            json!({"worker": ["x", "*w-[0-9]"]}),
            json!({"index": [0, 1]}),
            json!({"state": ["C1Done", "PC1Done"], "plan": ["sealer"], "status": ["paused"]}),
            json!({"error": "No cached .* found"}),
            json!({"sector": ["s-t010000-2"], "error": "^permanent"}),
        ] {
            assert!(fits(selector.clone()), "{selector}");
        }
        for selector in [
            json!({"worker": ["rack2*"]}),
            json!({"worker": ["rack1"]}),
            json!({"all": true, "index": [0]}),
            json!({"index": [1], "state": ["PC1Done"]}),
            json!({"plan": ["snapup"]}),
            json!({"status": ["running", "waiting"]}),
            json!({"error": "disk"}),
            json!({"sector": ["s-t010000-20"]}),
        ] {
            assert!(!fits(selector.clone()), "{selector}");
        }
    }

    #[test]
    fn a_thread_without_error_or_sector_fits_no_wish_for_one() {
        let empty = ThreadSnapshot { sector_id: None, last_err: None, ..thread() };
        let selection = |selector: Selector| selector.compile().unwrap();
        assert!(
            !selection(Selector { error: Some(".*".into()), ..Selector::default() }).fits(&empty)
        );
        assert!(
            !selection(Selector { sector: vec!["".into()], ..Selector::default() }).fits(&empty)
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_named() {
        for (selector, named) in [
            (json!({}), "all"),
            (json!({"all": false}), "all"),
            (json!({"status": ["asleep"]}), "pause_pending"),
            (json!({"status": ["puased"]}), "did you mean paused?"),
            (json!({"state": ["c1done"]}), "did you mean C1Done?"),
            (json!({"plan": ["sealor"]}), "did you mean sealer?"),
            (json!({"error": "("}), "error"),
            (json!({"error": "(a{1000}){1000}"}), "error"),
            (json!({"worker": ["[a"]}), "worker"),
            (json!({"worker": ["x".repeat(2000)]}), "1024"),
            (json!({"index": (0..300).collect::<Vec<u32>>()}), "256"),
        ] {
            let refused = serde_json::from_value::<Selector>(selector.clone())
                .unwrap()
                .compile()
                .unwrap_err();
            assert!(refused.to_string().contains(named), "{selector}: {refused}");
        }
    }
}
