//! Whether the worker's history stands still: events wait, NATS is there, and none of them gets
//! through. The worker warns, and its reports say so.

use std::{sync::Arc, time::Duration};

use damocles_client::connect::Link;
use damocles_daemon::standstill::{Announcer, Say};
use shared_msgs::duration::human_secs;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};
use tracing::{info, warn};

use crate::{
    events::{EventPublisher, Progress},
    identity::Worker,
    lease::LeaseState,
};

/// Since when nothing gets through.
#[derive(Debug, Default)]
struct Stillness {
    since: Option<Instant>,
    published: u64,
}

impl Stillness {
    // Whether events wait that should go out, how many have gone out, and so since when none has
    // although some should.
    fn look(&mut self, waits: bool, published: u64, now: Instant) -> Option<Instant> {
        let goes_on = !waits || published != self.published;
        self.published = published;
        self.since = if goes_on { None } else { Some(self.since.unwrap_or(now)) };
        self.since
    }
}

/// Watches the publisher for ever.
pub(crate) async fn watch(
    worker: Arc<Worker>,
    events: Arc<EventPublisher>,
    link: watch::Receiver<Link>,
    changed: Arc<Notify>,
    patience: Duration,
) {
    let (mut stillness, mut announcer) = (Stillness::default(), Announcer::default());
    loop {
        sleep(patience / 12).await;
        let should_go_out = matches!(*link.borrow(), Link::Up(_))
            && !matches!(*events.lease.borrow(), LeaseState::StandingBy | LeaseState::Unleased);
        let waits = should_go_out && events.has_some().await;
        let Progress { published, trouble } = events.progress.borrow().clone();
        let now = Instant::now();
        let since = stillness.look(waits, published, now).filter(|since| now - *since >= patience);
        let why =
            trouble.unwrap_or_else(|| "the lease of the worker's name cannot be confirmed".into());
        match announcer.look(since.is_some(), now) {
            Some(Say::StandsStill) => {
                let elapsed = since.map(|since| human_secs(now - since));
                warn!(
                    elapsed,
                    why,
                    "the history stands still: JetStream does not store what happens here; it is kept until it does"
                );
            }
            Some(Say::GoesOn) => info!("the history goes on"),
            None => {}
        }
        if worker.history_stands_still(since.map(|since| (since, why))) {
            changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use damocles_client::connect::DEFAULT_STORE_PATIENCE;
    use redb::backends::InMemoryBackend;
    use shared_msgs::{
        event::{Event, EventKind},
        id::Id,
        subject::Prefix,
    };
    use tokio::time::timeout;

    use super::*;
    use crate::store::database::Store;

    #[tokio::test(start_paused = true)]
    async fn after_a_minute_the_workers_reports_say_so_until_it_is_over() {
        let outgoing = Arc::default();
        let store = Store::in_memory(InMemoryBackend::new, Arc::clone(&outgoing)).unwrap();
        store.note(Event::new(EventKind::Transition, 1)).await.unwrap();
        let lease = watch::Sender::new(LeaseState::Held { epoch: 7, until: None });
        let worker = Arc::new(Worker::new(
            "w1".parse().unwrap(),
            Prefix::default(),
            DEFAULT_STORE_PATIENCE,
            lease.subscribe(),
            vec![],
            crate::clock::system,
        ));
        let progress = watch::Sender::default();
        let events = EventPublisher {
            stores: vec![store],
            outgoing,
            lease: lease.subscribe(),
            instance_id: Id::NIL,
            progress,
        };
        let (events, link, changed) =
            (Arc::new(events), watch::Sender::new(Link::Up(1)), Arc::new(Notify::new()));
        tokio::spawn(watch(
            worker.clone(),
            events.clone(),
            link.subscribe(),
            changed.clone(),
            DEFAULT_STORE_PATIENCE,
        ));
        assert!(
            timeout(DEFAULT_STORE_PATIENCE, changed.notified()).await.is_err(),
            "not before a minute"
        );
        changed.notified().await;
        let standstill = worker.snapshot().history_stands_still.unwrap();
        assert_eq!(
            (standstill.elapsed_ms, standstill.why.contains("lease")),
            (60_000, true),
            "{standstill:?}"
        );
        link.send_replace(Link::Down);
        changed.notified().await;
        assert_eq!(worker.snapshot().history_stands_still, None, "an outage is said elsewhere");
    }

    #[test]
    fn only_events_that_wait_while_none_gets_through_stand_still() {
        let (mut stillness, began) = (Stillness::default(), Instant::now());
        let at = |secs| began + Duration::from_secs(secs);
        assert_eq!(stillness.look(false, 0, at(0)), None);
        assert_eq!(stillness.look(true, 0, at(5)), Some(at(5)));
        assert_eq!(stillness.look(true, 0, at(70)), Some(at(5)));
        assert_eq!(stillness.look(true, 1, at(75)), None, "one got through");
        assert_eq!(stillness.look(true, 1, at(80)), Some(at(80)));
        assert_eq!(
            stillness.look(false, 1, at(85)),
            None,
            "no link, another process holds the lease, or nothing waits"
        );
    }
}
