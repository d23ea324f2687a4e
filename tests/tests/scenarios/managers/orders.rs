//! Any manager gives commands on: the worker's answer comes back as it is, and a repeat acts once.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::collections::BTreeSet;

use async_nats::jetstream;
use e2e::{
    bus::name,
    event_log::{EventLog, assert_exactly_once, of_request},
    played_commands::bulk,
    testbed::Testbed,
    worker::{Worker, WorkerConfig},
};
use futures::StreamExt;
use serde_json::{Value, json};
use shared_msgs::{
    command::Verb,
    error::{ERROR_CODE_HEADER, ErrorKind, ErrorReply},
    event::EventKind,
    id::Id,
};

async fn idle_worker(bed: &mut Testbed, name: &str) -> Worker {
    let mut worker = bed.prepare_worker(name, &WorkerConfig::new(name).idle());
    worker.start();
    bed.states.until(name, "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    worker
}

async fn ask(bed: &Testbed, verb: &str, request: Value) -> Value {
    let answer = bed.bus.raw(&bed.bus.prefix.api(verb), request.to_string()).await;
    serde_json::from_slice(&answer.payload).unwrap()
}

async fn refused(bed: &Testbed, verb: &str, request: Value) -> (ErrorKind, String) {
    let answer = bed.bus.raw(&bed.bus.prefix.api(verb), request.to_string()).await;
    let code = answer.headers.as_ref().and_then(|headers| headers.get(ERROR_CODE_HEADER));
    let code = code.map(|code| code.to_string()).unwrap_or_default();
    let reply: ErrorReply = serde_json::from_slice(&answer.payload).unwrap();
    (reply.error.kind, code)
}

#[tokio::test]
async fn a_manager_gives_a_command_on_and_its_answer_back() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let log = EventLog::make(&bed.bus).await;
    // A name that is no subject's token.
    let _worker = idle_worker(&mut bed, "127.0.0.1").await;
    let id = Id::generate();
    let pause = json!({"worker": "127.0.0.1", "index": 0, "request_id": id, "by": "alice@h", "reason": "disk"});
    let paused = ask(&bed, "pause", pause.clone()).await;
    assert_eq!(paused["outcome"]["kind"], "paused", "{paused}");
    assert_eq!(ask(&bed, "pause", pause).await, paused, "a repeat is answered the same");
    let events = log.until_kind(EventKind::Command(Verb::Pause), 1).await;
    let [event] = of_request(&events, id)[..] else { panic!("{events:?}") };
    assert_eq!((event.by.as_deref(), event.reason.as_deref()), (Some("alice@h"), Some("disk")));
    let info = ask(&bed, "info", json!({"worker": "127.0.0.1"})).await;
    assert_eq!(info["threads"][0]["status"]["kind"], "paused", "{info}");
    let resumed = ask(&bed, "resume", json!({"worker": "127.0.0.1", "index": 0})).await;
    assert_eq!(resumed["outcome"]["kind"], "resumed", "{resumed}");
    let drained =
        ask(&bed, "drain", json!({"worker": "127.0.0.1", "selector": {"all": true}})).await;
    assert_eq!(drained["threads"][0]["outcome"]["kind"], "cordoned", "{drained}");
    assert_exactly_once(&log.until_kind(EventKind::Command(Verb::Cordon), 1).await);
}

#[tokio::test]
async fn what_a_worker_refuses_or_cannot_hear_comes_back_as_that() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = idle_worker(&mut bed, "w1").await;
    let not_paused = refused(&bed, "resume", json!({"worker": "w1", "index": 0})).await;
    assert!(matches!(not_paused, (ErrorKind::NotPaused { .. }, code) if code == "409"));
    let absent = refused(&bed, "pause", json!({"worker": "w1", "index": 7})).await;
    assert_eq!(absent.0, ErrorKind::ThreadNotFound { index: 7, threads: 1 });
    let nobody = refused(&bed, "pause", json!({"worker": "nosuch", "index": 0})).await;
    assert_eq!(nobody, (ErrorKind::WorkerNotFound { worker: "nosuch".into() }, "404".into()));
    for wrong in [
        json!({"worker": "w1", "index": 0, "dryrun": true}),
        json!({"index": 0}),
        json!({"worker": "w1"}),
    ] {
        let refusal = refused(&bed, "pause", wrong.clone()).await;
        assert!(matches!(refusal.0, ErrorKind::BadRequest { .. }), "{wrong}: {refusal:?}");
    }
    // A request that goes to the wrong worker is for nobody there.
    let to_other = json!({"worker": "w2", "index": 0}).to_string();
    let answer = bed.bus.raw(&bed.bus.command("w1", "pause"), to_other).await;
    let answer: ErrorReply = serde_json::from_slice(&answer.payload).unwrap();
    assert!(answer.error.message.contains("api.pause"), "{answer:?}");
    assert!(worker.terminate().await.success());
    let stopped = refused(&bed, "pause", json!({"worker": "w1", "index": 0})).await;
    assert!(
        matches!(stopped.0, ErrorKind::NotDelivered { last_ping_ms: Some(_), .. }),
        "{stopped:?}"
    );
}

#[tokio::test]
async fn a_selector_reaches_every_worker_and_one_answer_tells_of_all() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _w1 = idle_worker(&mut bed, "w1").await;
    let mut w2 = idle_worker(&mut bed, "w2").await;
    let all = json!({"selector": {"all": true}});
    let done = ask(&bed, "cordon", all.clone()).await;
    assert_eq!((&done["complete"], done["workers"].as_array().unwrap().len()), (&json!(true), 2));
    assert!(done["request_id"].is_string());
    w2.process().freeze();
    let done = ask(&bed, "uncordon", all).await;
    assert_eq!((&done["complete"], &done["missing"]), (&json!(false), &json!(["w2"])), "{done}");
    let unknown = refused(&bed, "pause", json!({"worker": "w2", "index": 0})).await;
    assert!(matches!(&unknown.0, ErrorKind::OutcomeUnknown { .. }), "{unknown:?}");
    assert_eq!(unknown.1, "504");
    w2.process().thaw();
}

#[tokio::test]
async fn a_manager_is_a_service_that_can_be_listed() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let answer = bed.bus.raw("$SRV.PING.damocles-manager", "").await;
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(
        (&answer["name"], &answer["version"]),
        (&json!("damocles-manager"), &json!(env!("CARGO_PKG_VERSION")))
    );
}

#[tokio::test]
async fn a_manager_that_dies_in_between_costs_no_command() {
    let mut bed = Testbed::start().await;
    let mut manager = bed.mock_manager().await;
    let log = EventLog::make(&bed.bus).await;
    let mut worker = idle_worker(&mut bed, "w1").await;
    worker.process().freeze();
    let mut given_on = bed.bus.client.subscribe(bed.bus.command("w1", "pause")).await.unwrap();
    let id = Id::generate();
    let request = json!({"worker": "w1", "index": 0, "request_id": id}).to_string();
    let inbox = bed.bus.client.new_inbox();
    let api = bed.bus.prefix.api("pause");
    bed.bus.client.publish_with_reply(api.clone(), inbox, request.clone().into()).await.unwrap();
    given_on.next().await.unwrap();
    manager.kill9().await;
    worker.process().thaw();
    manager.restart();
    bed.bus.served(&bed.bus.prefix.api("list")).await;
    let answer = bed.bus.raw(&api, request).await;
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["outcome"]["kind"], "paused", "{answer}");
    let events = log.until_kind(EventKind::Command(Verb::Pause), 1).await;
    assert_eq!(of_request(&events, id).len(), 1);
}

#[tokio::test]
async fn commands_in_hand_hold_up_nothing_that_is_asked() {
    // More than a manager has places for.
    const COMMANDS: usize = 100;
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager_with(&["--timeout", "600s"]).await;
    let mut worker = idle_worker(&mut bed, "w1").await;
    let mut given_on = bed.bus.client.subscribe(bed.bus.command("w1", "pause")).await.unwrap();
    let inbox = bed.bus.client.new_inbox();
    let mut answers = bed.bus.client.subscribe(inbox.clone()).await.unwrap();
    worker.process().freeze();
    let request = json!({"worker": "w1", "index": 0}).to_string();
    for _ in 0..COMMANDS {
        let (api, request) = (bed.bus.prefix.api("pause"), request.clone().into());
        bed.bus.client.publish_with_reply(api, inbox.clone(), request).await.unwrap();
    }
    let mut in_hand = BTreeSet::new();
    while in_hand.len() < 64 {
        let given: Value = serde_json::from_slice(&given_on.next().await.unwrap().payload).unwrap();
        in_hand.insert(given["request_id"].to_string());
    }
    let listed = ask(&bed, "list", json!({})).await;
    assert_eq!(listed["workers"][0]["name"], "w1", "{listed}");
    worker.process().thaw();
    for _ in 0..COMMANDS {
        let answer: Value = serde_json::from_slice(&answers.next().await.unwrap().payload).unwrap();
        assert!(answer["outcome"].is_object(), "{answer}");
    }
}

#[tokio::test]
async fn who_answered_in_anothers_name_is_told_by_its_process() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _worker = idle_worker(&mut bed, "w1").await;
    let liar = Id::generate();
    let mut requests = bed.bus.client.subscribe(bed.bus.prefix.command_of_all("*")).await.unwrap();
    bed.bus.client.flush().await.unwrap();
    let lying = async {
        let inbox = requests.next().await.unwrap().reply.unwrap();
        let mut answer = bulk("w1", json!([]));
        answer["instance_id"] = json!(liar);
        bed.bus.client.publish(inbox, answer.to_string().into()).await.unwrap();
        bed.bus.client.flush().await.unwrap();
    };
    let args = ["cordon", "--all", "--via", "manager", "-o", "json"];
    let (output, ()) = tokio::join!(bed.util_worker(&args), lying);
    let conflicts = &output.expect(1).json()["conflicts"];
    assert_eq!(*conflicts, json!([{"worker": "w1", "instance_id": liar}]));
}

#[tokio::test]
async fn what_came_of_a_command_is_told_however_many_have_answered() {
    const WORKERS: usize = 300;
    let bed = Testbed::start_configured("max_payload: 8192").await;
    let _manager = bed.mock_manager().await;
    let names: Vec<_> = (0..WORKERS).map(|number| format!("w{number:04}")).collect();
    for worker in &names {
        let state = json!({"instance_id": Id::NIL, "seq": 1, "ping_interval_ms": 60_000});
        let subject = bed.bus.prefix.state(&name(worker));
        let stored = jetstream::new(bed.bus.client.clone());
        stored.publish(subject, state.to_string().into()).await.unwrap().await.unwrap();
    }
    let mut requests = bed.bus.client.subscribe(bed.bus.prefix.command_of_all("*")).await.unwrap();
    bed.bus.client.flush().await.unwrap();
    let client = bed.bus.client.clone();
    let answering = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            for worker in &names {
                let error = json!({"kind": "internal", "detail": "x", "message": "x"});
                let result = match worker == "w0299" {
                    true => json!({"index": 0, "error": error}),
                    false => json!({"index": 0, "outcome": {"kind": "cordoned"}}),
                };
                let answer = bulk(worker, json!([result])).to_string();
                client.publish(request.reply.clone().unwrap(), answer.into()).await.unwrap();
            }
        }
    });
    let all = ["--all", "--via", "manager", "-o", "json"];
    let output = bed.util_worker(&[&["cordon"][..], &all].concat()).await.expect(1);
    let document = output.json();
    assert_eq!(document["complete"], true, "{document}");
    let summary = &document["summary"];
    assert_eq!((&summary["changed"]["cordoned"], &summary["failed"]), (&json!(299), &json!(1)));
    let listed = document["workers"].as_array().unwrap();
    assert!(listed.iter().any(|worker| worker["worker"] == "w0299"), "{document}");
    assert_eq!(document["unlisted"]["workers"], json!(WORKERS - listed.len()));
    assert!(output.stderr.contains("counted and not listed"), "{}", output.stderr);
    answering.abort();
}
