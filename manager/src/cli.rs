//! The command line: `daemon`, `mock`, and `util` with one file a verb.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use damocles_client::connect::NatsOptions;
use damocles_terminal::{CliError, Given, logging::LogArgs};

use crate::daemon::SectorManager;

mod bulk;
pub(crate) mod config;
mod cordon;
pub(crate) mod daemon;
pub(crate) mod decode;
mod history;
mod info;
mod list;
mod pause;
pub(crate) mod proving;
mod remove;
mod resume;
pub(crate) mod sealer;
pub(crate) mod sectors;
mod selectors;
mod session;
pub(crate) mod wdpost;
pub(crate) mod worker;

/// Sees all workers over NATS, and steers them
#[derive(Parser, Debug)]
#[command(
    name = "damocles-manager",
    version,
    arg_required_else_help = false,
    subcommand_required = true
)]
pub struct Cli {
    /// Configuration file
    #[arg(
        short,
        long,
        env = "DAMOCLES_MANAGER_CONFIG",
        global = true,
        value_name = "FILE",
        display_order = 900
    )]
    pub config: Option<PathBuf>,
    /// How to reach NATS.
    #[command(flatten)]
    pub nats: NatsOptions,
    /// How it logs.
    #[command(flatten)]
    pub log: LogArgs,
    /// What the program is started for.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program is started for.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a manager
    #[command(
        after_help = "Any number of managers can run: each sees every worker, and any of them answers.

With --sector-manager the workers get their sectors from a damocles sector manager that already runs, and report to it; any
number of managers can do that for the same one. It needs JetStream.

Examples:
  damocles-manager daemon -s nats://127.0.0.1:4222
  damocles-manager daemon --sector-manager http://10.0.0.1:1789"
    )]
    Daemon(daemon::DaemonArgs),
    /// Run a manager and a mock sector manager, which hands out sectors of no real chain
    #[command(
        after_help = "Any number of them can run; they never hand out a sector number twice. It needs JetStream, and keeps all
it knows there. With --pieces each file is a deal, given to one sector; two files with the same bytes are one deal. Workers
find a piece in a directory of their own, or get it from the manager by HTTP. Managers beside each other need the same
pieces: any of them may be asked for deals.

Examples:
  damocles-manager mock --miner 10000 --sector-size 2KiB
  damocles-manager mock --miner 10000 --miner 10001 --sector-size 8MiB
  damocles-manager mock --miner 10000 --pieces ./deals \\
      --http-listen 0.0.0.0:8080 --http-url http://10.0.0.5:8080"
    )]
    Mock(daemon::MockArgs),
    /// Look whether a manager could start and do its work, and change nothing
    #[command(
        after_help = "Looks at the configuration, NATS with JetStream, and what is kept there. Exit code 1 if anything fails.

Examples:
  damocles-manager check -c manager.toml
  damocles-manager check -s nats://127.0.0.1:4222 -o json"
    )]
    Check(config::OutputArgs),
    /// See what a manager works with
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Tools for operators
    #[command(subcommand)]
    Util(Util),
}

/// What operators do by hand.
#[derive(Subcommand, Debug)]
pub enum Util {
    /// See and steer the workers
    #[command(subcommand)]
    Worker(Box<worker::WorkerCommand>),
    /// See the sectors of the mock sector manager, and have something done with them
    #[command(subcommand)]
    Sealer(sealer::SealerCommand),
    /// Print one payload, MessagePack or JSON, as JSON
    #[command(after_help = "Reads standard input to its end.

Examples:
  nats sub 'damocles.v1.state.>' --translate 'damocles-manager util decode'
  nats kv get DAMOCLES_STATE w1 --raw \\
      | damocles-manager util decode --pretty")]
    Decode(decode::DecodeArgs),
}

impl Cli {
    /// Whether it runs until it is told to stop.
    pub fn is_daemon(&self) -> bool {
        matches!(self.command, Command::Daemon(_) | Command::Mock(_))
    }
}

/// Does what the command line says, until it is done or a daemon is told to end.
pub async fn run(cli: Cli, given: Vec<Given>) -> Result<(), CliError> {
    let settings = || crate::config::settings(&cli.nats, cli.config.as_deref());
    match cli.command {
        Command::Daemon(args) => {
            let (settings, file) = crate::config::of_daemon(&cli.nats, cli.config.as_deref())?;
            daemon::run(&settings, daemon::sector_manager(args, file)).await
        }
        Command::Mock(args) => daemon::run(&settings()?, SectorManager::Mock(args.into())).await,
        Command::Check(args) => config::check(&cli.nats, cli.config.as_deref(), &args).await,
        Command::Config(config::ConfigCommand::Show(args)) => {
            config::show(&cli.nats, cli.config.as_deref(), given, &args)
        }
        Command::Util(Util::Decode(args)) => decode::run(&args),
        Command::Util(Util::Sealer(command)) => sealer::run(settings()?, command).await,
        Command::Util(Util::Worker(command)) => worker::run(settings()?, *command).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn missing_and_wrong_arguments_are_usage_errors() {
        for line in [
            "",
            "util",
            "util worker",
            "util worker info",
            "util worker pause w1",
            "util worker pause w1 -1",
            "util worker resume w1",
            "util worker remove",
            "mock",
            "mock --miner 10000 --sector-size 3KiB",
            "mock --miner t010000",
            "util worker list -o yaml",
            "util sealer sectors rebuild t010000-2",
            "util sealer sectors unseal s-t010000-2 --dest /tmp/x",
            "util sealer sectors unseal s-t010000-2 --piece ../x",
            "util worker wdpost reset",
            "util worker wdpost remove j --all",
            "mock --miner 10000 --http-listen 127.0.0.1:80",
            "mock --miner 10000 --pieces . --http-url 10.0.0.5",
        ] {
            let words = std::iter::once("damocles-manager").chain(line.split_whitespace());
            assert_eq!(Cli::try_parse_from(words).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
