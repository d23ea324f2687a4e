//! A value that stands apart from the option that it belongs to.

use std::ffi::OsString;

use clap::{Arg, Command};

/// What is wrong, where a value stands apart from an option that may be without one. Such an option
/// has it behind `=` only, and this would be taken for the next argument: a state, a thread.
pub(crate) fn value_apart(command: &Command, words: &[OsString]) -> Option<String> {
    let words: Vec<&str> = words.iter().map_while(|word| word.to_str()).collect();
    let options = words.split(|word| *word == "--").next().unwrap_or_default();
    options.windows(2).find_map(|pair| {
        let [option, value] = [pair[0], pair[1]];
        // A number alone is a thread.
        let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
        let meant = !is_number && takes_it(command, option.strip_prefix("--")?, value);
        meant.then(|| format!("the value of {option} goes behind `=`: write {option}={value}"))
    })
}

fn takes_it(command: &Command, name: &str, value: &str) -> bool {
    let is_optional = |option: &&Arg| {
        option.get_long() == Some(name)
            && option.is_require_equals_set()
            && option.get_num_args().is_some_and(|values| values.min_values() == 0)
    };
    command.get_arguments().filter(is_optional).any(|option| reads(option, value))
        || command.get_subcommands().any(|command| takes_it(command, name, value))
}

fn reads(option: &Arg, value: &str) -> bool {
    let value_alone = Arg::new("value").value_parser(option.get_value_parser().clone());
    let command = Command::new("").no_binary_name(true).arg(value_alone);
    command.try_get_matches_from([value]).is_ok()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser, Subcommand};

    use super::*;
    use crate::verbs::{OrderArgs, WaitArgs};

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        _verb: Verb,
    }

    #[derive(Subcommand)]
    enum Verb {
        Resume {
            index: u32,
            state: Option<String>,
            #[command(flatten)]
            wait: WaitArgs,
            #[command(flatten)]
            order: OrderArgs,
        },
    }

    fn said(line: &str) -> Option<String> {
        let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        value_apart(&Line::command(), &words)
    }

    #[test]
    fn a_value_that_stands_apart_is_told_where_it_goes() {
        for line in ["x resume 0 --wait 2h", "x resume --wait 2h 0", "x resume 0 --wait 2h C1Done"]
        {
            let said = said(line).unwrap_or_else(|| panic!("{line}"));
            assert!(said.ends_with("write --wait=2h"), "{said}");
        }
        for line in [
            "x resume 0 --wait=2h",
            "x resume 0 --wait C1Done",
            "x resume --wait 0 C1Done",
            "x resume 0 --wait",
            "x resume 0 --reason 2h",
            "x resume 0 -- --wait 2h",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
    }
}
