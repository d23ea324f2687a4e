//! Which threads a command is for, as it is typed: in both tools the selectors have the same names
//! and mean the same.

use clap::Args;
use shared_msgs::{
    keys,
    plan::{Plan, State},
    sector_manager::SectorId,
    selector::{STATUSES, Selector},
};

use crate::{
    CliError, Exit,
    indexes::{self, Indexes},
};

/// The heading of what selects threads.
pub const HEADING: &str = "Which threads";

/// The clap group of all selectors.
pub const GROUP: &str = "selector";

/// Threads that fit: each given part has to hold, and of a part with several values one.
#[derive(Args, Clone, Debug, Default)]
#[group(id = GROUP, multiple = true)]
pub struct SelectorArgs {
    /// Threads of these indexes, e.g. 0,2-4
    #[arg(id = "any_index", short = 'i', long = "index", value_name = "N", help_heading = HEADING)]
    pub index: Vec<Indexes>,
    /// All threads
    #[arg(long, help_heading = HEADING)]
    pub all: bool,
    /// Threads in this state
    #[arg(id = "in_state", long = "in-state", value_name = "STATE", value_parser = state, help_heading = HEADING)]
    pub state: Vec<State>,
    /// Threads of this plan
    #[arg(id = "of_plan", long = "plan", value_name = "PLAN", help_heading = HEADING)]
    pub plan: Vec<Plan>,
    /// Threads of this status: idle, running, waiting, pause_pending or paused
    #[arg(id = "of_status", long = "status", value_name = "STATUS", value_parser = status, help_heading = HEADING)]
    pub status: Vec<String>,
    /// Threads whose last error has a match of this regular expression
    #[arg(id = "with_error", long = "error", value_name = "REGEX", help_heading = HEADING)]
    pub error: Option<String>,
    /// Threads with this sector in hand, e.g. s-t010000-2
    #[arg(id = "with_sector", long = "sector", value_name = "ID", help_heading = HEADING)]
    pub sector: Vec<SectorId>,
}

impl SelectorArgs {
    /// The selector of threads of the workers with these names, or of any; `None` if nothing is
    /// selected.
    pub fn selector(&self, worker: Vec<String>) -> Result<Option<Selector>, CliError> {
        let SelectorArgs { all, index, state, plan, status, error, sector } = self.clone();
        for state in &state {
            self.check_state("--in-state", *state)?;
        }
        let state = state.into_iter().map(|state| state.name().to_owned()).collect();
        let sector = sector.iter().map(SectorId::to_string).collect();
        let plan = plan.into_iter().map(|plan| plan.name().to_owned()).collect();
        let index = indexes::all(&index);
        let selector = Selector { all, worker, index, state, plan, status, error, sector };
        if selector == Selector::default() {
            return Ok(None);
        }
        selector.compile().map_err(usage)?;
        Ok(Some(selector))
    }

    /// Whether one of the plans that are selected has such a state.
    pub fn check_state(&self, option: &str, state: State) -> Result<(), CliError> {
        let plans = if self.plan.is_empty() { Plan::ALL } else { &self.plan };
        let states = plans.iter().flat_map(|plan| plan.rows().iter().map(|row| row.state));
        named(state.name(), states)
            .map(drop)
            .map_err(|error| usage(format!("{option}: {error} in the selected plans")))
    }
}

/// The state of some plan, as it is typed.
pub fn state(text: &str) -> Result<State, String> {
    named(text, State::ALL.iter().copied())
}

fn status(text: &str) -> Result<String, String> {
    let is_one = STATUSES.contains(&text);
    let otherwise = || format!("{text:?} is no status; {}", keys::instead(text, STATUSES));
    is_one.then(|| text.to_owned()).ok_or_else(otherwise)
}

fn named(text: &str, states: impl Iterator<Item = State> + Clone) -> Result<State, String> {
    states.clone().find(|state| state.name() == text).ok_or_else(|| {
        let names: Vec<_> = states.map(State::name).collect();
        format!("{text:?} is no state; {}", keys::instead(text, &names))
    })
}

/// A command that was called wrongly.
pub fn usage(text: impl ToString) -> CliError {
    CliError::new(Exit::Usage, text).hint("see --help")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        selectors: SelectorArgs,
    }

    fn parsed(line: &str) -> Result<SelectorArgs, clap::Error> {
        let line = std::iter::once("x").chain(line.split_whitespace());
        Line::try_parse_from(line).map(|line| line.selectors)
    }

    fn selector(line: &str) -> Result<Option<Selector>, CliError> {
        parsed(line).unwrap_or_else(|error| panic!("{line}: {error}")).selector(vec![])
    }

    #[test]
    fn each_selector_may_be_given_several_times() {
        let both = selector(
            "--index 0 -i 2-4,7 --in-state C1Done --in-state PC1Done --plan sealer --status paused --sector s-t01-1",
        );
        let expected = Selector {
            index: vec![0, 2, 3, 4, 7],
            state: vec!["C1Done".into(), "PC1Done".into()],
            plan: vec!["sealer".into()],
            status: vec!["paused".into()],
            sector: vec!["s-t01-1".into()],
            ..Selector::default()
        };
        assert_eq!(both.unwrap(), Some(expected));
        assert_eq!(selector("").unwrap(), None);
        assert!(selector("--all").unwrap().unwrap().all);
    }

    #[test]
    fn what_does_not_exist_is_a_usage_error_that_says_what_does() {
        for (line, named) in [
            ("--in-state C1Dnoe", "did you mean C1Done?"),
            ("--in-state pc1done", "did you mean PC1Done?"),
            ("--in-state x", "SnapPieceAdded"),
            ("--plan seal", "did you mean sealer?"),
            ("--status puased", "did you mean paused?"),
            ("--sector banana", "s-t010000-2"),
        ] {
            let error = parsed(line).map(|_| ()).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(named), "{line}: {error}");
        }
        for (line, named) in
            [("--error (", "error"), ("--plan wdpost --in-state C1Done", "Generated")]
        {
            let error = selector(line).unwrap_err();
            assert!(error.exit == Exit::Usage && error.message.contains(named), "{line}: {error}");
        }
    }
}
