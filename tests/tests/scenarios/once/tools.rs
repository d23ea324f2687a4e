//! The tools send a command again under its id, and do not guess what is not known.

use std::time::Duration;

use e2e::{
    DEADLINE,
    played_commands::{Heard, PlayedCommands, refusal},
    state_watch::waits_for,
    testbed::Testbed,
    worker::WorkerConfig,
};
use futures::StreamExt;
use serde_json::{Value, json};
use shared_msgs::{codec::decode, command::CommandRequest, error::ErrorKind};

fn answering(
    mut answer: impl FnMut() -> Value + Send + 'static,
) -> impl FnMut(&Heard) -> Option<Value> + Send + 'static {
    move |_| Some(answer())
}

fn paused() -> Value {
    json!({"index": 0, "revision": 5, "outcome": {"kind": "paused"}})
}

#[tokio::test]
async fn a_command_whose_answer_is_lost_is_sent_again_with_its_id() {
    let bed = Testbed::start().await;
    let mut lost = 2;
    let worker = PlayedCommands::start(&bed.bus, "w1", move |_| {
        lost -= 1;
        (lost < 0).then(paused)
    })
    .await;
    let output = bed
        .util_worker(&["--timeout", "8s", "pause", "w1", "0", "--reason", "disk"])
        .await
        .expect(0);
    assert_eq!(output.stdout, "#0: paused\n");
    let heard = worker.heard();
    assert_eq!(heard.len(), 3);
    let request = &heard[0].request;
    assert!(
        heard.iter().all(|heard| heard.request == *request) && request.request_id.is_some(),
        "{heard:?}"
    );
    assert_eq!(request.reason.as_deref(), Some("disk"));
}

#[tokio::test]
async fn a_worker_that_was_frozen_carries_a_command_out_once() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").idle());
    let before = bed.states.until_thread("w1", 0, "it waits", waits_for("sector")).await.revision;
    let mut sent = bed.bus.client.subscribe(bed.bus.command("w1", "pause")).await.unwrap();
    bed.bus.client.flush().await.unwrap();
    worker.process().freeze();
    let tool = bed.util_worker_meanwhile(&["--timeout", "8s", "pause", "w1", "0", "-o", "json"]);
    let mut ids = Vec::new();
    while ids.len() < 3 {
        let message = tokio::time::timeout(DEADLINE, sent.next()).await.unwrap().unwrap();
        ids.push(decode::<CommandRequest>(&message.payload).unwrap().request_id.unwrap());
    }
    worker.process().thaw();
    let output = tool.await.unwrap().expect(0);
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(output.json()["outcome"]["kind"], "paused");
    assert_eq!(bed.bus.list("w1").await.threads[0].revision, before + 1);
}

#[tokio::test]
async fn a_worker_that_vanishes_with_a_command_leaves_its_outcome_unknown() {
    let bed = Testbed::start().await;
    let worker = PlayedCommands::start(&bed.bus, "w1", |_| None).await;
    let mut sent = bed.bus.client.subscribe(bed.bus.command("w1", "pause")).await.unwrap();
    bed.bus.client.flush().await.unwrap();
    let tool = bed.util_worker_meanwhile(&["--timeout", "2s", "pause", "w1", "0"]);
    tokio::time::timeout(DEADLINE, sent.next()).await.unwrap().unwrap();
    // Nobody serves the subject from now on.
    drop((worker, sent));
    let output = tool.await.unwrap().expect(4);
    assert!(output.stderr.contains("the outcome is unknown"), "{}", output.stderr);
}

#[tokio::test]
async fn a_lease_that_is_not_confirmed_is_asked_again_until_it_is() {
    let bed = Testbed::start().await;
    let refused = refusal(ErrorKind::LeaseUnconfirmed);
    let (mut refusals, once_refused) = (2, refused.clone());
    let answer = move || {
        refusals -= 1;
        if refusals < 0 { paused() } else { once_refused.clone() }
    };
    let worker = PlayedCommands::start(&bed.bus, "w1", answering(answer)).await;
    bed.util_worker(&["--timeout", "20s", "pause", "w1", "0"]).await.expect(0);
    assert_eq!(worker.heard().len(), 3);

    let _worker = PlayedCommands::start(&bed.bus, "w2", answering(move || refused.clone())).await;
    let output = bed.util_worker(&["--timeout", "1s", "pause", "w2", "0"]).await.expect(5);
    assert!(output.stderr.contains("nothing was done"), "{}", output.stderr);
}

#[tokio::test]
async fn a_thread_that_has_changed_since_is_refused_with_both_revisions() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1").idle());
    let seen = bed.states.until_thread("w1", 0, "it waits", waits_for("sector")).await.revision;
    let (right, wrong) = (seen.to_string(), (seen + 7).to_string());

    for output in [
        bed.util_worker(&["pause", "w1", "0", "--if-revision", &wrong]).await,
        worker.cli(&["pause", "--index", "0", "--if-revision", &wrong]).await,
    ] {
        let output = output.expect(5);
        assert!(
            output.stderr.contains(&right) && output.stderr.contains(&wrong),
            "{}",
            output.stderr
        );
    }
    let output = bed
        .util_worker(&["pause", "w1", "0", "--if-revision", &right, "-o", "json"])
        .await
        .expect(0);
    let paused = output.json()["revision"].as_u64().unwrap().to_string();
    worker.cli(&["resume", "--index", "0", "--if-revision", &right]).await.expect(5);
    worker.cli(&["resume", "--index", "0", "--if-revision", &paused]).await.expect(0);
}

#[tokio::test]
async fn a_worker_that_never_answers_is_given_up_at_the_deadline() {
    let bed = Testbed::start().await;
    let worker = PlayedCommands::start(&bed.bus, "w1", |_| None).await;
    let began = tokio::time::Instant::now();
    let output = bed.util_worker(&["--timeout", "1500ms", "pause", "w1", "0"]).await.expect(4);
    assert!(
        output.stderr.contains("no answer within 1.500s; the outcome is unknown"),
        "{}",
        output.stderr
    );
    assert!(began.elapsed() >= Duration::from_millis(1500) && worker.heard().len() >= 2);
}
