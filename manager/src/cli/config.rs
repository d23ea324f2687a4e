//! `check` and `config show`: whether a manager could do its work, and what it works with.

use std::path::Path;

use clap::{Args, Subcommand};
use damocles_client::connect::{NatsOptions, NatsSettings};
use damocles_terminal::{
    CliError, Given, ReplyOutput, checks::Checks, note, settings, table::LookArgs,
};

use crate::config::Read;

/// What to do with the configuration.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Print the effective configuration, with where each value comes from: a default, a line of
    /// the file, the environment, an option. Secrets are hidden
    #[command(after_help = "Examples:
  damocles-manager config show -c manager.toml
  damocles-manager config show -s nats://127.0.0.1:4222 -o json")]
    Show(ShowArgs),
}

/// How to print what a manager works with.
#[derive(Args, Debug)]
pub struct ShowArgs {
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

/// How to print what was found.
#[derive(Args, Debug)]
pub struct OutputArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

pub(super) fn show(
    options: &NatsOptions,
    file: Option<&Path>,
    given: Vec<Given>,
    args: &ShowArgs,
) -> Result<(), CliError> {
    let Read { nats, warnings, document, .. } = Read::file(file)?;
    warnings.iter().for_each(|warning| note(warning));
    let all = settings::nats(options, given, &nats, |key| document.origin(key))?;
    settings::print(&all, args.output.output, args.look)
}

pub(super) async fn check(
    options: &NatsOptions,
    file: Option<&Path>,
    args: &OutputArgs,
) -> Result<(), CliError> {
    let mut checks = Checks::default();
    let check = match file {
        Some(file) => format!("configuration {}", file.display()),
        None => "configuration".to_owned(),
    };
    match Read::file(file) {
        Err(error) => checks.mistakes(&check, &error),
        Ok(Read { nats, warnings, .. }) => {
            let none = "there is no file: options, environment and defaults count";
            checks.fine(check.as_str(), if file.is_some() { "can be read" } else { none });
            for warning in warnings {
                checks.warn(check.as_str(), warning);
            }
            match NatsSettings::new(options, &nats) {
                Ok(settings) => drop(checks.nats(&settings, "damocles-manager check").await),
                Err(error) => checks.refused("[nats]", error),
            }
        }
    }
    checks.finish(args.output)
}
