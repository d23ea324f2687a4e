//! Asking again while nobody has answered, without giving the earlier questions up: whoever was to
//! answer may have died, or is only slow. For questions that may be asked twice.

use std::time::Duration;

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How soon JetStream is asked again: when the leader of a stream has died, its servers agree on
/// another one within seconds.
pub const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The first answer of any of the attempts, of which one begins now and another one each time
/// `every` has passed. An attempt that ends without an answer is waited for no more.
pub async fn hedged<T, F: Future<Output = Option<T>>>(
    every: Duration,
    mut attempt: impl FnMut() -> F,
) -> T {
    // Without a timer: one that is due at once still takes up to a millisecond.
    let mut under_way = FuturesUnordered::from_iter([attempt()]);
    let mut next = interval_at(Instant::now() + every, every);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            Some(ended) = under_way.next() => if let Some(answer) = ended { return answer },
            _ = next.tick() => under_way.push(attempt()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::pending};

    use tokio::time::sleep;

    use super::*;

    const EVERY: Duration = Duration::from_millis(500);

    #[tokio::test(start_paused = true)]
    async fn silence_and_failure_are_asked_again_and_a_slow_answer_counts() {
        let (began, asked) = (Instant::now(), Cell::new(0));
        let answer = hedged(EVERY, || {
            let number = asked.replace(asked.get() + 1);
            async move {
                match number {
                    0 => None,
                    // Slower than two further attempts.
                    1 => {
                        sleep(EVERY * 2 + Duration::from_millis(1)).await;
                        Some(number)
                    }
                    _ => pending().await,
                }
            }
        });
        assert_eq!((answer.await, asked.get(), began.elapsed().as_millis()), (1, 4, 1_501));
    }
}
