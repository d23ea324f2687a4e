//! The command line, with the environment behind it.

use std::env;

use clap::{Command, Parser};

/// Reads the command line and the variables of its options, of which an empty one counts as unset.
/// Ends the process where they are wrong, or ask for help.
pub fn parse<C: Parser>() -> C {
    let mut command = without_empty_variables(C::command());
    let mut matches = command.get_matches_mut();
    C::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(env::var_os);
        if value.is_some_and(|value| value.is_empty()) { arg.env(None) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}
