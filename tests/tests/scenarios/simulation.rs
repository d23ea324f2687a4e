//! Whole systems in memory, ten thousand of them by seed.
//!
//! See `e2e::simulation`.

use e2e::simulation::{ground::Ground, many::run_all, run};

/// What has to happen in ten thousand worlds, or their promises are kept because nothing is asked
/// of them.
const EVENTFUL: [&str; 20] = [
    "a client heard an answer",
    "a command of unknown outcome was sent again",
    "a command was not delivered",
    "a command was sent again",
    "a command came too late",
    "a command that was answered was sent again",
    "a disk was cloned",
    "a lease was acquired",
    "a lease was taken over by the same worker",
    "a manager heard something old",
    "a pause took effect later",
    "a process was cut off",
    "a process was killed",
    "a process was stopped",
    "a processor was stopped",
    "a repeat was answered",
    "a stale revision was refused",
    "a thread was resumed",
    "an event was refused behind another one",
    "an outcome was unknown",
];

#[test]
fn whatever_goes_wrong_no_promise_is_broken() {
    let outcome = run_all(0..10_000);
    assert!(outcome.violations.is_empty(), "{}", outcome.report());
    for what in EVENTFUL {
        let count = outcome.tally.get(what).copied().unwrap_or(0);
        assert!(count >= 100, "{what} only {count} times: the worlds are not what they were");
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let ground = Ground::new();
    for seed in 0..20 {
        let (one, again) = (run(&ground, seed, true).trace, run(&ground, seed, true).trace);
        assert!(one.len() > 10, "{one:?}");
        assert_eq!(one, again, "seed {seed}");
    }
}
