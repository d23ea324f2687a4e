//! `cordon`, `uncordon` and `drain` as operators type them.

use e2e::{
    state_watch::{is_in_c2, waits_for},
    testbed::{Testbed, sector},
    worker::WorkerConfig,
};
use shared_msgs::snapshot::{ThreadSnapshot, WorkerSnapshot};

fn all_cordoned(snapshot: &WorkerSnapshot) -> bool {
    snapshot.threads.iter().all(|thread| thread.cordoned)
}

#[tokio::test]
async fn a_cordoned_thread_finishes_its_sector_and_takes_none_until_it_is_uncordoned() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;

    let output = worker.cli(&["cordon", "--reason", "new disks"]).await.expect(0);
    assert_eq!(output.stdout, "#0 s-t010000-1: cordoned, it takes no new sector\n");
    let again = bed.util_worker(&["cordon", "w1", "0"]).await.expect(0);
    assert_eq!(again.stdout, "#0 s-t010000-1: already cordoned\n");

    gate.open();
    bed.requests.until_finalized(sector(1)).await;
    let empty = |thread: &ThreadSnapshot| {
        thread.cordoned && thread.sector_id.is_none() && thread.state == "Empty"
    };
    bed.states.until_thread("w1", 0, "empty and cordoned", empty).await;
    assert_eq!(bed.allocated().await, 1);

    let output = bed.util_worker(&["uncordon", "--all", "-o", "json"]).await.expect(0);
    assert_eq!(output.json()["summary"]["changed"]["uncordoned"], 1);
    bed.requests.until_finalized(sector(2)).await;
}

#[tokio::test]
async fn some_threads_of_a_worker_are_cordoned_and_one_that_is_not_there_is_exit_3() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1").threads(3).idle());
    bed.states.until_thread("w1", 2, "it waits", waits_for("sector")).await;

    let output = bed.util_worker(&["cordon", "w1", "0", "2", "-o", "jsonl"]).await.expect(0);
    assert_eq!(output.stdout.lines().count(), 2);
    let cordoned: Vec<_> =
        bed.bus.list("w1").await.threads.iter().map(|thread| thread.cordoned).collect();
    assert_eq!(cordoned, [true, false, true]);
    let output = worker.cli(&["uncordon", "--index", "2", "--index", "1"]).await.expect(0);
    assert_eq!(output.stdout, "#1: was not cordoned\n#2: uncordoned, it takes sectors again\n");
    for output in [
        worker.cli(&["cordon", "--index", "7"]).await,
        bed.util_worker(&["drain", "w1", "7", "--wait"]).await,
    ] {
        assert!(output.expect(3).stderr.contains("no thread 7"));
    }
    bed.util_worker(&["cordon", "nobody"]).await.expect(3);
}

#[tokio::test]
async fn a_drain_is_waited_for_until_every_thread_is_empty() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let _worker = bed.worker(&WorkerConfig::new("w1").threads(2).held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;
    let tool = bed.util_worker_meanwhile(&["drain", "w1", "--wait"]);
    bed.states.until("w1", "cordoned", all_cordoned).await;
    assert!(!tool.is_finished());
    gate.open();
    let output = tool.await.unwrap().expect(0);
    assert!(
        output.stdout.lines().count() == 2 && output.stderr.contains("drained; 2 threads"),
        "{output:?}"
    );
    assert!(bed.bus.list("w1").await.threads.iter().all(|thread| thread.sector_id.is_none()));
}

#[tokio::test]
async fn what_holds_a_drain_up_is_named() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until_stuck("w1").await;
    let output = bed.util_worker(&["drain", "w1", "--wait=300ms"]).await.expect(6);
    assert!(
        output
            .stderr
            .contains("#0 s-t010000-1 is paused: it gets empty only when somebody resumes it"),
        "{}",
        output.stderr
    );
    assert!(
        output
            .stderr
            .contains("not empty after 300ms: 1 of 1 thread: #0 s-t010000-1: C1Done paused"),
        "{}",
        output.stderr
    );
    assert!(bed.bus.list("w1").await.threads[0].cordoned);
}

#[tokio::test]
async fn a_drain_that_somebody_ends_is_exit_5() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let gate = bed.gate("c2");
    let worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;
    let tool = bed.util_worker_meanwhile(&["drain", "w1", "--wait"]);
    bed.states.until("w1", "cordoned", all_cordoned).await;
    worker.cli(&["uncordon"]).await.expect(0);
    let output = tool.await.unwrap().expect(5);
    assert!(output.stderr.contains("uncordoned"), "{}", output.stderr);
}

#[tokio::test]
async fn a_cordon_outlives_the_process() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").idle());
    let first = bed.states.until("w1", "it reports", |_| true).await.instance_id;
    bed.util_worker(&["drain", "w1", "--wait"]).await.expect(0);
    worker.kill9().await;
    worker.start();
    let second =
        bed.states.until("w1", "the next run", |snapshot| snapshot.instance_id != first).await;
    assert!(all_cordoned(&second), "{second:?}");
}
