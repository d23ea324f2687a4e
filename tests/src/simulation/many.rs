//! Many worlds, on all cores.

use std::{
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{available_parallelism, scope},
};

use super::{Ended, ground::Ground, run, world::Tally};

/// What became of many worlds.
#[derive(Default)]
pub struct Outcome {
    /// What was not as it must be, by seed.
    pub violations: BTreeMap<u64, Vec<String>>,
    /// How often what happened in all of them.
    pub tally: Tally,
}

/// Lets the worlds of these seeds run; gives up soon after a few have gone wrong.
pub fn run_all(seeds: Range<u64>) -> Outcome {
    const ENOUGH: usize = 5;
    let ground = Ground::new();
    let next = AtomicU64::new(seeds.start);
    let outcome = Mutex::new(Outcome::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let ended = catch_unwind(AssertUnwindSafe(|| run(&ground, seed, false)));
            let ended = ended.unwrap_or_else(|_| Ended {
                violations: vec!["it panicked".into()],
                ..Ended::default()
            });
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            ended
                .tally
                .into_iter()
                .for_each(|(what, count)| *outcome.tally.entry(what).or_default() += count);
            if !ended.violations.is_empty() {
                outcome.violations.insert(seed, ended.violations);
            }
            if outcome.violations.len() >= ENOUGH {
                return;
            }
        }
    };
    let threads = available_parallelism().map_or(1, usize::from);
    scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Outcome {
    /// What went wrong, and how to see it again; empty if nothing did.
    pub fn report(&self) -> String {
        let worlds = self.violations.iter().map(|(seed, violations)| {
            let violations =
                violations.iter().take(10).map(|what| format!("\n  {what}")).collect::<String>();
            format!("seed {seed} (SEED={seed} make soak shows all of it):{violations}\n")
        });
        worlds.collect()
    }
}
