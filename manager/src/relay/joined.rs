//! Calls in flight: a repeat of a request joins the call that is under way for it. A call goes on
//! when nobody waits for it any more, for what it yields may not be had twice.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use serde_json::Value;
use tokio::time::Instant;

use super::Trouble;

/// An answer that took longer than this was for nobody, and is kept for the repeat.
const SOON: Duration = Duration::from_secs(2);
/// For so long.
const KEPT: Duration = Duration::from_secs(10);

/// A reply of ours, as JSON, or why there is none.
pub(super) type Outcome = Result<Arc<Value>, Trouble>;

#[derive(Default)]
pub(super) struct Joined {
    calls: Arc<Mutex<HashMap<String, Call>>>,
}

struct Call {
    outcome: Shared<BoxFuture<'static, Outcome>>,
    /// When it ended, if what it yielded is kept.
    ended: Option<Instant>,
}

impl Joined {
    /// The outcome of the call that is under way for this key, or of this one.
    pub(super) async fn call(
        &self,
        key: String,
        call: impl Future<Output = Outcome> + Send + 'static,
    ) -> Outcome {
        let outcome = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.retain(|_, call| call.ended.is_none_or(|ended| ended.elapsed() < KEPT));
            match calls.get(&key) {
                Some(call) => call.outcome.clone(),
                None => {
                    let outcome = self.begin(key.clone(), call);
                    calls.insert(key, Call { outcome: outcome.clone(), ended: None });
                    outcome
                }
            }
        };
        outcome.await
    }

    fn begin(
        &self,
        key: String,
        call: impl Future<Output = Outcome> + Send + 'static,
    ) -> Shared<BoxFuture<'static, Outcome>> {
        let calls = self.calls.clone();
        let task = tokio::spawn(async move {
            let started = Instant::now();
            let outcome = call.await;
            let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            match calls.get_mut(&key) {
                Some(call) if outcome.is_ok() && started.elapsed() > SOON => {
                    call.ended = Some(Instant::now());
                }
                _ => drop(calls.remove(&key)),
            }
            outcome
        });
        let ended = task.map(|joined| {
            joined.unwrap_or_else(|error| {
                Err(Trouble::InDoubt(format!("the call has ended: {error}")))
            })
        });
        ended.boxed().shared()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    async fn answer(after: Duration, calls: Arc<AtomicU32>) -> Outcome {
        tokio::time::sleep(after).await;
        Ok(Arc::new(calls.fetch_add(1, Ordering::Relaxed).into()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeat_joins_the_call_in_flight_and_gets_what_came_too_late_for_the_first() {
        let (joined, calls) = (Joined::default(), Arc::new(AtomicU32::new(0)));
        let slow = |key: &str| {
            let asked = joined.call(key.into(), answer(Duration::from_secs(7), calls.clone()));
            tokio::time::timeout(Duration::from_secs(5), asked)
        };
        // Whoever asked has gone after five seconds, and the call goes on.
        assert!(slow("a").await.is_err());
        let (first, second) = tokio::join!(slow("a"), slow("a"));
        assert_eq!(
            (first.unwrap().unwrap(), second.unwrap().unwrap()),
            (0.into_arc(), 0.into_arc())
        );
        assert_eq!(slow("a").await.unwrap().unwrap(), 0.into_arc());
        tokio::time::sleep(KEPT).await;
        assert!(slow("a").await.is_err());
        assert!(slow("b").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_was_heard_and_one_that_is_none_are_not_kept() {
        let (joined, calls) = (Joined::default(), Arc::new(AtomicU32::new(0)));
        for expected in 0..2u32 {
            let asked = joined.call("a".into(), answer(Duration::from_secs(1), calls.clone()));
            assert_eq!(asked.await.unwrap(), expected.into_arc());
        }
        let failed = || async {
            tokio::time::sleep(SOON * 2).await;
            Err(Trouble::InDoubt("x".into()))
        };
        assert!(joined.call("b".into(), failed()).await.is_err());
        assert!(joined.call("b".into(), answer(Duration::ZERO, calls)).await.is_ok());
        let ended = joined.call("c".into(), async { panic!("x") }).await;
        assert!(matches!(ended, Err(Trouble::InDoubt(_))));
    }

    trait IntoArc {
        fn into_arc(self) -> Arc<Value>;
    }

    impl IntoArc for u32 {
        fn into_arc(self) -> Arc<Value> {
            Arc::new(self.into())
        }
    }
}
