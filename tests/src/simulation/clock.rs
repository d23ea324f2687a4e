//! The time in a simulated world: it stands still while anybody is at work.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

// Some day.
const BEGIN_MS: u64 = 1_700_000_000_000;

thread_local! {
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A world begins, in this thread.
pub fn begin() {
    BEGAN.set(Some(Instant::now()));
}

/// How long ago that was.
pub fn since_begin() -> Duration {
    BEGAN.get().map_or(Duration::ZERO, |began| began.elapsed())
}

/// The time of day there.
pub fn unix_ms() -> u64 {
    BEGIN_MS + since_begin().as_millis() as u64
}
