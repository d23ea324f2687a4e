//! One process owns a worker's name: it keeps, gives back and makes anew its lease.

use e2e::{
    event_log::{EventLog, assert_exactly_once},
    leases,
    state_watch::waits_for,
    testbed::Testbed,
    worker::{Worker, WorkerConfig},
};
use shared_msgs::{
    codec::Encoding,
    command::{CommandRequest, Outcome, Verb},
    event::EventKind,
    selector::Selector,
    snapshot::WorkerSnapshot,
};

fn config(ttl: &str) -> WorkerConfig {
    WorkerConfig::new("w1").idle().nats("lease_ttl", ttl)
}

// A moment that a busy machine does not take, and a test can wait for.
const SHORT: &str = "'2s'";
// Nobody waits for the end of such a lease.
const LONG: &str = "'1h'";

async fn until_seen(bed: &mut Testbed, worker: &mut Worker) -> WorkerSnapshot {
    let pid = worker.pid();
    bed.states.until("w1", "it reports", |snapshot| snapshot.pid == pid).await
}

#[tokio::test]
async fn the_second_process_of_a_name_says_that_it_stands_by_and_takes_over_when_the_first_has_died()
 {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let mut first = bed.prepare_worker("first", &config(SHORT));
    let mut second = bed.prepare_worker("second", &config(SHORT));
    first.start();
    let shown = until_seen(&mut bed, &mut first).await;
    let epoch = shown.epoch.unwrap();
    let (lease, revision) = leases::holder(&bed.bus, "w1").await.unwrap();
    assert_eq!((lease.instance_id, lease.pid), (shown.instance_id, shown.pid));
    assert!(
        lease.epoch.is_none_or(|known| known == epoch) && revision >= epoch,
        "{lease:?} at {revision}"
    );

    second.start();
    second
        .log()
        .line_with(&["WARN", "another worker of this name", &shown.pid.to_string(), &shown.host])
        .await;
    let claims = leases::standing_by(&bed.bus, "w1", 1).await;
    assert_eq!(claims.iter().map(|claim| claim.pid).collect::<Vec<_>>(), [second.pid()]);
    assert_ne!(claims[0].worker_id, lease.worker_id);
    // One answers for the name; and nothing of the second one is in the history.
    let dry = CommandRequest {
        dry_run: true,
        ..CommandRequest::to_all(Selector { all: true, ..Selector::default() })
    };
    bed.bus.order_all(Verb::Cordon, Encoding::Json, &dry, 1, 1).await;
    assert_eq!(bed.bus.pause("w1", 0).await.unwrap().outcome, Outcome::Paused);
    let events = log.until_kind(EventKind::Command(Verb::Pause), 1).await;
    assert!(
        events.iter().all(|stored| stored.event.instance_id == shown.instance_id
            && stored.event.epoch == Some(epoch))
    );

    first.kill9().await;
    let next = until_seen(&mut bed, &mut second).await;
    assert!(next.epoch > Some(epoch), "{next:?}");
    assert!(!next.threads[0].status.is_paused());
    assert_eq!(leases::holder(&bed.bus, "w1").await.unwrap().0.instance_id, next.instance_id);
    assert_eq!(bed.bus.pause("w1", 0).await.unwrap().outcome, Outcome::Paused);
    let events = log.until_kind(EventKind::Command(Verb::Pause), 2).await;
    let last = &events.last().unwrap().event;
    assert_eq!((last.instance_id, last.epoch), (next.instance_id, next.epoch));
    assert_eq!(
        events.iter().filter(|stored| stored.event.kind == EventKind::WorkerStarted).count(),
        2
    );
}

#[tokio::test]
async fn the_same_worker_takes_its_lease_over_at_once_after_it_was_killed() {
    let mut bed = Testbed::start().await;
    let mut worker = bed.worker(&config(LONG));
    let mut epoch = until_seen(&mut bed, &mut worker).await.epoch;
    for _ in 0..3 {
        worker.kill9().await;
        worker.start();
        let next = until_seen(&mut bed, &mut worker).await;
        assert!(next.epoch > epoch, "{next:?} after epoch {epoch:?}");
        epoch = next.epoch;
        assert_eq!(bed.bus.list("w1").await.instance_id, next.instance_id);
    }
}

#[tokio::test]
async fn a_worker_that_stops_gives_its_name_back_at_once() {
    let mut bed = Testbed::start().await;
    EventLog::make(&bed.bus).await;
    bed.keep_states().await;
    let mut first = bed.prepare_worker("first", &config(LONG));
    let mut second = bed.prepare_worker("second", &config(LONG));
    first.start();
    let epoch = until_seen(&mut bed, &mut first).await.epoch;
    assert!(first.terminate().await.success());
    assert_eq!(leases::holder(&bed.bus, "w1").await, None);
    second.start();
    assert!(until_seen(&mut bed, &mut second).await.epoch > epoch);
}

#[tokio::test]
async fn of_two_processes_that_start_together_one_has_the_name() {
    let mut bed = Testbed::start().await;
    let mut workers =
        ["first", "second"].map(|directory| bed.prepare_worker(directory, &config(LONG)));
    workers.iter_mut().for_each(Worker::start);
    let pids = workers.each_mut().map(|worker| worker.pid());
    let shown = bed.states.until("w1", "it reports", |_| true).await;
    let other = &mut workers[usize::from(pids[0] == shown.pid)];
    other.log().line_with(&["WARN", "another worker of this name", &shown.pid.to_string()]).await;
    bed.states.until("w1", "two more reports", |snapshot| snapshot.seq > shown.seq + 1).await;
    assert!(
        bed.states.seen().iter().all(|(_, snapshot)| snapshot.instance_id == shown.instance_id)
    );
    assert_eq!(leases::holder(&bed.bus, "w1").await.unwrap().0.instance_id, shown.instance_id);
}

#[tokio::test]
async fn a_lease_bucket_that_was_deleted_is_made_again() {
    let mut bed = Testbed::start().await;
    let mut worker = bed.worker(&config("'1s'"));
    let shown = until_seen(&mut bed, &mut worker).await;
    let jetstream = async_nats::jetstream::new(bed.bus.client.clone());
    jetstream.delete_key_value(bed.bus.prefix.lease_bucket()).await.unwrap();
    let lease =
        leases::until(&bed.bus, "w1", "the worker has a lease again", |lease| lease.is_some())
            .await;
    assert_eq!(lease.unwrap().instance_id, shown.instance_id);
    assert_eq!(bed.bus.pause("w1", 0).await.unwrap().outcome, Outcome::Paused);
}

#[tokio::test]
async fn without_jetstream_whoever_answers_has_the_name() {
    let mut bed = Testbed::start_without_jetstream().await;
    let mut first = bed.prepare_worker("first", &config(SHORT));
    let mut second = bed.prepare_worker("second", &config(SHORT));
    first.start();
    let shown = until_seen(&mut bed, &mut first).await;
    assert_eq!(shown.epoch, None);
    assert_eq!(bed.bus.pause("w1", 0).await.unwrap().outcome, Outcome::Paused);
    let request = CommandRequest {
        request_id: Some(shared_msgs::id::Id::generate()),
        ..CommandRequest::to(0)
    };
    let resumed = bed.bus.order("w1", Verb::Resume, &request).await.unwrap();
    assert_eq!(bed.bus.order("w1", Verb::Resume, &request).await.unwrap(), resumed);
    bed.states.until_thread("w1", 0, "it waits again", waits_for("sector manager")).await;

    second.start();
    second.log().line_with(&["WARN", "another worker of this name", &shown.pid.to_string()]).await;
    first.kill9().await;
    until_seen(&mut bed, &mut second).await;
    assert_eq!(bed.bus.pause("w1", 0).await.unwrap().outcome, Outcome::Paused);
}

// Beside `log`: a store's events are whole also when their publisher was changed in between.
#[tokio::test]
async fn the_history_of_a_name_is_whole_over_both_of_its_processes() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    bed.keep_states().await;
    let mut first = bed.prepare_worker("first", &config(SHORT));
    let mut second = bed.prepare_worker("second", &config(SHORT));
    first.start();
    until_seen(&mut bed, &mut first).await;
    second.start();
    second.log().line_with(&["WARN", "another worker of this name"]).await;
    for verb in [Verb::Pause, Verb::Resume, Verb::Cordon] {
        bed.bus.order("w1", verb, &CommandRequest::to(0)).await.unwrap();
    }
    assert!(first.terminate().await.success());
    until_seen(&mut bed, &mut second).await;
    bed.bus.order("w1", Verb::Cordon, &CommandRequest::to(0)).await.unwrap();
    assert!(second.terminate().await.success());
    let events = log.until_stopped(2).await;
    // Two threads of one index: each has a chain of its own.
    for directory in [true, false] {
        let first_store = events[0].event.id.store;
        let of_one: Vec<_> = events
            .iter()
            .filter(|stored| (stored.event.id.store == first_store) == directory)
            .cloned()
            .collect();
        assert_exactly_once(&of_one);
    }
    let epochs: Vec<_> = events.iter().map(|stored| stored.event.epoch.unwrap()).collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
}
