//! A repeat under a request id gets the first answer and does nothing, whatever happened since.

use e2e::{
    bus::refused,
    event_log::{EventLog, of_kind, of_request},
    testbed::Testbed,
    worker::{Worker, WorkerConfig},
};
use shared_msgs::{
    command::{CommandRequest, Outcome, Verb},
    error::ErrorKind,
    event::EventKind,
    id::Id,
    selector::Selector,
    snapshot::WorkerSnapshot,
};

async fn idle_worker(bed: &mut Testbed, threads: usize) -> Worker {
    bed.keep_states().await;
    let worker = bed.worker(&WorkerConfig::new("w1").threads(threads).idle());
    bed.states
        .until("w1", "all threads wait", |snapshot| snapshot.summary.waiting == threads as u32)
        .await;
    worker
}

// The worker dies without warning, and is there again.
async fn crash(bed: &mut Testbed, worker: &mut Worker) -> WorkerSnapshot {
    worker.kill9().await;
    worker.start();
    let pid = worker.pid();
    bed.states.until("w1", "the next run", |snapshot| snapshot.pid == pid).await
}

fn command(index: u32, request_id: Id) -> CommandRequest {
    CommandRequest { request_id: Some(request_id), ..CommandRequest::to(index) }
}

fn waiting(request_id: Id) -> CommandRequest {
    let selector = Selector { status: vec!["waiting".into()], ..Selector::default() };
    CommandRequest { request_id: Some(request_id), ..CommandRequest::to_all(selector) }
}

fn all(request_id: Id) -> CommandRequest {
    let selector = Selector { all: true, ..Selector::default() };
    CommandRequest { request_id: Some(request_id), ..CommandRequest::to_all(selector) }
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_does_nothing_also_after_a_crash() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let mut worker = idle_worker(&mut bed, 1).await;
    let id = Id::generate();
    let first = bed.bus.order("w1", Verb::Pause, &command(0, id)).await.unwrap();
    assert_eq!(first.outcome, Outcome::Paused);
    bed.bus.resume("w1", 0, None).await.unwrap();

    let revision = bed.bus.list("w1").await.threads[0].revision;
    // Who asks, and why, is not what is asked.
    let again =
        CommandRequest { by: Some("bob@h".into()), reason: Some("again".into()), ..command(0, id) };
    assert_eq!(bed.bus.order("w1", Verb::Pause, &again).await.unwrap(), first);
    crash(&mut bed, &mut worker).await;
    assert_eq!(bed.bus.order("w1", Verb::Pause, &again).await.unwrap(), first);
    assert_eq!(bed.bus.list("w1").await.threads[0].revision, revision);

    assert!(worker.terminate().await.success());
    let events = log.until_stopped(1).await;
    assert_eq!(of_request(&events, id).len(), 1);
    assert_eq!(of_kind(&events, EventKind::Command(Verb::Pause)).len(), 1);
}

#[tokio::test]
async fn a_refusal_is_repeated_too_although_the_command_would_be_carried_out_by_now() {
    let mut bed = Testbed::start().await;
    let mut worker = idle_worker(&mut bed, 1).await;
    let id = Id::generate();
    let not_paused = ErrorKind::NotPaused { status: "waiting".into() };
    assert_eq!(refused(bed.bus.order("w1", Verb::Resume, &command(0, id)).await), not_paused);
    let paused = bed.bus.pause("w1", 0).await.unwrap();
    assert_eq!(refused(bed.bus.order("w1", Verb::Resume, &command(0, id)).await), not_paused);
    let next = crash(&mut bed, &mut worker).await;
    assert_eq!(next.threads[0].revision, paused.revision);
    assert_eq!(refused(bed.bus.order("w1", Verb::Resume, &command(0, id)).await), not_paused);
    assert!(bed.bus.list("w1").await.threads[0].status.is_paused());
    // Under an id of its own it is carried out.
    let resumed = bed.bus.order("w1", Verb::Resume, &command(0, Id::generate())).await.unwrap();
    assert!(matches!(resumed.outcome, Outcome::Resumed { .. }), "{resumed:?}");
}

#[tokio::test]
async fn another_command_under_a_used_id_is_refused_and_changes_nothing() {
    let mut bed = Testbed::start().await;
    let _worker = idle_worker(&mut bed, 1).await;
    let id = Id::generate();
    let paused = bed.bus.order("w1", Verb::Pause, &command(0, id)).await.unwrap();
    let reused = ErrorKind::RequestIdReused { request_id: id };
    for (verb, request) in [
        (Verb::Resume, command(0, id)),
        (Verb::Cordon, command(0, id)),
        (Verb::Pause, CommandRequest { now: true, ..command(0, id) }),
        (Verb::Pause, CommandRequest { if_revision: Some(1), ..command(0, id) }),
    ] {
        assert_eq!(refused(bed.bus.order("w1", verb, &request).await), reused, "{request:?}");
    }
    let many = bed.bus.order_many("w1", Verb::Pause, &all(id)).await.unwrap();
    assert_eq!(many.threads[0].error.as_ref().map(|error| &error.kind), Some(&reused), "{many:?}");
    assert_eq!(bed.bus.list("w1").await.threads[0].revision, paused.revision);
}

#[tokio::test]
async fn what_would_be_done_does_not_use_an_id_up() {
    let mut bed = Testbed::start().await;
    let _worker = idle_worker(&mut bed, 1).await;
    let id = Id::generate();
    let revision = bed.bus.list("w1").await.threads[0].revision;
    let would = bed
        .bus
        .order("w1", Verb::Pause, &CommandRequest { dry_run: true, ..command(0, id) })
        .await
        .unwrap();
    assert_eq!((would.outcome, would.revision), (Outcome::Paused, revision));
    assert_eq!(bed.bus.list("w1").await.summary.paused, 0);
    let done = bed.bus.order("w1", Verb::Pause, &command(0, id)).await.unwrap();
    assert_eq!((done.outcome, done.revision), (Outcome::Paused, revision + 1));
}

#[tokio::test]
async fn a_repeat_for_many_threads_is_answered_from_the_first_list_although_more_would_fit() {
    let mut bed = Testbed::start().await;
    let mut worker = idle_worker(&mut bed, 3).await;
    bed.bus.pause("w1", 1).await.unwrap();
    let id = Id::generate();
    let first = bed.bus.order_many("w1", Verb::Pause, &waiting(id)).await.unwrap();
    let done: Vec<_> =
        first.threads.iter().map(|thread| (thread.index, thread.outcome.clone())).collect();
    assert_eq!(done, [(0, Some(Outcome::Paused)), (2, Some(Outcome::Paused))]);

    for index in 0..3 {
        bed.bus.resume("w1", index, None).await.unwrap();
    }
    let revisions = async || {
        bed.bus.list("w1").await.threads.iter().map(|thread| thread.revision).collect::<Vec<_>>()
    };
    let before = revisions().await;
    assert_eq!(
        bed.bus.order_many("w1", Verb::Pause, &waiting(id)).await.unwrap().threads,
        first.threads
    );
    assert_eq!(revisions().await, before);
    crash(&mut bed, &mut worker).await;
    assert_eq!(
        bed.bus.order_many("w1", Verb::Pause, &waiting(id)).await.unwrap().threads,
        first.threads
    );
    let revisions =
        bed.bus.list("w1").await.threads.iter().map(|thread| thread.revision).collect::<Vec<_>>();
    assert_eq!(revisions, before);

    let reused = ErrorKind::RequestIdReused { request_id: id };
    assert_eq!(refused(bed.bus.order_many("w1", Verb::Cordon, &waiting(id)).await), reused);
    assert_eq!(refused(bed.bus.order_many("w1", Verb::Pause, &all(id)).await), reused);
}

#[tokio::test]
async fn of_copies_that_arrive_together_one_acts_and_all_are_answered_alike() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let mut worker = idle_worker(&mut bed, 3).await;
    let (one, many) = (Id::generate(), Id::generate());
    let cordon = async || bed.bus.order("w1", Verb::Cordon, &command(1, one)).await.unwrap();
    let replies = futures::future::join_all((0..20).map(|_| cordon())).await;
    assert!(
        replies.iter().all(|reply| *reply == replies[0] && reply.outcome == Outcome::Cordoned),
        "{replies:?}"
    );
    let pause = async || bed.bus.order_many("w1", Verb::Pause, &waiting(many)).await.unwrap();
    let replies = futures::future::join_all((0..20).map(|_| pause())).await;
    assert!(
        replies.iter().all(|reply| *reply == replies[0] && reply.threads.len() == 3),
        "{replies:?}"
    );

    assert!(worker.terminate().await.success());
    let events = log.until_stopped(1).await;
    assert_eq!((of_request(&events, one).len(), of_request(&events, many).len()), (1, 3));
}

#[tokio::test]
async fn a_command_for_many_that_a_crash_interrupts_is_finished_by_its_repeat() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let mut worker = idle_worker(&mut bed, 8).await;
    let mut ids = vec![];
    for round in 0..3 {
        let id = Id::generate();
        let (verb, outcome) = if round % 2 == 0 {
            (Verb::Cordon, Outcome::Cordoned)
        } else {
            (Verb::Uncordon, Outcome::Uncordoned)
        };
        let request = all(id);
        let inbox = bed.bus.client.new_inbox();
        let body = serde_json::to_vec(&request).unwrap();
        bed.bus
            .client
            .publish_with_reply(bed.bus.command("w1", verb.name()), inbox, body.into())
            .await
            .unwrap();
        bed.bus.client.flush().await.unwrap();
        crash(&mut bed, &mut worker).await;
        let repeated = bed.bus.order_many("w1", verb, &request).await.unwrap();
        assert_eq!(repeated.threads.len(), 8);
        assert!(
            repeated.threads.iter().all(|thread| thread.outcome.as_ref() == Some(&outcome)),
            "{repeated:?}"
        );
        ids.push(id);
    }
    assert!(worker.terminate().await.success());
    let events = log.until_stopped(1).await;
    assert!(ids.iter().all(|id| of_request(&events, *id).len() == 8));
}
