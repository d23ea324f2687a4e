//! `pause` acts at once while a thread waits, at the end of a stage that runs, and stays.

use e2e::{
    gate::Gate,
    state_watch::{is_in_c2, is_paused, is_stuck},
    testbed::{Testbed, sector},
    worker::{Worker, WorkerConfig},
};
use shared_msgs::{
    command::Outcome,
    snapshot::{PausedBy, ThreadStatus},
};

async fn worker_in_c2(bed: &mut Testbed) -> (Worker, Gate) {
    let gate = bed.gate("c2");
    let worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;
    (worker, gate)
}

#[tokio::test]
async fn a_thread_that_waits_for_a_sector_is_paused_at_once() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    // It asks again in an hour: a pause that waited for that would fail the test.
    let worker = bed.worker(&WorkerConfig::new("w1").idle());
    let waits = |thread: &shared_msgs::snapshot::ThreadSnapshot| matches!(&thread.status, ThreadStatus::Waiting { reason, .. } if reason == "sector");
    bed.states.until_thread("w1", 0, "it waits for a sector", waits).await;

    worker.cli(&["pause", "--index", "0"]).await.expect(0);
    let thread = &bed.bus.list("w1").await.threads[0];
    assert!(is_paused(thread, PausedBy::Operator) && thread.sector_id.is_none(), "{thread:?}");

    let paused = thread.revision;
    worker.cli(&["resume", "--index", "0"]).await.expect(0);
    bed.states
        .until_thread("w1", 0, "it waits again", |thread| waits(thread) && thread.revision > paused)
        .await;
}

#[tokio::test]
async fn a_thread_that_waits_for_a_manager_is_paused_at_once() {
    let mut bed = Testbed::start().await;
    let _worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states
        .until_thread("w1", 0, "it waits", |thread| {
            matches!(thread.status, ThreadStatus::Waiting { .. })
        })
        .await;
    assert_eq!(bed.bus.pause("w1", 0).await.unwrap().outcome, Outcome::Paused);
    assert!(is_paused(&bed.bus.list("w1").await.threads[0], PausedBy::Operator));
}

#[tokio::test]
async fn a_thread_in_a_stage_is_paused_when_the_stage_ends() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (worker, mut gate) = worker_in_c2(&mut bed).await;

    let reply = bed.bus.pause("w1", 0).await.unwrap();
    assert_eq!(reply.outcome, Outcome::PausePending { stage: "C2".into(), why: None });
    let snapshot = bed.bus.list("w1").await;
    assert!(
        matches!(snapshot.threads[0].status, ThreadStatus::PausePending { .. }),
        "{snapshot:?}"
    );
    assert_eq!((snapshot.summary.running, snapshot.summary.paused), (1, 0));
    let list = worker.cli(&["list"]).await.expect(0);
    assert!(
        list.stdout.contains("paused=false, paused_elapsed=None, state=C1Done"),
        "{}",
        list.stdout
    );

    gate.open();
    let paused = |thread: &_| is_paused(thread, PausedBy::Operator);
    let thread = bed.states.until_thread("w1", 0, "paused by the operator", paused).await;
    assert_eq!((thread.state.as_str(), thread.last_err), ("C2Done", None));
    let resumed = bed.bus.resume("w1", 0, None).await.unwrap();
    assert_eq!(resumed.outcome, Outcome::Resumed { from: "C2Done".into(), to: "C2Done".into() });
    bed.requests.until_finalized(sector(1)).await;
}

#[tokio::test]
async fn a_pause_that_is_pending_can_be_withdrawn() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (_worker, mut gate) = worker_in_c2(&mut bed).await;
    bed.bus.pause("w1", 0).await.unwrap();
    assert_eq!(bed.bus.resume("w1", 0, None).await.unwrap().outcome, Outcome::PauseWithdrawn);
    gate.open();
    bed.requests.until_finalized(sector(1)).await;
}

#[tokio::test]
async fn the_pause_of_a_paused_thread_changes_nothing_but_who_paused_it() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1"));
    let stuck = bed.states.until_stuck("w1").await.threads[0].clone();

    worker.cli(&["pause", "--index", "0"]).await.expect(0);
    assert_eq!(bed.bus.pause("w1", 0).await.unwrap().outcome, Outcome::AlreadyPaused);
    let thread = bed.bus.list("w1").await.threads[0].clone();
    assert!(is_paused(&thread, PausedBy::Operator), "{thread:?}");
    assert_eq!(
        (&thread.state, &thread.sector_id, &thread.last_err),
        (&stuck.state, &stuck.sector_id, &stuck.last_err)
    );
    assert!(thread.last_err.is_some());

    // The next resume is not undone.
    worker.cli(&["resume", "--index", "0"]).await.expect(0);
    bed.states
        .until_thread("w1", 0, "C2 failed again", |now| {
            is_stuck(now) && now.revision > thread.revision
        })
        .await;
}

#[tokio::test]
async fn an_operators_pause_outlives_the_process() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1"));
    let first = bed.states.until_stuck("w1").await;
    bed.bus.pause("w1", 0).await.unwrap();
    worker.kill9().await;
    worker.start();
    let second = bed
        .states
        .until("w1", "the next run", |snapshot| snapshot.instance_id != first.instance_id)
        .await;
    let thread = &second.threads[0];
    assert!(is_paused(thread, PausedBy::Operator), "{thread:?}");
    assert_eq!(thread.last_err, first.threads[0].last_err);
}

#[tokio::test]
async fn an_errors_pause_is_retried_once_by_the_next_run() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until_stuck("w1").await;
    worker.kill9().await;
    // Now there is somebody who does C2.
    worker.configure(&WorkerConfig::new("w1").fixture_c2(&[]));
    worker.start();
    bed.requests.until_finalized(sector(1)).await;
}

#[tokio::test]
async fn a_pending_pause_is_durable_before_it_is_answered() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (mut worker, _gate) = worker_in_c2(&mut bed).await;
    bed.bus.pause("w1", 0).await.unwrap();
    let first = bed.bus.list("w1").await.instance_id;
    worker.kill9().await;
    worker.start();
    let second =
        bed.states.until("w1", "the next run", |snapshot| snapshot.instance_id != first).await;
    assert!(is_paused(&second.threads[0], PausedBy::Operator), "{:?}", second.threads[0]);
    assert_eq!(second.threads[0].state, "C1Done");
}

#[tokio::test]
async fn several_threads_are_named_by_a_list_in_both_tools() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1").threads(4).idle());
    bed.states.until("w1", "all wait", |snapshot| snapshot.summary.waiting == 4).await;
    let paused = bed.util_worker(&["pause", "w1", "0,2-3"]).await.expect(0);
    assert_eq!(paused.stdout, "#0: paused\n#2: paused\n#3: paused\n");
    let resumed = worker.cli(&["resume", "--index", "2-3"]).await.expect(0);
    assert_eq!(resumed.stdout, "#2: resumed in Empty\n#3: resumed in Empty\n");
    let selected = bed.util_worker(&["resume", "-w", "w1", "-i", "0,7"]).await.expect(0);
    assert_eq!(selected.rows().len(), 1, "{}", selected.stdout);
    bed.util_worker(&["pause", "w1", "3-4"]).await.expect(3);
    worker.cli(&["pause", "--index", "0,1", "--if-revision", "3"]).await.expect(2);
}
