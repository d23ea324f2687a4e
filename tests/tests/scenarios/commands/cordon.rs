//! A cordoned thread finishes what it has in hand and takes nothing new, until that is ended.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use e2e::{
    bus::refused,
    gate::Gate,
    state_watch::{is_in_c2, waits_for},
    testbed::{Testbed, sector},
    worker::{Worker, WorkerConfig},
};
use shared_msgs::{
    command::{CommandRequest, Outcome, Verb},
    error::ErrorKind,
    sector_manager::AllocateSector,
    selector::Selector,
    snapshot::{ThreadSnapshot, ThreadStatus, WorkerSnapshot},
};

async fn order(bed: &Testbed, verb: Verb, index: u32) -> Outcome {
    bed.bus.order("w1", verb, &CommandRequest::to(index)).await.unwrap().outcome
}

async fn worker_in_c2(bed: &mut Testbed, threads: usize) -> (Worker, Gate) {
    let gate = bed.gate("c2");
    let concurrent = format!("concurrent = {threads}");
    let config = WorkerConfig::new("w1").threads(threads).fixture(
        "c2",
        &["--hold", gate.path().to_str().unwrap()],
        &concurrent,
    );
    let worker = bed.worker(&config);
    bed.states.until("w1", "all in C2", |snapshot| snapshot.threads.iter().all(is_in_c2)).await;
    (worker, gate)
}

fn drained(thread: &ThreadSnapshot) -> bool {
    thread.cordoned
        && thread.state == "Empty"
        && thread.sector_id.is_none()
        && waits_for("uncordon")(thread)
}

#[tokio::test]
async fn a_cordoned_thread_finishes_its_sector_takes_no_other_and_stays_so_over_restarts() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (mut worker, mut gate) = worker_in_c2(&mut bed, 1).await;
    assert_eq!(order(&bed, Verb::Cordon, 0).await, Outcome::Cordoned);
    let shown = bed.bus.list("w1").await;
    assert!(shown.threads[0].cordoned && is_in_c2(&shown.threads[0]), "{shown:?}");
    assert_eq!((shown.summary.cordoned, shown.summary.running), (1, 1));
    assert_eq!(order(&bed, Verb::Cordon, 0).await, Outcome::AlreadyCordoned);
    assert_eq!(bed.bus.list("w1").await.threads[0].revision, shown.threads[0].revision);

    gate.open();
    bed.requests.until_finalized(sector(1)).await;
    let thread = bed.states.until_thread("w1", 0, "drained", drained).await;
    for crash in [false, true] {
        if crash {
            worker.kill9().await
        } else {
            assert!(worker.terminate().await.success())
        }
        worker.start();
        let pid = worker.pid();
        let next = bed
            .states
            .until("w1", "the next run", |snapshot| {
                snapshot.pid == pid && snapshot.summary.waiting == 1
            })
            .await;
        assert!(drained(&next.threads[0]), "{next:?}");
        assert_eq!((next.summary.cordoned, next.threads[0].revision), (1, thread.revision));
    }
    assert_eq!(bed.allocated().await, 1);

    assert_eq!(order(&bed, Verb::Uncordon, 0).await, Outcome::Uncordoned);
    bed.requests.until_finalized(sector(2)).await;
    assert_eq!(order(&bed, Verb::Uncordon, 0).await, Outcome::NotCordoned);
    assert_eq!(bed.bus.list("w1").await.summary.cordoned, 0);
}

#[tokio::test]
async fn a_cordon_that_is_answered_survives_a_crash_with_the_sector_in_hand() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (mut worker, mut gate) = worker_in_c2(&mut bed, 1).await;
    order(&bed, Verb::Cordon, 0).await;
    worker.kill9().await;
    worker.start();
    gate.open();
    bed.requests.until_finalized(sector(1)).await;
    bed.states.until_thread("w1", 0, "drained", drained).await;
    assert_eq!(bed.allocated().await, 1);
}

#[tokio::test]
async fn a_thread_that_waits_for_a_sector_manager_is_drained_at_once_and_later_asks_its_question_again()
 {
    let mut bed = Testbed::start().await;
    let _worker = bed.worker(&WorkerConfig::new("w1"));
    let waits = |thread: &ThreadSnapshot| {
        matches!(thread.status, ThreadStatus::Waiting { .. }) && !thread.cordoned
    };
    bed.states.until_thread("w1", 0, "it waits", waits).await;
    let asked = bed.requests.until("", |_: &AllocateSector| true).await.request_id;
    assert_eq!(order(&bed, Verb::Cordon, 0).await, Outcome::Cordoned);
    bed.states.until_thread("w1", 0, "drained", drained).await;

    let _manager = bed.mock_manager().await;
    let reported = bed.states.until("w1", "it reports", |_| true).await.seq;
    bed.states.until("w1", "it reports twice more", |snapshot| snapshot.seq > reported + 1).await;
    let thread = bed.bus.list("w1").await.threads[0].clone();
    assert!(drained(&thread), "{thread:?}");
    assert_eq!(order(&bed, Verb::Uncordon, 0).await, Outcome::Uncordoned);
    // The answer to the first question may have been a sector.
    let again =
        bed.requests.until("after the uncordon", |_: &AllocateSector| true).await.request_id;
    assert_eq!(again, asked);
    bed.states.until_stuck("w1").await;
}

#[tokio::test]
async fn a_worker_is_drained_once_all_threads_are_empty() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (_worker, mut gate) = worker_in_c2(&mut bed, 3).await;
    let all = CommandRequest::to_all(Selector { worker: vec!["w1".into()], ..Selector::default() });
    let reply = bed.bus.order_many("w1", Verb::Cordon, &all).await.unwrap();
    assert!(
        reply.threads.len() == 3
            && reply.threads.iter().all(|thread| thread.outcome == Some(Outcome::Cordoned)),
        "{reply:?}"
    );
    assert_eq!(bed.bus.list("w1").await.summary.empty, 0);
    gate.open();
    let empty = |snapshot: &WorkerSnapshot| {
        snapshot.summary.empty == 3 && snapshot.threads.iter().all(drained)
    };
    bed.states.until("w1", "drained", empty).await;
    assert_eq!(bed.allocated().await, 3);
}

#[tokio::test]
async fn a_cordoned_thread_is_paused_and_resumed_like_any_other() {
    let mut bed = Testbed::start().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    order(&bed, Verb::Cordon, 0).await;
    let refusal = refused(bed.bus.resume("w1", 0, None).await);
    assert!(matches!(refusal, ErrorKind::NotPaused { .. }), "{refusal:?}");
    assert_eq!(bed.bus.pause("w1", 0).await.unwrap().outcome, Outcome::Paused);
    let thread = bed.bus.list("w1").await.threads[0].clone();
    assert!(thread.cordoned && thread.status.is_paused(), "{thread:?}");
    assert_eq!(order(&bed, Verb::Uncordon, 0).await, Outcome::Uncordoned);
    assert!(bed.bus.list("w1").await.threads[0].status.is_paused());
    let stale = CommandRequest { if_revision: Some(thread.revision), ..CommandRequest::to(0) };
    let refusal = refused(bed.bus.order("w1", Verb::Cordon, &stale).await);
    assert_eq!(
        refusal,
        ErrorKind::RevisionMismatch { expected: thread.revision, actual: thread.revision + 1 }
    );
}
