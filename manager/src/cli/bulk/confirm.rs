//! Asking before a command for many threads, where somebody sits at a terminal.

use std::io;

use damocles_terminal::{CliError, Exit, counted, is_yes, printable, say};
use shared_msgs::command::Verb;

use super::report::{Report, Summary};

/// Whether to ask. A script is not asked: it has nobody to answer.
pub(super) fn is_wanted(
    force: bool,
    dry_run: bool,
    stdin_is_terminal: bool,
    stderr_is_terminal: bool,
) -> bool {
    !force && !dry_run && stdin_is_terminal && stderr_is_terminal
}

/// Shows what would be done, and asks. Only a clear yes is one.
pub(super) async fn ask(preview: &Report) -> Result<bool, CliError> {
    let question = question(preview.verb, &preview.summary);
    say(&format!("{}{}\n{question} [y/N] ", preview.table(), printable(&preview.said())));
    // The connection has to be kept meanwhile.
    let answer = tokio::task::spawn_blocking(|| io::stdin().lines().next().transpose()).await;
    let answer = answer.map_err(|error| CliError::new(Exit::Failed, error))??;
    Ok(answer.is_some_and(|answer| is_yes(&answer)))
}

fn question(verb: Verb, summary: &Summary) -> String {
    let (first, rest) = verb.name().split_at(1);
    format!(
        "{}{rest} {} on {}?",
        first.to_uppercase(),
        counted(summary.changed(), "thread"),
        counted(summary.changing_workers, "worker")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_somebody_at_a_terminal_is_asked_and_nobody_who_forces_it() {
        assert!(is_wanted(false, false, true, true));
        for (force, dry_run, stdin, stderr) in [
            (true, false, true, true),
            (false, true, true, true),
            (false, false, false, true),
            (false, false, true, false),
        ] {
            assert!(!is_wanted(force, dry_run, stdin, stderr));
        }
    }

    #[test]
    fn the_question_names_what_would_change() {
        let summary = Summary {
            changed: [("resumed", 12)].into(),
            unchanged: 3,
            workers: 5,
            changing_workers: 3,
            ..Summary::default()
        };
        assert_eq!(question(Verb::Resume, &summary), "Resume 12 threads on 3 workers?");
    }
}
