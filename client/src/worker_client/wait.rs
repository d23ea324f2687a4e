//! Waiting for what a command leads to: for a [`super::goals`], at most so long.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{
    OrderError,
    follow::{Follow, Heard},
    goals::{Goal, Missed, Verdict},
};

// So often an observer learns that time goes by.
const TICK: Duration = Duration::from_secs(1);

/// Who is told how it stands meanwhile. `()` is nobody.
pub trait Observer<G> {
    /// A state was heard, and it is not what is waited for.
    fn not_yet(&mut self, _goal: &mut G) {}
    /// Nothing is heard any more; said once, and again after something was heard.
    fn silence(&mut self, _error: &OrderError) {}
    /// A second has passed; `since` is the time since the last state was heard.
    fn passes(&mut self, _goal: &G, _since: Duration) {}
}

impl<G> Observer<G> for () {}

/// Why a goal was not reached. The command stays in effect.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum NotReached {
    /// The time is up.
    #[error("it has not come about in time")]
    NotYet,
    /// It will not come about.
    #[error(transparent)]
    Missed(Missed),
}

/// Waits for a goal, at most so long.
pub async fn reach<G: Goal>(
    goal: &mut G,
    follow: &mut Follow<'_>,
    patience: Option<Duration>,
    observer: &mut impl Observer<G>,
) -> Result<(), NotReached> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut heard_at, mut silent) = (Instant::now(), false);
    loop {
        let heard = {
            let next = follow.next();
            tokio::pin!(next);
            loop {
                tokio::select! {
                    heard = &mut next => break heard,
                    () = time_is_up(deadline) => return Err(NotReached::NotYet),
                    _ = tick.tick() => observer.passes(goal, heard_at.elapsed()),
                }
            }
        };
        match heard {
            Heard::State(snapshot) => {
                (heard_at, silent) = (Instant::now(), false);
                match goal.judge(&snapshot) {
                    Verdict::Reached => return Ok(()),
                    Verdict::Missed(missed) => return Err(NotReached::Missed(missed)),
                    Verdict::NotYet => observer.not_yet(goal),
                }
            }
            Heard::Silence(error) if !silent => {
                silent = true;
                observer.silence(&error);
            }
            Heard::Silence(_) => {}
        }
    }
}

async fn time_is_up(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
