//! A thread that waits for a slot of its stage says so, and stops waiting when it is told to.

use e2e::{state_watch::is_in_c2, testbed::Testbed, worker::WorkerConfig};

#[tokio::test]
async fn only_so_many_threads_run_a_stage() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let config = WorkerConfig::new("w1")
        .threads(2)
        .held_c2(&gate)
        .raw("[processors.limitation.concurrent]\nc2 = 1");
    let _worker = bed.worker(&config);
    bed.one_of_two_waits("c2 slot", is_in_c2).await;
    gate.open();
    bed.requests.until_first_finalized(2).await;
}

#[tokio::test]
async fn a_lock_is_held_by_one_at_a_time() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let held = ["--hold", gate.path().to_str().unwrap()];
    let config = WorkerConfig::new("w1").threads(2).raw("[processors.ext_locks]\ngpu = 1");
    let config =
        config.fixture("c2", &held, "locks = ['gpu']").fixture("c2", &held, "locks = { gpu = 1 }");
    let _worker = bed.worker(&config);
    bed.one_of_two_waits("lock gpu", is_in_c2).await;
    gate.open();
    bed.requests.until_first_finalized(2).await;
}

#[tokio::test]
async fn starts_of_a_stage_are_apart_wherever_it_runs() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    // PC1 runs inside the worker here.
    let config =
        WorkerConfig::new("w1").threads(2).raw("[processors.limitation.staggered]\npc1 = '1h'");
    let _worker = bed.worker(&config);
    bed.one_of_two_waits("pc1 stagger", |thread| thread.state == "C1Done").await;
}

#[tokio::test]
async fn a_worker_does_not_start_with_a_lock_that_nobody_has() {
    let bed = Testbed::start().await;
    let mut worker = bed.prepare_worker(
        "worker",
        &WorkerConfig::new("w1").fixture("c2", &[], "locks = { gpu = 1 }"),
    );
    worker.start();
    assert!(!worker.process().ended().await.success());
    let said = worker.log().to_end().await;
    assert!(said.contains("processors.c2 #0") && said.contains("\"gpu\""), "{said}");
}
