//! Which threads a command is for: one, named by its worker and index, or all that selectors
//! select.

use clap::Args;
use damocles_terminal::{
    CliError,
    confirm::ForceArgs,
    indexes::{self, Indexes},
    selectors::{GROUP, HEADING, SelectorArgs, usage},
    table::LookArgs,
    verbs::Threads,
};
use shared_msgs::selector::Selector;

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
pub struct FleetArgs {
    /// Threads of workers whose name matches: * ? [a-z] {a,b}
    #[arg(id = "glob", short = 'w', long = "worker", value_name = "GLOB", group = GROUP, help_heading = HEADING)]
    pub worker: Vec<String>,
    #[command(flatten)]
    pub threads: SelectorArgs,
}

/// Many threads, and how careful to be with them.
#[derive(Args, Clone, Debug, Default)]
pub struct ManyArgs {
    #[command(flatten)]
    pub fleet: FleetArgs,
    #[command(flatten)]
    pub force: ForceArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

impl ThreadArgs {
    /// The worker and the threads. They are there where no selector is.
    pub fn threads(&self) -> Result<(String, Threads), CliError> {
        let indexes = self.index.as_ref().map(|list| indexes::all(std::slice::from_ref(list)));
        self.worker.clone().zip(indexes.map(Threads::named)).ok_or_else(nothing_named)
    }
}

impl ThreadsArgs {
    /// The worker and the threads. It is there where no selector is.
    pub fn threads(&self) -> Result<(String, Threads), CliError> {
        let worker = self.worker.clone().ok_or_else(nothing_named)?;
        Ok((worker, Threads::named(indexes::all(&self.indexes))))
    }
}

fn nothing_named() -> CliError {
    usage("neither a worker nor a selector is given")
}

impl FleetArgs {
    /// The selector, if there is one.
    pub fn selector(&self) -> Result<Option<Selector>, CliError> {
        self.threads.selector(self.worker.clone())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use damocles_terminal::Exit;

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
        parsed(line).unwrap_or_else(|error| panic!("{line}: {error}")).many.fleet.selector()
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
            "w1 0 -w w2",
            "-f",
            "w1 -1",
            "w1 0-",
            "--all --index 4-2",
        ] {
            assert_eq!(parsed(line).map(|_| ()).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_workers_names_are_one_more_part() {
        let both = selector("-w a* --worker b --index 0 --all").unwrap().unwrap();
        assert_eq!(
            (both.worker, both.index, both.all),
            (vec!["a*".into(), "b".into()], vec![0], true)
        );
        assert_eq!(selector("-w a").unwrap().unwrap().worker, ["a"]);
        let error = selector("-w [a").unwrap_err();
        assert!(error.exit == Exit::Usage && error.message.contains("worker"), "{error}");
    }
}
