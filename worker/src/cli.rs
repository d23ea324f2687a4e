//! The command line: `daemon`, `worker …` (commands to a running worker), `store …`, `processor …`,
//! `generator …`.

pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod cordon;
pub(crate) mod daemon;
pub(crate) mod generator;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod processor;
pub(crate) mod resume;
pub(crate) mod sidecar;
pub(crate) mod store;
mod target;
mod threads;

use std::{env, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use damocles_client::connect::NatsOptions;
use damocles_terminal::{CliError, Given, logging::LogArgs, note, selectors::usage};
use shared_msgs::command;

/// Seals Filecoin sectors, and is operated over NATS
#[derive(Parser, Debug)]
#[command(
    name = "damocles-worker",
    version,
    arg_required_else_help = false,
    subcommand_required = true
)]
pub struct Cli {
    /// The worker's configuration file: says its name and how to reach NATS, among others [env:
    /// DAMOCLES_WORKER_CONFIG]
    #[arg(short, long, global = true, value_name = "FILE", display_order = 900)]
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
    /// Run the worker
    #[command(
        after_help = "Example:\n  damocles-worker daemon -c assets/damocles-worker.mock.toml"
    )]
    Daemon,
    /// Speak on the bus for damocles-workers that run unmodified: list, watch, history, pause, resume
    #[command(
        after_help = "It lists the threads by the worker's own socket (rpc_server, port 17890) once a second. A pause is held until
nothing can be lost by it, for damocles-worker throws away what a stage has done when it is paused, and in PC2 that
destroys the sector; until then it is pending, and a resume takes it back. What the socket cannot do (pause --now, taking
back a pause that was sent) is refused.

A file for many, with -c:
  state = '/var/lib/damocles-worker'   # where it keeps what it must not forget
  [nats]
  server = 'nats://10.0.0.1:4222'
  [[sidecar]]
  rpc = 'http://10.0.0.5:17890'
  name = 'rack1-5'

Examples:
  damocles-worker sidecar --rpc http://127.0.0.1:17890
  damocles-worker sidecar --rpc http://10.0.0.5:17890 --name rack1-5
  damocles-worker sidecar -c sidecars.toml"
    )]
    Sidecar(sidecar::SidecarArgs),
    /// Look whether a worker could start with its configuration and do its work, and change nothing
    #[command(
        after_help = "Looks at the configuration, the locations with their stores, the attached stores, the programs of
the processors, NATS with JetStream and the sector manager. Exit code 1 if anything fails.

Examples:
  damocles-worker check -c worker.toml
  damocles-worker check -c worker.toml -o json"
    )]
    Check(check::CheckArgs),
    /// See what a worker works with
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// See and steer the threads of a running worker
    Worker(Box<WorkerArgs>),
    /// Prepare directories, and see what is left in them
    Store(StoreArgs),
    /// Compute a stage for a worker that has a [[processors.<stage>]] without bin: tasks on stdin,
    /// answers on stdout
    #[expect(rustdoc::invalid_html_tags, reason = "clap shows it as it is")]
    Processor(processor::ProcessorArgs),
    /// Make what proofs need in development
    Generator(GeneratorArgs),
}

/// Which worker, and what to do with it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  damocles-worker worker -c worker.toml list
  damocles-worker worker --name worker-#1 pause --index 0
  damocles-worker worker -c worker.toml resume --index 0 --state TreeDBuilt
  damocles-worker worker -c worker.toml cordon")]
pub struct WorkerArgs {
    /// The worker's name [default: the one in the configuration, else this machine's address]
    #[arg(long, global = true)]
    pub name: Option<String>,
    /// The address of a damocles-worker's socket: accepted, and not needed, for workers are reached
    /// over NATS
    #[arg(short = 'H', long, env = "DAMOCLES_WORKER_HOST", global = true, hide = true)]
    pub host: Option<String>,
    /// What is to be done with that worker's threads.
    #[command(subcommand)]
    pub command: WorkerCommand,
}

/// What can be done with a worker's threads.
#[derive(Subcommand, Debug)]
pub enum WorkerCommand {
    /// Show the sealing threads
    #[command(after_help = "Examples:
  damocles-worker worker -c worker.toml list
  damocles-worker worker -c worker.toml list -o wide --watch")]
    List(list::ListArgs),
    /// Pause sealing threads: at once while they wait, else when their stage ends
    #[command(
        override_usage = "damocles-worker worker pause [OPTIONS] --index <N>
       damocles-worker worker pause [OPTIONS] <SELECTOR>...",
        after_help = "--index names threads: where one of several is not there, nothing is done. Selectors mean what they do in
damocles-manager: a thread has to fit each kind that is given. On a terminal what they select is shown first, and asked.

Exit codes: 1 a thread failed, 3 no such thread or none that is selected, 4 no answer, 5 refused, 6 not paused within the time of --wait.

Examples:
  damocles-worker worker -c worker.toml pause --index 0 --reason 'disk swap'
  damocles-worker worker -c worker.toml pause --index 0 --wait=2h
  damocles-worker worker -c worker.toml pause --index 0 --now --wait
  damocles-worker worker -c worker.toml pause --status running --dry-run"
    )]
    Pause(pause::PauseArgs),
    /// Resume paused sealing threads, from their state or another one
    #[command(
        override_usage = "damocles-worker worker resume [OPTIONS] [--to <STATE>] --index <N>
       damocles-worker worker resume [OPTIONS] [--to <STATE>] <SELECTOR>...",
        after_help = "State Aborted (or Empty) gives the sector up: it is reported as aborted, its files are removed, and the thread takes
the next one. On a terminal that is asked first; anywhere else it needs -f.

Exit codes: 1 a thread failed, 3 no such thread or none that is selected, 4 no answer, 5 refused, 6 not running within the time of --wait.

Examples:
  damocles-worker worker -c worker.toml resume --index 0 --wait
  damocles-worker worker -c worker.toml resume --index 0 --state TreeDBuilt \\
      --if-revision 14
  damocles-worker worker -c worker.toml resume --index 0,2-4 --state Aborted --dry-run
  damocles-worker worker -c worker.toml resume --error 'No cached parameters' \\
      --in-state C1Done --to TreeDBuilt"
    )]
    Resume(resume::ResumeArgs),
    /// Let sealing threads finish what they have in hand and take no new sector; survives a restart
    /// of the worker
    #[command(
        override_usage = "damocles-worker worker cordon [OPTIONS] [--index <N>]
       damocles-worker worker cordon [OPTIONS] <SELECTOR>...",
        after_help = "Exit codes: 1 a thread failed, 3 no such thread or none that is selected, 4 no answer, 5 refused.

Examples:
  damocles-worker worker -c worker.toml cordon --reason 'new disks tomorrow'
  damocles-worker worker -c worker.toml cordon --index 0,2-4
  damocles-worker worker -c worker.toml cordon --plan sealer"
    )]
    Cordon(cordon::CordonArgs),
    /// Let cordoned sealing threads take new sectors again
    #[command(
        override_usage = "damocles-worker worker uncordon [OPTIONS] [--index <N>]
       damocles-worker worker uncordon [OPTIONS] <SELECTOR>...",
        after_help = "Exit codes: 1 a thread failed, 3 no such thread or none that is selected, 4 no answer, 5 refused.

Example:
  damocles-worker worker -c worker.toml uncordon"
    )]
    Uncordon(cordon::CordonArgs),
    /// Cordon sealing threads, and wait until they have no sector in hand: for maintenance
    #[command(
        override_usage = "damocles-worker worker drain [OPTIONS] [--index <N>]
       damocles-worker worker drain [OPTIONS] <SELECTOR>...",
        after_help = "It waits as long as that takes; --wait=DURATION limits it, --detach does not wait. A thread that is paused with a sector
in hand does not get empty by itself; it is named.

Exit codes: 1 a thread failed, 3 no such thread or none that is selected, 4 no answer, 5 somebody uncordoned one, 6 not empty within the time of --wait.

Examples:
  damocles-worker worker -c worker.toml drain && reboot
  damocles-worker worker -c worker.toml drain --index 0,2-4 --wait=8h"
    )]
    Drain(cordon::DrainArgs),
    /// Show what happened to the worker and its threads, oldest first
    #[command(
        after_help = "It reads the stream of events, to its end as it is now, or with --follow on from there until Ctrl-C. Times are the
worker's; --since goes by the time at which an event was stored, which an outage of NATS delays.

Exit codes: 3 no such worker, thread or sector: it is in no event, and no worker's last state has it.

Examples:
  damocles-worker worker -c worker.toml history --since '2026-11-26 08:00'
  damocles-worker worker -c worker.toml history --index 0 --follow"
    )]
    History(history::HistoryArgs),
}

/// `store`: preparing directories, and looking after what lies in them.
#[derive(Args, Debug)]
pub struct StoreArgs {
    /// The kind of directory.
    #[command(subcommand)]
    pub kind: store::StoreCommand,
}

/// `generator`: making what proofs need in development.
#[derive(Args, Debug)]
pub struct GeneratorArgs {
    /// The kind of thing.
    #[command(subcommand)]
    pub kind: generator::GeneratorCommand,
}

// The variable that names the file, where no option does.
const CONFIG_VARIABLE: &str = "DAMOCLES_WORKER_CONFIG";

/// Runs a command; `given` is what was given of the options that reach NATS.
pub async fn run(cli: Cli, given: Vec<Given>) -> Result<(), CliError> {
    let Cli { config: option, nats, command, .. } = cli;
    let nats = &nats;
    let variable = env::var_os(CONFIG_VARIABLE).filter(|value| !value.is_empty());
    let config = option.clone().or_else(|| variable.map(PathBuf::from));
    let needed = || {
        let none = || {
            usage(format!(
                "no configuration file is named: write -c FILE, or set {CONFIG_VARIABLE}"
            ))
        };
        config.as_deref().ok_or_else(none)
    };
    match command {
        Command::Daemon => daemon::run(nats, needed()?).await,
        Command::Sidecar(args) => sidecar::run(nats, option.as_deref(), args).await,
        Command::Check(args) => check::run(nats, needed()?, &args).await,
        Command::Config(config::ConfigCommand::Show(args)) => {
            config::show(nats, given, needed()?, &args)
        }
        // What it removes is said on its own command line.
        Command::Store(args) => store::run(&args.kind, option.as_deref()).await,
        Command::Processor(args) => processor::run(&args).await,
        Command::Generator(args) => generator::run(&args.kind).await,
        Command::Worker(args) => {
            if args.host.is_some() {
                note(
                    "-H, --host and DAMOCLES_WORKER_HOST are not needed: workers are reached over NATS, by their names",
                );
            }
            let target = target::find(nats, config.as_deref(), args.name.as_deref())?;
            match args.command {
                WorkerCommand::List(args) => list::run(target, &args).await,
                WorkerCommand::Pause(args) => pause::run(target, args).await,
                WorkerCommand::Resume(args) => resume::run(target, args).await,
                WorkerCommand::Cordon(args) => {
                    cordon::run(target, command::Verb::Cordon, args).await
                }
                WorkerCommand::Uncordon(args) => {
                    cordon::run(target, command::Verb::Uncordon, args).await
                }
                WorkerCommand::Drain(args) => cordon::drain(target, args).await,
                WorkerCommand::History(args) => history::run(target, &args).await,
            }
        }
    }
}
