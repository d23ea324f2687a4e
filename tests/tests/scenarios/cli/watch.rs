//! `--watch` shows what changes, as the bus tells it, and outlives managers and NATS.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use e2e::{process::Process, testbed::Testbed};
use serde_json::{Value, json};
use shared_msgs::{id::Id, snapshot::WorkerSnapshot};

fn snapshot(seq: u64, state: &str) -> WorkerSnapshot {
    let threads = json!([{"index": 0, "location": "/store1", "plan": "sealer", "state": state, "status": {"kind": "idle"}}]);
    let summary = json!({"threads": 1, "errors": state.len()});
    let snapshot = json!({"instance_id": Id::NIL, "seq": seq, "ping_interval_ms": 3_600_000, "summary": summary, "threads": threads});
    serde_json::from_value(snapshot).unwrap()
}

// How many documents have been written, of those that are a line each.
fn documents(process: &Process) -> usize {
    process.log().lines().iter().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count()
}

#[tokio::test]
async fn a_watched_list_is_printed_again_when_something_changes_and_outlives_managers() {
    let mut bed = Testbed::start().await;
    let mut manager = bed.mock_manager().await;
    bed.bus.report("w1", &snapshot(1, "Empty")).await;
    bed.bus.listed("the worker", |workers| workers.len() == 1).await;
    let mut watch = bed.start_util_worker("watch", &["list", "--watch", "-o", "json"]);
    watch.log().line_with(&["\"errors\":5"]).await;

    // The same again is no change.
    bed.bus.report("w1", &snapshot(2, "Empty")).await;
    bed.bus.report("w1", &snapshot(3, "C1Done")).await;
    watch.log().line_with(&["\"errors\":6"]).await;
    assert_eq!(documents(&watch), 2);

    manager.kill9().await;
    watch.log().line_with(&["note: no manager is running"]).await;
    bed.nats.kill9().await;
    bed.nats.restart().await;
    manager.restart();
    manager.answers(&bed.bus).await;
    bed.bus.report("w1", &snapshot(4, "TreeDBuilt")).await;
    watch.log().line_with(&["\"errors\":10"]).await;
    assert!(watch.interrupt().await.success());
}

#[tokio::test]
async fn watched_tables_stand_apart_by_an_empty_line() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    bed.bus.report("w1", &snapshot(1, "Empty")).await;
    bed.bus.listed("the worker", |workers| workers.len() == 1).await;
    let mut watch = bed.start_util_worker("watch", &["list", "--watch"]);
    watch.log().line_with(&["w1  "]).await;
    bed.bus.report("w2", &snapshot(1, "Empty")).await;
    watch.log().line_with(&["w2  "]).await;
    assert!(watch.terminate().await.success());
    let starts: Vec<_> =
        watch.log().lines().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(starts, ["Name", "w1", "", "Name", "w1", "w2"]);
}

#[tokio::test]
async fn a_watched_worker_is_shown_as_it_was_and_then_as_it_changes() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    bed.util_worker(&["info", "--watch", "nobody"]).await.expect(3);
    bed.bus.report("w1", &snapshot(1, "Empty")).await;
    bed.bus.listed("the worker", |workers| workers.len() == 1).await;
    let mut watch = bed.start_util_worker("watch", &["info", "w1", "--watch"]);
    watch.log().line_with(&["/store1", "Empty"]).await;
    bed.bus.report("w2", &snapshot(9, "Unrelated")).await;
    bed.bus.report("w1", &snapshot(3, "C1Done")).await;
    watch.log().line_with(&["/store1", "C1Done"]).await;
    bed.bus.report("w1", &snapshot(2, "Earlier")).await;

    bed.nats.kill9().await;
    bed.nats.restart().await;
    bed.bus.served("$JS.API.INFO").await;
    let shown = async |watch: &Process| {
        // Published until it is heard: NATS tells nobody when a subscription is back.
        let mut seq = 4;
        loop {
            bed.bus.report("w1", &snapshot(seq, "TreeDBuilt")).await;
            seq += 1;
            let line = watch.log().line_with(&["/store1", "TreeDBuilt"]);
            if tokio::time::timeout(std::time::Duration::from_millis(500), line).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(e2e::DEADLINE, shown(&watch)).await.unwrap();
    assert!(watch.interrupt().await.success());
    let text = watch.log().to_end().await;
    assert!(!text.contains("Unrelated") && !text.contains("Earlier"), "{text}");
}

#[tokio::test]
async fn a_workers_own_tool_watches_it_too_and_takes_its_name_behind_the_verb() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    bed.bus.report("w1", &snapshot(1, "Empty")).await;
    bed.bus.listed("the worker", |workers| workers.len() == 1).await;
    let args = ["worker", "list", "--watch", "--name", "w1"];
    let mut watch = bed.start_worker_cli("watch", &args);
    watch.log().line_with(&["#0: \"/store1\"; ", "state=Empty"]).await;
    bed.bus.report("w1", &snapshot(2, "C1Done")).await;
    watch.log().line_with(&["#0: \"/store1\"; ", "state=C1Done"]).await;
    assert!(watch.interrupt().await.success());
}
