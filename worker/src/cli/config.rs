//! `config show`: the effective configuration, with where each value comes from.

use std::path::Path;

use clap::{Args, Subcommand};
use damocles_client::connect::{NatsOptions, NatsSettings};
use damocles_daemon::config::{Document, KeyPath, Origin, setting};
use damocles_terminal::{CliError, Given, ReplyOutput, note, settings, table::LookArgs};

use crate::config::Effective;

/// What to do with the configuration.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Print the effective configuration, with where each value comes from: a default, a line of a
    /// file, the environment, an option. Secrets are hidden
    #[command(after_help = "Examples:
  damocles-worker config show -c worker.toml
  damocles-worker config show -c worker.toml -o json")]
    Show(ShowArgs),
}

/// How to print it.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
    #[command(flatten)]
    pub look: LookArgs,
}

pub(crate) fn show(
    options: &NatsOptions,
    given: Vec<Given>,
    file: &Path,
    args: &ShowArgs,
) -> Result<(), CliError> {
    let document = Document::load(file)?;
    let effective = Effective::of(&document)?;
    let Effective { settings: mut all, nats, warnings } = effective;
    warnings.iter().for_each(|warning| note(warning));
    let key = KeyPath::of(&["worker", "name"]);
    let name = all.iter_mut().find(|known| known.key == key.to_string());
    if let Some(name) = name.filter(|name| name.value.is_null()) {
        let found = NatsSettings::new(options, &nats)
            .map_err(CliError::from)
            .and_then(|settings| super::target::name(None, None, &settings));
        match found {
            Ok(found) => *name = setting(&key, found.as_str().into(), Origin::Default),
            Err(error) => note(&error.message),
        }
    }
    all.extend(settings::nats(options, given, &nats, |key| document.origin(key))?);
    settings::print(&all, args.output, args.look)
}
