//! `cordon`, `uncordon` and `drain` as operators type them.

use e2e::{
    played_commands::{PlayedCommands, bulk},
    state_watch::{is_in_c2, waits_for},
    testbed::{Testbed, sector},
    worker::WorkerConfig,
};
use serde_json::json;
use shared_msgs::{
    id::Id,
    snapshot::{ThreadSnapshot, WorkerSnapshot},
};

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

    let output = bed.util_worker(&["cordon", "w1", "0,2", "-o", "jsonl"]).await.expect(0);
    assert_eq!(output.stdout.lines().count(), 2);
    let cordoned: Vec<_> =
        bed.bus.list("w1").await.threads.iter().map(|thread| thread.cordoned).collect();
    assert_eq!(cordoned, [true, false, true]);
    let output = worker.cli(&["uncordon", "--index", "1-2"]).await.expect(0);
    assert_eq!(output.stdout, "#1: was not cordoned\n#2: uncordoned, it takes sectors again\n");
    for output in [
        worker.cli(&["cordon", "--index", "7"]).await,
        bed.util_worker(&["drain", "w1", "7"]).await,
    ] {
        assert!(output.expect(3).stderr.contains("no thread 7"));
    }
    bed.util_worker(&["cordon", "nobody"]).await.expect(3);
}

#[tokio::test]
async fn a_drain_waits_until_every_thread_is_empty_and_says_how_far_it_is() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let worker = bed.worker(&WorkerConfig::new("w1").threads(2).held_c2(&gate));
    bed.states.until("w1", "in C2", |snapshot| snapshot.threads.iter().any(is_in_c2)).await;
    let tools = [
        bed.util_worker_meanwhile(&["drain", "w1"]),
        bed.util_worker_meanwhile(&["drain", "-w", "w*", "--wait=1h"]),
    ];
    let own = async { worker.cli(&["drain", "--index", "0-1"]).await };
    let opened = async {
        bed.states.until("w1", "cordoned", all_cordoned).await;
        assert!(tools.iter().all(|tool| !tool.is_finished()));
        gate.open();
    };
    let (own, ()) = tokio::join!(own, opened);
    let [one, many] = tools;
    let one = one.await.unwrap().expect(0);
    assert_eq!(one.stdout.lines().count(), 2, "{}", one.stdout);
    assert!(
        one.stderr.contains("note: worker w1: waiting for 2 of 2 threads: #0 "),
        "{}",
        one.stderr
    );
    for output in [one, many.await.unwrap().expect(0), own.expect(0)] {
        assert!(output.stderr.contains("note: worker w1: drained; 2 threads"), "{}", output.stderr);
    }
    assert!(bed.bus.list("w1").await.threads.iter().all(|thread| thread.sector_id.is_none()));
}

#[tokio::test]
async fn a_detached_drain_does_not_wait_and_selectors_drain_many_workers() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let mut workers =
        ["w1", "w2"].map(|name| bed.prepare_worker(name, &WorkerConfig::new(name).held_c2(&gate)));
    for (worker, name) in workers.iter_mut().zip(["w1", "w2"]) {
        worker.start();
        bed.states.until_thread(name, 0, "in C2", is_in_c2).await;
    }
    let detached = bed.util_worker(&["drain", "w1", "--detach"]).await.expect(0);
    assert_eq!(detached.stdout, "#0 s-t010000-1: cordoned, it takes no new sector\n");
    bed.util_worker(&["drain", "--all", "--detach"]).await.expect(0);
    let output = bed.util_worker(&["drain", "--all", "--wait=300ms"]).await.expect(6);
    for name in ["w1", "w2"] {
        let missing = format!("worker {name}: not empty after 300ms: 1 of 1 thread: #0 ");
        assert!(output.stderr.contains(&missing), "{}", output.stderr);
    }

    gate.open();
    let output = bed.util_worker(&["drain", "--all"]).await.expect(0);
    assert!(output.stderr.contains("2 workers: drained; 2 threads"), "{}", output.stderr);
    for name in ["w1", "w2"] {
        assert_eq!(bed.bus.list(name).await.threads[0].sector_id, None);
    }
}

#[tokio::test]
async fn a_thread_that_no_longer_fits_is_not_waited_for() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let left = json!({"index": 1, "error": {"kind": "not_selected", "message": "it has moved on"}});
    let cordoned = json!({"index": 0, "revision": 5, "outcome": {"kind": "cordoned"}});
    let threads = json!([
        {"index": 0, "revision": 5, "state": "Empty", "cordoned": true},
        {"index": 1, "revision": 5, "state": "C1Done", "sector_id": "s-t010000-1"},
    ]);
    let snapshot = json!({"instance_id": Id::NIL, "seq": 1, "threads": threads});
    let worker = PlayedCommands::start(&bed.bus, "w1", move |heard| {
        let is_list = heard.verb == "list";
        Some(if is_list { snapshot.clone() } else { bulk("w1", json!([cordoned, left])) })
    })
    .await;
    worker.report(1, "running", json!([])).await;
    let output = bed.util_worker(&["drain", "--all"]).await.expect(0);
    assert!(output.stderr.contains("drained; 1 thread without"), "{}", output.stderr);
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
    let tool = bed.util_worker_meanwhile(&["drain", "w1"]);
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
