//! How much of a stage runs at once in this worker, wherever it runs: `[processors.limitation]`.

use std::{collections::HashMap, time::Duration};

use tokio::{
    sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};

use super::settings::ProcessorsConfig;
use crate::activity::Activity;

/// The limits of all stages.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    slots: HashMap<String, Semaphore>,
    staggers: HashMap<String, Stagger>,
}

#[derive(Debug)]
struct Stagger {
    interval: Duration,
    /// When the stage was started last. Whoever holds it is the next to start.
    last: Mutex<Option<Instant>>,
}

/// The turn to start a stage. Given back without [`Turn::started`], it costs nobody anything.
pub(crate) struct Turn<'a>(Option<MutexGuard<'a, Option<Instant>>>);

impl Turn<'_> {
    /// The stage starts now; the next one waits for its interval from here on.
    pub(crate) fn started(self) {
        if let Some(mut last) = self.0 {
            *last = Some(Instant::now());
        }
    }
}

impl Limits {
    /// The limits of a configuration.
    pub(crate) fn new(config: &ProcessorsConfig) -> Self {
        let slots = config.concurrent.iter().map(|(stage, count)| {
            (stage.clone(), Semaphore::new((*count).min(Semaphore::MAX_PERMITS)))
        });
        let stagger = |interval: &Duration| Stagger { interval: *interval, last: Mutex::new(None) };
        let staggers =
            config.staggered.iter().map(|(stage, interval)| (stage.clone(), stagger(interval)));
        Limits { slots: slots.collect(), staggers: staggers.collect() }
    }

    /// Waits until one more task of a stage may run, in order of arrival. Can be interrupted.
    pub(crate) async fn slot(
        &self,
        stage: &str,
        activity: &Activity,
    ) -> Option<SemaphorePermit<'_>> {
        let slots = self.slots.get(stage)?;
        // The semaphore is never closed.
        activity.wait(format!("{stage} slot"), slots.acquire()).await.ok()
    }

    /// Waits until a stage may start, in order of arrival. Can be interrupted.
    pub(crate) async fn turn(&self, stage: &str, activity: &Activity) -> Turn<'_> {
        let Some(stagger) = self.staggers.get(stage) else { return Turn(None) };
        let turn = async {
            let last = stagger.last.lock().await;
            if let Some(last) = *last {
                sleep(stagger.interval.saturating_sub(last.elapsed())).await;
            }
            last
        };
        Turn(Some(activity.wait(format!("{stage} stagger"), turn).await))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, task::Poll};

    use super::*;
    use crate::activity::Kind;

    const INTERVAL: Duration = Duration::from_millis(50);

    fn limits() -> Arc<Limits> {
        let interval = INTERVAL;
        Arc::new(Limits::new(&ProcessorsConfig {
            concurrent: [("pc1".to_owned(), 1)].into(),
            staggered: [("pc1".to_owned(), interval)].into(),
            ..ProcessorsConfig::default()
        }))
    }

    #[tokio::test]
    async fn starts_are_apart_and_in_order_and_a_cancelled_one_costs_nothing() {
        let limits = limits();
        let begin = Instant::now();
        limits.turn("pc1", &Activity::begin()).await.started();
        let activity = Activity::begin();
        let mut cancelled = Box::pin(limits.turn("pc1", &activity));
        assert!(matches!(futures::poll!(&mut cancelled), Poll::Pending));
        assert_eq!(activity.now().kind, Kind::Waiting { reason: "pc1 stagger".into() });
        let [mut third, mut fourth] = [0; 2].map(|_| {
            let limits = limits.clone();
            Box::pin(async move {
                limits.turn("pc1", &Activity::begin()).await.started();
                begin.elapsed()
            })
        });
        assert!(matches!(
            (futures::poll!(&mut third), futures::poll!(&mut fourth)),
            (Poll::Pending, Poll::Pending)
        ));
        drop(cancelled);
        let (third, fourth) = tokio::join!(third, fourth);
        assert!(third >= INTERVAL && fourth >= third + INTERVAL, "{third:?} {fourth:?}");
    }

    #[tokio::test]
    async fn slots_are_given_in_order_and_other_stages_have_no_limit() {
        let limits = limits();
        let activity = Activity::begin();
        let first = limits.slot("pc1", &activity).await;
        let (mut second, mut third) =
            (Box::pin(limits.slot("pc1", &activity)), Box::pin(limits.slot("pc1", &activity)));
        assert!(
            futures::poll!(&mut second).is_pending() && futures::poll!(&mut third).is_pending()
        );
        assert_eq!(activity.now().kind, Kind::Waiting { reason: "pc1 slot".into() });
        assert!(limits.slot("c2", &activity).await.is_none());
        drop(first);
        assert!(futures::poll!(&mut third).is_pending());
        drop(second);
        assert!(futures::poll!(&mut third).is_ready());
    }
}
