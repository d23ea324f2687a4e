//! `make soak`: simulated worlds by the million. `SEEDS=…` says how many, `FIRST=…` where to begin;
//! `SEED=n` lets one run and shows what happens in it. See `e2e::simulation`.

use std::{io, process::ExitCode};

use clap::Parser;
use damocles_daemon::log::Format;
use damocles_terminal::{CliError, Exit, finish, note, print};
use e2e::simulation::{ground::Ground, many::run_all, run, world::Tally};
use shared_msgs::duration::human;
use tokio::time::Instant;

const CHUNK: u64 = 10_000;

/// Runs simulated worlds.
#[derive(Parser)]
struct Arguments {
    /// How many.
    #[arg(long, env = "SEEDS", default_value_t = 1_000_000)]
    seeds: u64,
    /// The first one.
    #[arg(long, env = "FIRST", default_value_t = 0)]
    first: u64,
    /// Only this one, and all that happens in it.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match arguments.seed {
        Some(seed) => show(seed),
        None => soak(arguments.first, arguments.seeds),
    };
    finish(ended, Format::Text, &mut io::stderr())
}

fn show(seed: u64) -> Result<(), CliError> {
    let ended = run(&Ground::new(), seed, true);
    print(&(ended.trace.join("\n") + "\n"))?;
    print(&counts(&ended.tally))?;
    failed(ended.violations.len())
}

fn soak(first: u64, seeds: u64) -> Result<(), CliError> {
    let (began, mut tally) = (Instant::now(), Tally::new());
    let end = first.saturating_add(seeds);
    for from in (first..end).step_by(CHUNK as usize) {
        let to = end.min(from + CHUNK);
        let outcome = run_all(from..to);
        print(&outcome.report())?;
        failed(outcome.violations.len())?;
        outcome
            .tally
            .into_iter()
            .for_each(|(what, count)| *tally.entry(what).or_default() += count);
        note(&format!("{} of {seeds} seeds in {}", to - first, human(began.elapsed())));
    }
    print(&counts(&tally))
}

fn failed(count: usize) -> Result<(), CliError> {
    if count == 0 {
        Ok(())
    } else {
        Err(CliError::new(Exit::Failed, "something was not as it must be, see above"))
    }
}

fn counts(tally: &Tally) -> String {
    tally.iter().map(|(what, count)| format!("{count:>10}  {what}\n")).collect()
}
