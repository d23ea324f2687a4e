//! Waiting for what a command leads to: for a [`super::goals`], at most so long.

use std::time::Duration;

use shared_msgs::duration::human;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{
    follow::{Follow, Heard},
    goals::{Goal, Verdict},
    progress::Progress,
};
use crate::{CliError, Exit};

// So often the line on the terminal shows that time goes by.
const TICK: Duration = Duration::from_secs(1);

/// Waits for a goal, at most so long.
pub async fn reach(
    goal: &mut impl Goal,
    follow: &mut Follow<'_>,
    patience: Option<Duration>,
) -> Result<(), CliError> {
    let progress = Progress::start();
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
                    () = time_is_up(deadline) => return Err(not_in_time(goal, patience)),
                    _ = tick.tick(), if progress.is_shown() => progress.say(&goal.standing(heard_at.elapsed())),
                }
            }
        };
        match heard {
            Heard::State(snapshot) => {
                (heard_at, silent) = (Instant::now(), false);
                match goal.judge(&snapshot) {
                    Verdict::Reached => return Ok(()),
                    Verdict::Missed(error) => return Err(error),
                    Verdict::NotYet => progress.say(&goal.standing(Duration::ZERO)),
                }
                goal.obstacles().iter().for_each(|obstacle| progress.note(obstacle));
            }
            Heard::Silence(error) if !silent => {
                silent = true;
                progress.note(&format!("{error}; waiting on"));
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

fn not_in_time(goal: &impl Goal, patience: Option<Duration>) -> CliError {
    let waited = human(patience.unwrap_or_default());
    let (missing, standing, stays) = (goal.missing(), goal.standing(Duration::ZERO), goal.stays());
    CliError::new(Exit::NotYet, format!("{missing} after {waited}: {standing}; {stays}"))
        .hint("wait for it again with --wait, or look with `list` or `info`")
}

#[cfg(test)]
mod tests {
    use shared_msgs::snapshot::WorkerSnapshot;

    use super::*;

    struct Never;

    impl Goal for Never {
        fn judge(&mut self, _: &WorkerSnapshot) -> Verdict {
            Verdict::NotYet
        }

        fn standing(&self, _: Duration) -> String {
            "#0: C2 running 5s, pause pending".into()
        }

        fn missing(&self) -> &'static str {
            "not paused"
        }

        fn stays(&self) -> &'static str {
            "the pause stays in effect"
        }
    }

    #[test]
    fn when_the_time_is_up_it_says_how_it_stands_and_what_stays_in_effect() {
        let error = not_in_time(&Never, Some(Duration::from_secs(5)));
        assert_eq!(error.exit, Exit::NotYet);
        assert_eq!(
            error.message,
            "not paused after 5s: #0: C2 running 5s, pause pending; the pause stays in effect"
        );
    }
}
