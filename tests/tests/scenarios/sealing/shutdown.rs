//! SIGTERM: a worker stops at a safe point, says so, and goes on from there.

use e2e::{
    state_watch::is_in_c2,
    testbed::{Testbed, sector},
    worker::WorkerConfig,
};
use shared_msgs::{api::WorkerView, snapshot::WorkerStatus};

#[tokio::test]
async fn the_last_report_of_a_stopped_worker_says_so_and_is_kept() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it reports", |_| true).await;
    assert!(worker.terminate().await.success());
    bed.states
        .until("w1", "its last report", |snapshot| snapshot.status == WorkerStatus::Stopped)
        .await;
    let stopped = |workers: &[WorkerView]| {
        workers.iter().any(|worker| worker.report.status == WorkerStatus::Stopped)
    };
    bed.bus.listed("the stopped worker", stopped).await;
    // Told from one that was lost.
    let pause = bed.util_worker(&["pause", "w1", "0"]).await.expect(4);
    assert!(pause.stderr.contains("stopped"), "{}", pause.stderr);
}

#[tokio::test]
async fn a_stage_that_does_not_end_in_time_is_run_again_by_the_next_run() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let mut worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate).worker("grace", "'100ms'"));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;
    assert!(worker.terminate().await.success());
    worker.log().line_with(&["the grace period is over", "grace=100ms"]).await;
    gate.open();
    worker.start();
    bed.requests.until_finalized(sector(1)).await;
}
