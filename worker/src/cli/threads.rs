//! Which threads of the worker a command is for.

use clap::Args;
use damocles_terminal::{
    CliError,
    confirm::ForceArgs,
    selectors::{SelectorArgs, usage},
    verbs::{OrderArgs, Threads},
};

/// Threads by their index, or by what else is so of them; and how careful to be with them.
#[derive(Args, Debug)]
pub struct ThreadsArgs {
    #[command(flatten)]
    pub selectors: SelectorArgs,
    /// Whether to ask first.
    #[command(flatten)]
    pub force: ForceArgs,
}

impl ThreadsArgs {
    /// The threads that are said.
    pub(super) fn some(&self, order: &OrderArgs) -> Result<Threads, CliError> {
        let nothing = "no thread is named: give its --index, or --all, --in-state, --plan, --status, --error, --sector";
        self.said(order)?.ok_or_else(|| usage(nothing))
    }

    /// The threads that are said, else all of them.
    pub(super) fn some_or_all(&self, order: &OrderArgs) -> Result<Threads, CliError> {
        Ok(self.said(order)?.unwrap_or_else(|| Threads::named(vec![])))
    }

    fn said(&self, order: &OrderArgs) -> Result<Option<Threads>, CliError> {
        let selector = self.selectors.selector(vec![])?;
        Ok(selector.map(|selector| Threads::selected(selector, self.force, order)))
    }
}
