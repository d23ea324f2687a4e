//! `util worker`: what its verbs have in common.
//!
//! ```text
//!  list, remove                 ──▶ any manager
//!  info, pause, resume, cordon  ──▶ the worker itself, or all workers: no manager need run
//!  history                      ──▶ the stream of events
//!  wdpost                       ──▶ any mock sector manager
//! ```

use clap::Subcommand;
use damocles_client::connect::NatsSettings;
use damocles_terminal::CliError;
use shared_msgs::command;

use super::{cordon, history, info, list, pause, remove, resume, session::Session, wdpost};

/// What to do with the workers.
#[derive(Subcommand, Debug)]
pub enum WorkerCommand {
    /// List the workers that report, or have reported, to the managers
    #[command(
        after_help = "A worker is expired (!) when its last report is older than three of its own ping intervals. It is
lost when its lease has run out without a word, and stopped when it said so. With --watch a terminal is drawn anew: the arrows, PgUp, PgDn, j and k scroll, s sorts by
the next column, r the other way round, q ends; anywhere
else each change is a new document (-o json: one a line).

Examples:
  damocles-manager util worker list
  damocles-manager util worker list --watch
  damocles-manager util worker list --expiration 1m -o wide
  damocles-manager util worker list -o jsonl | jq -r 'select(.expired) | .name'"
    )]
    List(list::ListArgs),
    /// Show the sealing threads of a worker
    #[command(after_help = "Examples:
  damocles-manager util worker info 127.0.0.1
  damocles-manager util worker info 127.0.0.1 --watch
  damocles-manager util worker info damocles.v1.cmd.127=2E0=2E0=2E1 -o wide")]
    Info(info::InfoArgs),
    /// Pause sealing threads: at once while they wait, else when their stage ends
    #[command(
        override_usage = "damocles-manager util worker pause [OPTIONS] <WORKER> <INDEX>
       damocles-manager util worker pause [OPTIONS] <SELECTOR>...",
        after_help = "One thread is named by WORKER and INDEX, many by selectors: a thread has to fit each kind of selector that is given. Whether
it fits is decided by the thread itself at the moment it acts.

Exit codes: 1 a thread failed, 3 no such thread or none that is selected, 4 no answer, 5 refused, 6 not paused within the time of --wait.

Examples:
  damocles-manager util worker pause 127.0.0.1 0 --reason 'disk swap'
  damocles-manager util worker pause 127.0.0.1 0 --wait=2h
  damocles-manager util worker pause 127.0.0.1 0 --now --if-revision 14
  damocles-manager util worker pause -w 'rack1-*' --status running --dry-run"
    )]
    Pause(pause::PauseArgs),
    /// Resume paused sealing threads, from their state or another one
    #[command(
        override_usage = "damocles-manager util worker resume [OPTIONS] <WORKER> <INDEX> [STATE]
       damocles-manager util worker resume [OPTIONS] [--to <STATE>] <SELECTOR>...",
        after_help = "State Aborted (or Empty) gives the sector up: it is reported as aborted, its files are removed, and the thread takes
the next one. On a terminal that is asked first; anywhere else it needs -f. Threads that are selected and not paused are left
as they are.

Exit codes: 1 a thread failed, 3 no such thread or none that is selected, 4 no answer, 5 refused, 6 not running within the time of --wait.

Examples:
  damocles-manager util worker resume 127.0.0.1 0
  damocles-manager util worker resume 127.0.0.1 0 TreeDBuilt --wait
  damocles-manager util worker resume --error 'No cached parameters' \\
      --in-state C1Done --to TreeDBuilt
  damocles-manager util worker resume 127.0.0.1 0 Aborted --dry-run
  damocles-manager util worker resume --all --status paused --dry-run -o jsonl"
    )]
    Resume(resume::ResumeArgs),
    /// Let sealing threads finish what they have in hand and take no new sector; survives a restart
    /// of the worker
    #[command(
        override_usage = "damocles-manager util worker cordon [OPTIONS] <WORKER> [INDEX]...
       damocles-manager util worker cordon [OPTIONS] <SELECTOR>...",
        after_help = "Exit codes: 1 a thread failed, 3 no such thread or none that is selected, 4 no answer, 5 refused.

Examples:
  damocles-manager util worker cordon 127.0.0.1 --reason 'new disks tomorrow'
  damocles-manager util worker cordon 127.0.0.1 0,2-4
  damocles-manager util worker cordon -w 'rack1-*'"
    )]
    Cordon(cordon::CordonArgs),
    /// Let cordoned sealing threads take new sectors again
    #[command(
        override_usage = "damocles-manager util worker uncordon [OPTIONS] <WORKER> [INDEX]...
       damocles-manager util worker uncordon [OPTIONS] <SELECTOR>...",
        after_help = "Exit codes: 1 a thread failed, 3 no such thread or none that is selected, 4 no answer, 5 refused.

Examples:
  damocles-manager util worker uncordon 127.0.0.1
  damocles-manager util worker uncordon --all"
    )]
    Uncordon(cordon::CordonArgs),
    /// Cordon sealing threads, and wait until they have no sector in hand: for maintenance
    #[command(
        override_usage = "damocles-manager util worker drain [OPTIONS] <WORKER> [INDEX]...
       damocles-manager util worker drain [OPTIONS] <SELECTOR>...",
        after_help = "It waits as long as that takes; --wait=DURATION limits it, --detach does not wait. A thread that is paused with a sector
in hand does not get empty by itself; it is named.

Exit codes: 1 a thread failed, 3 no such thread or none that is selected, 4 no answer, 5 somebody uncordoned one, 6 not empty
within the time of --wait.

Examples:
  damocles-manager util worker drain 127.0.0.1 && ssh 127.0.0.1 reboot
  damocles-manager util worker drain 127.0.0.1 0,2-4 --wait=8h \\
      --reason 'new disks'
  damocles-manager util worker drain -w 'rack1-*' --detach"
    )]
    Drain(cordon::DrainArgs),
    /// Forget a worker that no longer reports
    #[command(
        after_help = "Refused while the worker still reports. If it speaks again, it is back.

Example:
  damocles-manager util worker remove 127.0.0.1"
    )]
    Remove(remove::RemoveArgs),
    /// Show what happened to the workers and their threads, oldest first
    #[command(
        after_help = "It reads the stream of events, to its end as it is now, or with --follow on from there until Ctrl-C. Times are the
workers'; --since goes by the time at which an event was stored, which an outage of NATS delays.

Exit codes: 3 no such worker, thread or sector: it is in no event, and no worker's last state has it.

Examples:
  damocles-manager util worker history
  damocles-manager util worker history 127.0.0.1 0 --since yesterday
  damocles-manager util worker history --sector s-t010000-2
  damocles-manager util worker history --follow -o jsonl \\
      | jq -c 'select(.kind == \"failure\")'"
    )]
    History(history::HistoryArgs),
    /// The window-PoSt jobs that the sector manager hands out
    #[command(subcommand)]
    Wdpost(wdpost::WdpostCommand),
}

/// Runs a command. What is called wrongly is said before anything is connected.
pub(crate) async fn run(settings: NatsSettings, command: WorkerCommand) -> Result<(), CliError> {
    let session = || Session::connect(settings.clone());
    match command {
        WorkerCommand::List(args) if args.watch => list::watch::run(settings, &args).await,
        WorkerCommand::List(args) => list::run(&session().await?, &args).await,
        WorkerCommand::Info(args) => info::run(settings, &args).await,
        WorkerCommand::Pause(args) => pause::run(settings, args).await,
        WorkerCommand::Resume(args) => resume::run(settings, args).await,
        WorkerCommand::Cordon(args) => cordon::run(settings, command::Verb::Cordon, args).await,
        WorkerCommand::Uncordon(args) => cordon::run(settings, command::Verb::Uncordon, args).await,
        WorkerCommand::Drain(args) => cordon::drain(settings, args).await,
        WorkerCommand::Remove(args) => remove::run(&session().await?, &args).await,
        WorkerCommand::History(args) => history::run(settings, &args).await,
        WorkerCommand::Wdpost(command) => wdpost::run(&session().await?, command).await,
    }
}
