//! Each event of a worker is in the stream once and in order, whatever fails meanwhile.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::time::Duration;

use e2e::{
    bus::name,
    event_log::{EventLog, Stored, assert_exactly_once, of_kind, of_request},
    leases,
    proxy::Proxy,
    state_watch::is_stuck,
    testbed::Testbed,
    worker::{Worker, WorkerConfig},
};
use shared_msgs::{
    command::{CommandRequest, Outcome, Verb},
    event::{Event, EventKind},
    id::Id,
    plan::{Plan, State},
    sector_manager::ReportFinalized,
    snapshot::WorkerSnapshot,
};

// The states that a thread has gone to, in order.
fn way(stored: &[Stored], index: u32) -> Vec<&str> {
    let steps =
        stored.iter().map(|stored| &stored.event).filter(|event| event.index == Some(index));
    steps
        .filter(|event| event.kind == EventKind::Transition)
        .filter_map(|event| event.to.as_deref())
        .collect()
}

fn sealed() -> Vec<&'static str> {
    let without = [State::Empty, State::SyntheticPoRepNeeded, State::Aborted];
    let states =
        Plan::Sealer.rows().iter().map(|row| row.state).filter(|state| !without.contains(state));
    states.map(|state| state.name()).chain([State::Empty.name()]).collect()
}

async fn until_sealed(log: &EventLog) {
    log.until("one sector is sealed", |events| way(events, 0).len() >= sealed().len()).await;
}

async fn order(bed: &Testbed, verb: Verb, index: u32) -> Id {
    let id = Id::generate();
    bed.bus
        .order("w1", verb, &CommandRequest { request_id: Some(id), ..CommandRequest::to(index) })
        .await
        .unwrap();
    id
}

async fn stop(worker: &mut Worker) {
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_sectors_way_is_told_step_by_step_with_what_began_and_ended() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").fixture_c2(&[]));
    let shown = bed.states.until("w1", "it reports", |_| true).await;
    until_sealed(&log).await;
    stop(&mut worker).await;

    let events = log.until_stopped(1).await;
    assert_exactly_once(&events);
    let (first, last) = (&events[0].event, &events.last().unwrap().event);
    assert_eq!(
        (first.kind, last.kind, first.index),
        (EventKind::WorkerStarted, EventKind::WorkerStopped, None)
    );
    assert!(
        events
            .iter()
            .all(|stored| stored.worker == "w1" && stored.event.instance_id == shown.instance_id)
    );
    assert!(
        events
            .iter()
            .all(|stored| stored.event.epoch.is_some() && stored.event.epoch == shown.epoch)
    );
    assert!(events.iter().map(|stored| stored.event.at).is_sorted());
    let way = way(&events, 0);
    assert_eq!(way[..sealed().len()], sealed()[..]);
    let of_sector =
        events.iter().filter(|stored| stored.event.sector_id.as_deref() == Some("s-t010000-1"));
    assert_eq!(of_sector.count(), sealed().len());
}

#[tokio::test]
async fn a_failure_says_what_failed_and_a_command_who_gave_it_and_why() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1"));
    let stuck = bed.states.until_stuck("w1").await.threads[0].clone();
    let resume = CommandRequest {
        state: Some("TreeDBuilt".into()),
        request_id: Some(Id::generate()),
        by: Some("alice@h1".into()),
        reason: Some("parameters are there".into()),
        ..CommandRequest::to(0)
    };
    bed.bus.order("w1", Verb::Resume, &resume).await.unwrap();
    bed.states
        .until_thread("w1", 0, "stuck again", |thread| {
            is_stuck(thread) && thread.revision > stuck.revision + 1
        })
        .await;
    // What would happen, and what is refused, is no history.
    bed.bus
        .order("w1", Verb::Cordon, &CommandRequest { dry_run: true, ..CommandRequest::to(0) })
        .await
        .unwrap();
    bed.bus
        .order(
            "w1",
            Verb::Cordon,
            &CommandRequest { if_revision: Some(0), ..CommandRequest::to(0) },
        )
        .await
        .unwrap_err();
    order(&bed, Verb::Cordon, 0).await;
    order(&bed, Verb::Uncordon, 0).await;
    stop(&mut worker).await;

    let events = log.until_stopped(1).await;
    assert_exactly_once(&events);
    let failures = of_kind(&events, EventKind::Failure);
    assert_eq!(failures.len(), 2);
    assert_eq!((&failures[0].error, failures[0].revision), (&stuck.last_err, Some(stuck.revision)));
    let told = of_request(&events, resume.request_id.unwrap());
    let [told] = told[..] else { panic!("{told:?}") };
    assert_eq!(
        (told.kind, told.by.as_deref(), told.reason.as_deref()),
        (EventKind::Command(Verb::Resume), Some("alice@h1"), Some("parameters are there"))
    );
    assert_eq!(
        told.outcome,
        Some(Outcome::Resumed { from: "C1Done".into(), to: "TreeDBuilt".into() })
    );
    assert_eq!(
        (told.from.as_deref(), told.to.as_deref(), told.revision),
        (Some("C1Done"), Some("TreeDBuilt"), Some(stuck.revision + 1))
    );
    assert_eq!(
        (
            of_kind(&events, EventKind::Command(Verb::Cordon)).len(),
            of_kind(&events, EventKind::Command(Verb::Uncordon)).len()
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn a_pause_that_was_pending_is_told_when_it_was_asked_and_when_it_took_effect() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let mut worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", e2e::state_watch::is_in_c2).await;
    let id = order(&bed, Verb::Pause, 0).await;
    gate.open();
    bed.states.until_thread("w1", 0, "paused", |thread| thread.status.is_paused()).await;
    stop(&mut worker).await;
    let events = log.until_stopped(1).await;
    assert_exactly_once(&events);
    assert!(matches!(of_request(&events, id)[0].outcome, Some(Outcome::PausePending { .. })));
    let kinds: Vec<_> = events.iter().map(|stored| stored.event.kind).collect();
    let tail = [
        EventKind::Command(Verb::Pause),
        EventKind::Transition,
        EventKind::Paused,
        EventKind::WorkerStopped,
    ];
    assert_eq!(kinds[kinds.len() - 4..], tail);
}

#[tokio::test]
async fn events_wait_for_their_stream_and_for_one_that_was_deleted() {
    let mut bed = Testbed::start().await;
    bed.keep_states().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").threads(2).idle());
    bed.states.until("w1", "they wait", |snapshot| snapshot.summary.waiting == 2).await;
    let ids = [order(&bed, Verb::Pause, 0).await, order(&bed, Verb::Pause, 1).await];
    let log = EventLog::make(&bed.bus).await;
    let events = log.until_kind(EventKind::Command(Verb::Pause), 2).await;
    assert_exactly_once(&events);
    assert_eq!(events[0].event.kind, EventKind::WorkerStarted);
    assert!(ids.iter().all(|id| of_request(&events, *id).len() == 1));

    let published = events.len();
    log.delete().await;
    let without = order(&bed, Verb::Resume, 1).await;
    let log = EventLog::make(&bed.bus).await;
    let ids = [without, order(&bed, Verb::Resume, 0).await];
    let events = log.until_kind(EventKind::Command(Verb::Resume), 2).await;
    assert_eq!(events.len(), 2, "what was published before ({published}) is gone with its stream");
    assert!(ids.iter().all(|id| of_request(&events, *id).len() == 1));
    stop(&mut worker).await;
    log.until_stopped(1).await;
}

#[tokio::test]
async fn what_happened_before_a_crash_is_published_by_the_next_run() {
    let mut bed = Testbed::start().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").idle());
    let first = bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    // There is no stream yet: everything stays with the worker.
    let id = order(&bed, Verb::Pause, 0).await;
    worker.kill9().await;
    let log = EventLog::make(&bed.bus).await;
    worker.start();
    let events = log.until_kind(EventKind::WorkerStarted, 2).await;
    assert_exactly_once(&events);
    assert_eq!(of_request(&events, id).len(), 1);
    // Who publishes an event is who holds the lease by then.
    assert!(
        events.iter().all(|stored| stored.event.instance_id != first.instance_id
            && stored.event.epoch > first.epoch)
    );
    assert_eq!(
        events[2..]
            .iter()
            .filter(|stored| stored.event.id.store == events[0].event.id.store)
            .count(),
        0
    );
}

#[tokio::test]
async fn a_worker_that_dies_at_every_commit_tells_each_step_once() {
    let bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.prepare_worker("worker", &WorkerConfig::new("w1").fixture_c2(&[]));
    // On the way of one sector.
    for state in sealed().into_iter().take(sealed().len() - 1) {
        for moment in ["before", "after"] {
            worker.start_to_die_at(&format!("{moment}-commit:{state}"));
            worker.died_at_failpoint().await;
        }
    }
    worker.start();
    until_sealed(&log).await;
    stop(&mut worker).await;
    let events = log.until_stopped(1).await;
    assert_exactly_once(&events);
    assert_eq!(way(&events, 0)[..sealed().len()], sealed()[..]);
}

#[tokio::test]
async fn a_worker_that_is_killed_at_any_moment_tells_each_step_once() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").threads(2).fixture_c2(&[]));
    // The library's file of parents is made by the first PC1, and does not survive a crash in the
    // middle of that.
    log.until("both are past PC1", |events| {
        (0..2).all(|index| way(events, index).contains(&"PC1Done"))
    })
    .await;
    for kill in 0..10 {
        let before = log.until("what there is", |_| true).await;
        // Wherever the worker is when so many more are stored; each thread has done a step, or it
        // would be given up as one that kills the worker.
        let steps = |events: &[Stored]| [way(events, 0).len(), way(events, 1).len()];
        let enough = |events: &[Stored]| {
            events.len() > before.len() + kill
                && steps(events).iter().zip(steps(&before)).all(|(now, before)| *now > before)
        };
        log.until("more events", enough).await;
        worker.kill9().await;
        worker.start();
    }
    let sealed = bed.allocated().await;
    bed.requests
        .until::<ReportFinalized>("of a later sector", |request| request.sector.number > sealed)
        .await;
    let pid = worker.pid();
    bed.states.until("w1", "this run reports", |snapshot| snapshot.pid == pid).await;
    stop(&mut worker).await;
    let events = log.until_stopped(1).await;
    assert_exactly_once(&events);
    assert_eq!(of_kind(&events, EventKind::WorkerStarted).len(), 11);
}

#[tokio::test]
async fn a_server_that_is_killed_again_and_again_has_each_event_once() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").threads(2).fixture_c2(&[]));
    for kill in 0..5 {
        let before = log.until("more events", |_| true).await.len();
        log.until("more events", |events| events.len() > before + 3 * kill).await;
        bed.nats.kill9().await;
        bed.nats.restart().await;
    }
    let allocated = bed.allocated().await;
    bed.requests
        .until::<ReportFinalized>("of a later sector", |request| request.sector.number > allocated)
        .await;
    let reported = |snapshot: &WorkerSnapshot| snapshot.epoch.is_some();
    bed.states.until("w1", "it reports", reported).await;
    stop(&mut worker).await;
    let events = log.until_stopped(1).await;
    assert_exactly_once(&events);
    assert_eq!(of_kind(&events, EventKind::WorkerStarted).len(), 1);
}

#[tokio::test]
async fn a_network_that_fails_in_every_way_loses_and_doubles_no_event() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    leases::make(&bed.bus, Duration::from_secs(1)).await;
    let _manager = bed.mock_manager().await;
    let proxy = bed.proxy().await;
    let config = WorkerConfig::new("w1").threads(2).fixture_c2(&[]);
    let mut worker = bed.prepare_worker_behind(&proxy, "worker", &config);
    worker.start();
    let failures: [fn(&Proxy); 4] =
        [Proxy::cut, Proxy::hold, Proxy::hold_answers, Proxy::hold_requests];
    for (round, fail) in failures.iter().cycle().take(8).enumerate() {
        let before = log.until("more events", |_| true).await.len();
        log.until("more events", |events| events.len() > before + round).await;
        fail(&proxy);
        if round >= 4 {
            leases::until(&bed.bus, "w1", "the lease has expired", |lease| lease.is_none()).await;
        }
        proxy.heal();
    }
    bed.bus.served(&bed.bus.command("w1", "list")).await;
    let allocated = bed.allocated().await;
    bed.requests
        .until::<ReportFinalized>("of a later sector", |request| request.sector.number > allocated)
        .await;
    stop(&mut worker).await;
    let events = log.until_stopped(1).await;
    assert_exactly_once(&events);
}

#[tokio::test]
async fn an_event_that_nobody_confirmed_and_that_is_stored_is_not_stored_again() {
    let bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let _manager = bed.mock_manager().await;
    let proxy = bed.proxy().await;
    let mut gate = bed.gate("c2");
    let mut worker =
        bed.prepare_worker_behind(&proxy, "worker", &WorkerConfig::new("w1").held_c2(&gate));
    worker.start();
    log.until("it is in C2", |events| way(events, 0).contains(&"C1Done")).await;
    // Everything before is confirmed: what the server sends to the worker comes in order.
    bed.bus.served(&bed.bus.command("w1", "list")).await;
    bed.bus.list("w1").await;
    proxy.hold_answers();
    gate.open();
    log.until("C2 is done", |events| way(events, 0).contains(&"C2Done")).await;
    worker.kill9().await;
    proxy.heal();
    worker.start();
    until_sealed(&log).await;
    stop(&mut worker).await;
    assert_exactly_once(&log.until_stopped(1).await);
}

#[tokio::test]
async fn what_others_write_under_a_workers_name_holds_up_nothing() {
    let mut bed = Testbed::start().await;
    bed.keep_states().await;
    let log = EventLog::make(&bed.bus).await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    log.until_kind(EventKind::WorkerStarted, 1).await;
    let stranger = Event {
        id: shared_msgs::event::EventId { store: Id::generate(), n: 1 },
        ..Event::new(EventKind::Other, 1)
    };
    bed.bus.record("w1", &stranger).await;
    let id = order(&bed, Verb::Pause, 0).await;
    let events = log.until_kind(EventKind::Command(Verb::Pause), 1).await;
    assert_eq!(of_request(&events, id).len(), 1);
    assert_eq!(bed.bus.prefix.events_of(&name("w1")), "damocles.v1.event.w1.>");
    stop(&mut worker).await;
    assert_exactly_once(&log.until_stopped(1).await);
}
