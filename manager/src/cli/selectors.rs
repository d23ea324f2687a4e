//! Which threads a command is for: one, named by its worker and index, or all that selectors
//! select.

use clap::Args;
use damocles_terminal::{
    CliError, Exit,
    confirm::ForceArgs,
    indexes::{self, Indexes},
    table::LookArgs,
};
use shared_msgs::{
    keys,
    plan::{Plan, State},
    sector_manager::SectorId,
    selector::{STATUSES, Selector},
};

/// The heading of what is about many threads.
pub(super) const MANY: &str = "Many threads";

/// One thread. Nothing else than selectors stands in for it.
#[derive(Args, Clone, Debug)]
pub struct ThreadArgs {
    /// The worker's name or Dest, as `list` shows them
    #[arg(
        value_name = "WORKER",
        required_unless_present = "selector",
        conflicts_with = "selector",
        requires = "thread"
    )]
    pub worker: Option<String>,
    /// The thread's index, as `info` shows it, or several: 0,2-4
    #[arg(id = "thread", value_name = "INDEX")]
    pub index: Option<Indexes>,
}

/// Threads of one worker. Nothing else than selectors stands in for them.
#[derive(Args, Clone, Debug)]
pub struct ThreadsArgs {
    /// The worker's name or Dest, as `list` shows them
    #[arg(
        value_name = "WORKER",
        required_unless_present = "selector",
        conflicts_with = "selector"
    )]
    pub worker: Option<String>,
    /// Threads' indexes, as `info` shows them, e.g. 0,2-4 [default: all threads of the worker]
    #[arg(id = "threads", value_name = "INDEX")]
    pub indexes: Vec<Indexes>,
}

/// Threads of any number of workers: each given part has to hold, and of a part with several values
/// one.
#[derive(Args, Clone, Debug, Default)]
#[group(id = "selector", multiple = true)]
pub struct SelectorArgs {
    /// All threads of all workers
    #[arg(long, help_heading = MANY)]
    pub all: bool,
    /// Threads of workers whose name matches: * ? [a-z] {a,b}
    #[arg(id = "glob", short = 'w', long = "worker", value_name = "GLOB", help_heading = MANY)]
    pub worker: Vec<String>,
    /// Threads of these indexes, e.g. 0,2-4
    #[arg(id = "any_index", short = 'i', long = "index", value_name = "N", help_heading = MANY)]
    pub index: Vec<Indexes>,
    /// Threads in this state
    #[arg(id = "in_state", long = "in-state", value_name = "STATE", value_parser = state, help_heading = MANY)]
    pub state: Vec<State>,
    /// Threads of this plan
    #[arg(id = "of_plan", long = "plan", value_name = "PLAN", help_heading = MANY)]
    pub plan: Vec<Plan>,
    /// Threads of this status: idle, running, waiting, pause_pending or paused
    #[arg(id = "of_status", long = "status", value_name = "STATUS", value_parser = status, help_heading = MANY)]
    pub status: Vec<String>,
    /// Threads whose last error has a match of this regular expression
    #[arg(id = "with_error", long = "error", value_name = "REGEX", help_heading = MANY)]
    pub error: Option<String>,
    /// Threads with this sector in hand, e.g. s-t010000-2
    #[arg(id = "with_sector", long = "sector", value_name = "ID", help_heading = MANY)]
    pub sector: Vec<SectorId>,
}

/// Many threads, and how careful to be with them.
#[derive(Args, Clone, Debug, Default)]
pub struct ManyArgs {
    #[command(flatten)]
    pub selectors: SelectorArgs,
    #[command(flatten)]
    pub force: ForceArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

/// The state of some plan, as it is typed.
pub(super) fn state(text: &str) -> Result<State, String> {
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

impl ThreadArgs {
    /// The worker and the indexes. They are there where no selector is.
    pub fn thread(&self) -> Result<(String, Vec<u32>), CliError> {
        let indexes = self.index.as_ref().map(|list| indexes::all(std::slice::from_ref(list)));
        self.worker.clone().zip(indexes).ok_or_else(nothing_named)
    }
}

impl ThreadsArgs {
    /// The worker. It is there where no selector is.
    pub fn worker(&self) -> Result<String, CliError> {
        self.worker.clone().ok_or_else(nothing_named)
    }
}

fn nothing_named() -> CliError {
    usage("neither a worker nor a selector is given")
}

impl SelectorArgs {
    /// The selector, if there is one.
    pub fn selector(&self) -> Result<Option<Selector>, CliError> {
        let SelectorArgs { all, worker, index, state, plan, status, error, sector } = self.clone();
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

/// A command that was called wrongly.
pub(super) fn usage(text: impl ToString) -> CliError {
    CliError::new(Exit::Usage, text).hint("see --help")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        one: ThreadArgs,
        #[command(flatten)]
        many: ManyArgs,
    }

    fn parsed(line: &str) -> Result<Line, clap::Error> {
        Line::try_parse_from(std::iter::once("x").chain(line.split_whitespace()))
    }

    fn selector(line: &str) -> Result<Option<Selector>, CliError> {
        parsed(line).unwrap_or_else(|error| panic!("{line}: {error}")).many.selectors.selector()
    }

    #[test]
    fn a_thread_or_selectors_and_never_both() {
        assert_eq!(selector("w1 0").unwrap(), None);
        assert!(selector("--all").unwrap().unwrap().all);
        for line in [
            "",
            "w1",
            "w1 0 --all",
            "w1 --in-state C1Done",
            "-f",
            "w1 -1",
            "w1 0-",
            "--all --index 4-2",
        ] {
            assert_eq!(parsed(line).map(|_| ()).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn each_selector_may_be_given_several_times() {
        let both = selector(
            "-w a* --worker b --index 0 -i 2-4,7 --in-state C1Done --in-state PC1Done --plan sealer --status paused --sector s-t01-1",
        );
        let expected = Selector {
            worker: vec!["a*".into(), "b".into()],
            index: vec![0, 2, 3, 4, 7],
            state: vec!["C1Done".into(), "PC1Done".into()],
            plan: vec!["sealer".into()],
            status: vec!["paused".into()],
            sector: vec!["s-t01-1".into()],
            ..Selector::default()
        };
        assert_eq!(both.unwrap(), Some(expected));
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
        for (line, named) in [
            ("--error (", "error"),
            ("-w [a", "worker"),
            ("--plan wdpost --in-state C1Done", "Generated"),
        ] {
            let error = selector(line).unwrap_err();
            assert!(error.exit == Exit::Usage && error.message.contains(named), "{line}: {error}");
        }
    }
}
