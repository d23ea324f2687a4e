//! A tool's command line, with the environment behind it. The help of a command has its own options
//! and examples; what all commands have in common stands in topics of `help`.

use std::{env, ffi::OsString, process::ExitCode};

use clap::{Arg, Args, Command, CommandFactory, FromArgMatches, error::ErrorKind};
use damocles_client::connect::NatsOptions;
use shared_msgs::plan::{Plan, Row, State};

use crate::{given::Given, logging::LogArgs, say, value_apart::value_apart};

/// What a value of that name is, for every option that takes one.
const VALUES: [(&str, &str); 2] =
    [("DURATION", "a duration: 90s, 15m, 8h, 2d"), ("STATE", "a state: `help states` lists them")];
/// The headings of options that every command has, and the topics that tell them.
const SHARED: [(&str, &str); 2] = [("NATS", "nats"), ("Log", "log")];

/// What is said of a tool beside its commands.
#[derive(Clone, Copy, Debug)]
pub struct Tool<'a> {
    /// The features that it was built with, for `--version`.
    pub features: &'a [&'a str],
    /// The commands that never reach NATS.
    pub local: &'a [&'a str],
    /// The commands in which `-s` is another option than `--server`, and which.
    pub short_s: &'a [(&'a [&'a str], &'a str)],
}

impl Tool<'_> {
    /// Reads the process's command line, and the variables of its options, of which an empty one
    /// counts as unset; tells with it what was given of those that reach NATS. What is called
    /// wrongly, and help that was asked for, is said; then the process's exit code is returned.
    pub fn parse<C: CommandFactory + FromArgMatches>(self) -> Result<(C, Vec<Given>), ExitCode> {
        let mut command = without_empty_variables(self.arranged(C::command()));
        let words = self.spelt_out(env::args_os().collect());
        let matches = match value_apart(&command, &words) {
            Some(wrong) => Err(command.error(ErrorKind::NoEquals, wrong)),
            None => command.try_get_matches_from_mut(words),
        };
        let read = matches.and_then(|mut matches| {
            let given = Given::of(&matches);
            Ok((C::from_arg_matches_mut(&mut matches)?, given))
        });
        read.map_err(|error| error.format(&mut command)).map_err(|error| {
            // A wrong argument may be a text of others: it gets no colours with the error.
            if error.use_stderr() {
                say(&error.render().to_string());
            } else {
                // Nobody is left to tell when stdout is gone.
                let _ = error.print();
            }
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        })
    }

    // With `-s` as the option that it is in the command that is given.
    fn spelt_out(self, mut words: Vec<OsString>) -> Vec<OsString> {
        for (command, option) in self.short_s {
            // Behind the last word of the command, if all of them are there in their order.
            let behind = command.iter().try_fold(0, |from, name| {
                let found = words[from..].iter().position(|word| word == name)?;
                Some(from + found + 1)
            });
            let Some(behind) = behind else { continue };
            for word in words[behind..].iter_mut().take_while(|word| *word != "--") {
                if let Some(value) = word.to_str().and_then(|word| word.strip_prefix("-s")) {
                    let value = value.strip_prefix('=').unwrap_or(value);
                    let stands_apart = value.is_empty();
                    *word = if stands_apart {
                        (*option).into()
                    } else {
                        format!("{option}={value}").into()
                    };
                }
            }
        }
        words
    }

    /// The command line with all that its help says.
    pub fn arranged(self, command: Command) -> Command {
        let name = command.get_name().to_owned();
        let hidden = command.mut_args(|arg| {
            let heading = arg.get_help_heading();
            let is_shared = SHARED.iter().any(|(shared, _)| heading == Some(shared));
            if is_shared { arg.hide(true) } else { arg }
        });
        self.told(hidden, &name, true)
            .long_version(self.version())
            .subcommand(topic("nats", nats_options(&name)))
            .subcommand(topic("log", log_options(&name)))
            .subcommand(topic("states", states()))
    }

    // The commit, its day, and the features; `-V` says the version alone.
    fn version(self) -> String {
        let features = match self.features {
            [] => "none".to_owned(),
            features => features.join(" "),
        };
        let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("DAMOCLES_COMMIT"));
        let date = env!("DAMOCLES_DATE");
        format!("{version}\ncommit:   {commit}\ndate:     {date}\nfeatures: {features}")
    }

    fn told(self, command: Command, tool: &str, reaches_nats: bool) -> Command {
        let reaches_nats = reaches_nats && !self.local.contains(&command.get_name());
        let shared = SHARED.iter().filter(|(heading, _)| reaches_nats || *heading != "NATS");
        let lines: Vec<_> = shared
            .map(|(heading, topic)| format!("{heading} options: {tool} help {topic}"))
            .collect();
        let help = command.get_after_help().map(|help| paragraphs(&help.to_string()));
        let help: Vec<_> = help.into_iter().chain([lines.join("\n")]).collect();
        let command = command.mut_args(explained).after_help(help.join("\n\n"));
        command.mut_subcommands(|command| self.told(command, tool, reaches_nats))
    }
}

// The lines of a paragraph made one, for the terminal's width to break anew. Examples, which are
// indented, stay as they are.
fn paragraphs(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match lines.last_mut() {
            Some(last)
                if !last.is_empty()
                    && !last.ends_with(':')
                    && !is_apart(last)
                    && !is_apart(line) =>
            {
                *last += " ";
                *last += line;
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

fn is_apart(line: &str) -> bool {
    line.is_empty() || line.starts_with(' ')
}

fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(env::var_os);
        if value.is_some_and(|value| value.is_empty()) { arg.env(None) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}

// A topic of `help`. As a command of its own it would have nothing to do.
fn topic(name: &'static str, text: String) -> Command {
    Command::new(name).hide(true).arg_required_else_help(true).override_help(text)
}

fn explained(arg: Arg) -> Arg {
    let names = arg.get_value_names().unwrap_or_default();
    let what = VALUES.iter().find(|(name, _)| names.iter().any(|value| value.as_str() == *name));
    match (what, arg.get_help()) {
        (Some((_, what)), Some(help)) => {
            let help = format!("{help} ({what})");
            arg.help(help)
        }
        _ => arg,
    }
}

fn nats_options(tool: &str) -> String {
    let about = "How to reach NATS: options of every command. An option wins over its variable, \
                 a variable over the section [nats] of the configuration file.";
    let examples = format!(
        "Examples:\n  {tool} … -s nats://10.0.0.5:4222,nats://10.0.0.6:4222\n  \
         export NATS_URL=tls://nats.example.com NATS_CREDS=~/ops.creds"
    );
    options::<NatsOptions>(about, &examples)
}

fn log_options(tool: &str) -> String {
    let about = "What is logged, on stderr: options of every command.";
    options::<LogArgs>(about, &format!("Example:\n  RUST_LOG=debug {tool} … --log-format json"))
}

fn options<A: Args>(about: &'static str, examples: &str) -> String {
    let options = A::augment_args(Command::new("options").disable_help_flag(true));
    let options = options.about(about).after_help(examples.to_owned());
    let template = "{about}\n\n{all-args}{after-help}";
    options.help_template(template).mut_args(explained).render_help().to_string()
}

// The states of each plan in the order in which a sector goes through them.
fn states() -> String {
    let mut text =
        String::from("The states of a sector, by plan, and what a thread does in them:\n");
    for plan in Plan::ALL {
        text += &format!("\n{plan}\n");
        for Row { state, stage, .. } in plan.rows() {
            let does = match (state, stage) {
                (_, Some(stage)) => stage.name(),
                (State::Empty, None) => "asks for a job",
                (_, None) => "reports the end, and becomes empty",
            };
            text += &format!("  {:<22}{does}\n", state.name());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::{Parser, Subcommand};

    use super::*;

    #[derive(Parser, Debug)]
    #[command(name = "tool", version)]
    struct Cli {
        #[command(flatten)]
        nats: NatsOptions,
        #[command(flatten)]
        log: LogArgs,
        #[command(subcommand)]
        command: Verb,
    }

    #[derive(Subcommand, Debug)]
    enum Verb {
        /// Waits
        #[command(after_help = "Example:\n  tool wait 5s")]
        Wait {
            /// How long
            #[arg(long, value_name = "DURATION")]
            time: Option<String>,
        },
        /// Reads a file
        Read,
    }

    fn said(words: &[&str]) -> String {
        let tool = Tool { features: &["a", "b"], local: &["read"], short_s: &[] };
        let words = std::iter::once("tool").chain(words.iter().copied());
        let ended = tool.arranged(Cli::command()).try_get_matches_from(words);
        ended.unwrap_err().render().to_string()
    }

    #[test]
    fn the_options_of_nats_are_a_line_of_a_commands_help_and_a_topic() {
        let help = said(&["wait", "--help"]);
        assert!(help.contains("How long (a duration: 90s, 15m, 8h, 2d)"), "{help}");
        let shared = "\n\nNATS options: tool help nats\nLog options: tool help log\n";
        assert!(help.ends_with(&format!("  tool wait 5s{shared}")), "{help}");
        assert!(!help.contains("--server") && !help.contains("--log-format"), "{help}");
        let local = said(&["read", "--help"]);
        assert!(!local.contains("NATS") && local.contains("help log"), "{local}");
        let topic = said(&["help", "nats"]);
        assert!(topic.contains("--server <URL>") && topic.contains("NATS_URL"), "{topic}");
        assert_eq!(said(&["nats"]), topic);
        assert!(said(&["help", "log"]).contains("RUST_LOG"));
        assert!(!said(&["--help"]).contains("states"));
    }

    #[test]
    fn a_short_s_is_a_server_but_where_it_is_said_to_be_something_else() {
        let tool = Tool { features: &[], local: &[], short_s: &[(&["w", "resume"], "--state")] };
        let spelt = |line: &str| {
            let words = tool.spelt_out(line.split(' ').map(OsString::from).collect());
            words.join(" ".as_ref()).into_string().unwrap()
        };
        for (line, expected) in [
            ("t w resume -s PC1Done", "t w resume --state PC1Done"),
            ("t w -s a resume -sPC1Done -i 0", "t w -s a resume --state=PC1Done -i 0"),
            ("t w resume -s=PC1Done", "t w resume --state=PC1Done"),
            ("t w resume --server a -- -s", "t w resume --server a -- -s"),
            ("t w pause -s a", "t w pause -s a"),
            ("t resume w -s a", "t resume w -s a"),
        ] {
            assert_eq!(spelt(line), expected);
        }
    }

    #[test]
    fn every_state_is_a_line_of_its_plan() {
        let states = said(&["help", "states"]);
        for plan in Plan::ALL {
            let of_plan = states.split(&format!("\n{plan}\n")).nth(1).unwrap();
            for (line, row) in of_plan.lines().zip(plan.rows()) {
                assert!(line.starts_with(&format!("  {} ", row.state.name())), "{line}");
            }
        }
    }

    #[test]
    fn the_version_names_the_commit_its_day_and_the_features() {
        let version = said(&["--version"]);
        let lines: Vec<_> = version.lines().collect();
        let [first, commit, date, features] = lines[..] else { panic!("{version}") };
        assert_eq!(first, concat!("tool ", env!("CARGO_PKG_VERSION")));
        assert!(commit.len() > "commit:   ".len() && date.starts_with("date:     "), "{version}");
        assert_eq!(features, "features: a b");
        assert_eq!(said(&["-V"]).trim_end(), first);
    }
}
