//! A command that was held up for longer than its giver waits for it is not carried out any more.

use e2e::{
    testbed::Testbed,
    worker::{Worker, WorkerConfig},
};
use serde_json::{Value, json};
use shared_msgs::{
    command::Outcome,
    error::{ErrorKind, ErrorReply},
};

async fn idle_worker(bed: &mut Testbed) -> Worker {
    let worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    worker
}

#[tokio::test]
async fn a_frozen_worker_is_missing_and_does_nothing_when_it_goes_on() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = idle_worker(&mut bed).await;
    let before = bed.bus.list("w1").await.threads[0].revision;
    worker.process().freeze();
    let many = ["--timeout", "1s", "pause", "--all", "-o", "json"];
    let output = bed.util_worker(&many).await.expect(4);
    let document = output.json();
    assert_eq!(
        (&document["missing"], &document["complete"]),
        (&json!(["w1"]), &json!(false)),
        "{document}"
    );
    let one = ["--timeout", "1s", "cordon", "w1", "0"];
    assert!(bed.util_worker(&one).await.expect(4).stderr.contains("unknown"));
    worker.process().thaw();
    for verb in ["\"pause\"", "\"cordon\""] {
        worker.log().line_with(&["refused", verb, "after the time that it had"]).await;
    }
    let thread = bed.bus.list("w1").await.threads[0].clone();
    assert_eq!((thread.revision, thread.cordoned), (before, false));
}

#[tokio::test]
async fn a_request_says_until_when_by_the_servers_clock_and_its_repeat_is_still_answered() {
    let mut bed = Testbed::start().await;
    let mut worker = idle_worker(&mut bed).await;
    worker.log().line_with(&["serving"]).await;
    let id = shared_msgs::id::Id::generate();
    let pause = async |until_ms: i64| {
        let request = json!({"index": 0, "until_ms": until_ms, "request_id": id}).to_string();
        bed.bus.raw(&bed.bus.command("w1", "pause"), request).await.payload
    };
    let late: ErrorReply = serde_json::from_slice(&pause(1_700_000_000_000).await).unwrap();
    assert!(matches!(late.error.kind, ErrorKind::TooLate { late_ms } if late_ms > 0), "{late:?}");
    let outcome = |payload: &[u8]| {
        let answer: Value = serde_json::from_slice(payload).unwrap();
        serde_json::from_value::<Outcome>(answer["outcome"].clone()).unwrap()
    };
    // That was decided upon as little as if it had not been heard: the id is free.
    assert_eq!(outcome(&pause(i64::MAX).await), Outcome::Paused);
    assert_eq!(outcome(&pause(1_700_000_000_000).await), Outcome::Paused, "what was done is told");
}
