//! `--wait` returns when what a command leads to has come about, or says why it has not.

use e2e::{
    DEADLINE,
    bus::name,
    played_commands::PlayedCommands,
    state_watch::{is_in_c2, is_paused, waits_for},
    testbed::Testbed,
    worker::WorkerConfig,
};
use futures::StreamExt;
use serde_json::{Value, json};
use shared_msgs::{
    id::Id,
    snapshot::{PausedBy, ThreadSnapshot, ThreadStatus},
};

fn is_pending(thread: &ThreadSnapshot) -> bool {
    matches!(thread.status, ThreadStatus::PausePending { .. })
}

#[tokio::test]
async fn a_pause_is_waited_for_until_the_stage_has_ended() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;

    let tools = [
        bed.util_worker_meanwhile(&["pause", "w1", "0", "--wait"]),
        bed.util_worker_meanwhile(&["pause", "w1", "0", "--wait=1h", "-o", "json"]),
    ];
    let own = async { worker.cli(&["pause", "--index", "0", "--wait"]).await };
    let opened = async {
        bed.states.until_thread("w1", 0, "pause pending", is_pending).await;
        assert!(tools.iter().all(|tool| !tool.is_finished()));
        gate.open();
    };
    let (own, ()) = tokio::join!(own, opened);
    let [plain, document] = tools;
    let plain = plain.await.unwrap().expect(0);
    let lines: Vec<_> = plain.stdout.lines().collect();
    let [outcome, then] = lines[..] else { panic!("{}", plain.stdout) };
    assert_eq!(outcome, "#0 s-t010000-1: pause pending, it takes effect when C2 ends");
    assert!(then.starts_with("#0 s-t010000-1: C2Done paused "), "{then}");
    assert_eq!(plain.stderr, "");
    let document = document.await.unwrap().expect(0).json();
    assert_eq!(
        (&document["thread"]["state"], &document["thread"]["status"]["kind"]),
        (&json!("C2Done"), &json!("paused"))
    );
    // A tool that came late found it paused.
    own.expect(0);
}

#[tokio::test]
async fn when_the_time_is_up_it_is_exit_6_and_the_pause_stays() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let gate = bed.gate("c2");
    let _worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;
    let output = bed.util_worker(&["pause", "w1", "0", "--wait=300ms"]).await.expect(6);
    assert!(output.stdout.contains("pause pending"), "{}", output.stdout);
    assert!(
        output.stderr.contains("#0 s-t010000-1: C2 running")
            && output.stderr.contains("stays in effect"),
        "{}",
        output.stderr
    );
    assert!(is_pending(&bed.bus.list("w1").await.threads[0]));
}

#[tokio::test]
async fn a_pause_that_somebody_withdraws_is_exit_5() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let gate = bed.gate("c2");
    let _worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;
    let tool = bed.util_worker_meanwhile(&["pause", "w1", "0", "--wait"]);
    bed.states.until_thread("w1", 0, "pause pending", is_pending).await;
    bed.bus.resume("w1", 0, None).await.unwrap();
    let output = tool.await.unwrap().expect(5);
    assert!(output.stderr.contains("resumed"), "{}", output.stderr);
}

#[tokio::test]
async fn a_worker_that_dies_meanwhile_is_waited_for() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let gate = bed.gate("c2");
    let mut worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;
    let tool = bed.util_worker_meanwhile(&["pause", "w1", "0", "--wait"]);
    bed.states.until_thread("w1", 0, "pause pending", is_pending).await;
    worker.kill9().await;
    bed.bus.unserved(&bed.bus.command("w1", "list")).await;
    worker.start();
    let output = tool.await.unwrap().expect(0);
    assert!(output.stdout.contains("C1Done paused"), "{}", output.stdout);
}

#[tokio::test]
async fn a_resume_is_waited_for_until_the_thread_runs_or_waits_for_a_sector() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until_thread("w1", 0, "it waits", waits_for("sector")).await;
    worker.cli(&["pause", "--index", "0", "--wait"]).await.expect(0);
    assert!(is_paused(&bed.bus.list("w1").await.threads[0], PausedBy::Operator));
    let output = bed.util_worker(&["resume", "w1", "0", "--wait", "-o", "json"]).await.expect(0);
    let document = output.json();
    assert_eq!(
        (&document["outcome"]["kind"], &document["thread"]["state"]),
        (&json!("resumed"), &json!("Empty"))
    );
}

// A worker whose thread stands like that after each command, at revision 6.
async fn standing(bed: &Testbed, name: &str, thread: Value) -> PlayedCommands {
    let mut thread = thread;
    thread["index"] = json!(0);
    thread["revision"] = json!(6);
    let snapshot =
        json!({"instance_id": Id::NIL, "seq": 1, "ping_interval_ms": 60_000, "threads": [thread]});
    let reply = json!({"index": 0, "revision": 5, "outcome": {"kind": "resumed", "from": "C1Done", "to": "C1Done"}});
    PlayedCommands::start(&bed.bus, name, move |heard| {
        Some(if heard.verb == "list" { snapshot.clone() } else { reply.clone() })
    })
    .await
}

#[tokio::test]
async fn a_resume_that_fails_again_is_exit_1_with_the_error() {
    let bed = Testbed::start().await;
    let failed = json!({"state": "C1Done", "status": {"kind": "paused", "by": "error"}, "last_err": "permanent: No cached parameters"});
    let _worker = standing(&bed, "w1", failed).await;
    let output = bed.util_worker(&["resume", "w1", "0", "--wait"]).await.expect(1);
    assert!(output.stderr.contains("permanent: No cached parameters"), "{}", output.stderr);
    assert_eq!(output.stdout, "#0: resumed in C1Done\n");

    let retried = json!({"state": "C1Done", "status": {"kind": "waiting", "for": "retry 1 of 5"}, "retry": 1, "last_err": "temporary: x"});
    let _worker = standing(&bed, "w2", retried).await;
    let output = bed
        .worker_cli(&["worker", "--name", "w2", "resume", "--index", "0", "--wait"])
        .await
        .expect(1);
    assert!(output.stderr.contains("temporary: x"), "{}", output.stderr);
}

#[tokio::test]
async fn what_is_published_is_heard_and_what_is_not_is_asked_for() {
    let bed = Testbed::start().await;
    // It stands as it did before the command whenever it is asked; only what it publishes is new.
    let waiting = json!({"state": "C1Done", "status": {"kind": "waiting", "for": "a slot"}});
    let worker = standing(&bed, "w1", waiting).await;
    let mut asked = bed.bus.client.subscribe(bed.bus.command("w1", "*")).await.unwrap();
    bed.bus.client.flush().await.unwrap();
    let tool = bed.util_worker_meanwhile(&["resume", "w1", "0", "--wait"]);
    // For the revision, with the command, and for what has become of it.
    for verb in ["list", "resume", "list"] {
        let message = tokio::time::timeout(DEADLINE, asked.next()).await.unwrap().unwrap();
        assert_eq!(message.subject.as_str(), bed.bus.command("w1", verb));
    }
    let thread = json!({"index": 0, "revision": 7, "state": "C1Done", "stage": "C2", "status": {"kind": "running"}});
    let running = json!({"instance_id": Id::NIL, "seq": 2, "threads": [thread]});
    bed.bus
        .client
        .publish(bed.bus.prefix.state(&name("w1")), running.to_string().into())
        .await
        .unwrap();
    let output = tool.await.unwrap().expect(0);
    assert_eq!(output.stdout, "#0: resumed in C1Done\n#0: C2 running 0s\n");
    drop(worker);
}

#[tokio::test]
async fn now_stops_the_external_processor() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let gate = bed.gate("c2");
    let _worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;
    // The gate stays closed.
    let output = bed.util_worker(&["pause", "w1", "0", "--now", "--wait"]).await.expect(0);
    assert!(output.stdout.contains("C1Done paused"), "{}", output.stdout);
}
