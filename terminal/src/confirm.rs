//! Asking somebody at a terminal first, and what a script has to say instead.

use std::io::{self, IsTerminal};

use clap::Args;
use shared_msgs::{command::Outcome, plan::State};

use crate::{CliError, Exit, counted, is_yes, listed, printable, say};

/// Whether to ask.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ForceArgs {
    /// Do not ask first: needed to give sectors up where nobody sits at a terminal
    #[arg(short, long)]
    pub force: bool,
}

/// Whether somebody can be asked.
pub fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether a thread that goes on from there gives its sector up.
pub fn gives_up(state: &str) -> bool {
    [State::Aborted, State::Empty].iter().any(|end| end.name() == state)
}

/// The sector that a thread gives up with this outcome.
pub fn given_up<'a>(outcome: &Outcome, sector: Option<&'a str>) -> Option<&'a str> {
    match outcome {
        Outcome::Resumed { to, .. } if gives_up(to) => sector,
        _ => None,
    }
}

/// Whether to ask before threads go on from this state, because their sectors are lost by it. An
/// error where nobody can be asked.
pub fn is_needed_for(
    state: Option<&str>,
    force: ForceArgs,
    dry_run: bool,
) -> Result<bool, CliError> {
    let lossy = state.filter(|state| gives_up(state) && !force.force && !dry_run);
    match lossy {
        None => Ok(false),
        Some(_) if is_possible() => Ok(true),
        Some(state) => Err(CliError::new(
            Exit::Usage,
            format!(
                "resuming to {state} gives sectors up and removes their files, and nobody can be asked here"
            ),
        )
        .hint("--dry-run shows what would be lost; -f does it")),
    }
}

/// Asks; an error unless the answer is a clear yes.
pub async fn ask(question: &str) -> Result<(), CliError> {
    confirmed(is_yes(&answer(&format!("{question} [y/N] ")).await?))
}

/// Says what is lost, and asks; an error unless the answer is the number of these sectors.
pub async fn ask_giving_up(sectors: &[String]) -> Result<(), CliError> {
    let answer =
        answer(&format!("{}\nType the number of sectors to go on: ", loss(sectors))).await?;
    confirmed(answer.trim() == sectors.len().to_string())
}

fn loss(sectors: &[String]) -> String {
    let names = printable(&listed(sectors));
    match sectors {
        [_] => format!(
            "1 sector is given up: {names}. It is reported as aborted, and its files are removed."
        ),
        _ => format!(
            "{} are given up: {names}. They are reported as aborted, and their files are removed.",
            counted(sectors.len(), "sector")
        ),
    }
}

async fn answer(question: &str) -> Result<String, CliError> {
    say(question);
    // The connection has to be kept meanwhile.
    let answer = tokio::task::spawn_blocking(|| io::stdin().lines().next().transpose()).await;
    let answer = answer.map_err(|error| CliError::new(Exit::Failed, error))??;
    Ok(answer.unwrap_or_default())
}

fn confirmed(is_confirmed: bool) -> Result<(), CliError> {
    let refusal = || CliError::new(Exit::Failed, "not confirmed: nothing was done");
    is_confirmed.then_some(()).ok_or_else(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_said_by_number_and_name() {
        assert_eq!(
            loss(&["s-t01-1".into()]),
            "1 sector is given up: s-t01-1. It is reported as aborted, and its files are removed."
        );
        let many: Vec<_> = (0..25).map(|number| format!("s-t01-{number}")).collect();
        let said = loss(&many);
        assert!(said.starts_with("25 sectors are given up: s-t01-0, s-t01-1, "), "{said}");
        assert!(said.contains("s-t01-19 and 5 more. They are "), "{said}");
    }

    #[test]
    fn only_aborted_and_empty_give_a_sector_up() {
        let resumed = |to: &str| Outcome::Resumed { from: "C1Done".into(), to: to.into() };
        let sector = Some("s-t01-1");
        assert_eq!(given_up(&resumed("Aborted"), sector), sector);
        assert_eq!(given_up(&resumed("Empty"), sector), sector);
        assert_eq!(given_up(&resumed("Aborted"), None), None);
        assert_eq!(given_up(&resumed("TreeDBuilt"), sector), None);
        assert_eq!(given_up(&Outcome::PauseWithdrawn, sector), None);
    }

    // A test has no terminal, and what a script says does not depend on its input.
    #[test]
    fn where_nobody_can_be_asked_sectors_are_given_up_by_force_only() {
        let (asked, forced) = (ForceArgs { force: false }, ForceArgs { force: true });
        for state in ["Aborted", "Empty"] {
            if !is_possible() {
                let refused = is_needed_for(Some(state), asked, false).unwrap_err();
                assert!(refused.exit == Exit::Usage && refused.message.contains(state));
            }
            assert!(!is_needed_for(Some(state), forced, false).unwrap());
            assert!(!is_needed_for(Some(state), asked, true).unwrap());
        }
        for state in [None, Some("TreeDBuilt"), Some("aborted")] {
            assert!(!is_needed_for(state, asked, false).unwrap());
        }
    }
}
