//! Requests by hand: the answer has the request's encoding, and no bytes upset a worker.

use async_nats::Message;
use e2e::{bus::name, testbed::Testbed, worker::WorkerConfig};
use serde_json::{Value, json};
use shared_msgs::{
    api::ListWorkersReply,
    codec::{Encoding, decode},
    error::{ERROR_CODE_HEADER, ERROR_HEADER, ErrorKind, ErrorReply},
    snapshot::WorkerSnapshot,
};

async fn idle_worker(bed: &mut Testbed) -> e2e::worker::Worker {
    let worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    worker
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(|value| value.as_str())
}

#[tokio::test]
async fn a_worker_that_is_seen_takes_commands() {
    let mut bed = Testbed::start().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "its first report", |_| true).await;
    assert_eq!(bed.bus.list("w1").await.threads.len(), 1);
}

#[tokio::test]
async fn an_answer_has_the_encoding_of_its_request_and_an_empty_one_counts_as_json() {
    let mut bed = Testbed::start().await;
    let _worker = idle_worker(&mut bed).await;
    let list = bed.bus.command("w1", "list");
    let messagepack = Encoding::Msgpack.encode(&json!({})).unwrap();
    for (request, encoding) in [
        (vec![], Encoding::Json),
        (b"{}".to_vec(), Encoding::Json),
        (messagepack, Encoding::Msgpack),
    ] {
        let answer = bed.bus.raw(&list, request).await;
        assert_eq!(Encoding::of(&answer.payload).unwrap(), encoding);
        assert_eq!(decode::<WorkerSnapshot>(&answer.payload).unwrap().threads.len(), 1);
        assert_eq!(header(&answer, ERROR_HEADER), None);
    }
}

#[tokio::test]
async fn commands_work_in_json_and_in_messagepack() {
    let mut bed = Testbed::start().await;
    let _worker = idle_worker(&mut bed).await;
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        let request = encoding.encode(&json!({"index": 0, "reason": "test"})).unwrap();
        for (verb, outcome) in
            [("pause", "paused"), ("pause", "already_paused"), ("resume", "resumed")]
        {
            let answer = bed.bus.raw(&bed.bus.command("w1", verb), request.clone()).await;
            assert_eq!(Encoding::of(&answer.payload).unwrap(), encoding);
            assert_eq!(decode::<Value>(&answer.payload).unwrap()["outcome"]["kind"], outcome);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused_with_headers_and_a_body() {
    let mut bed = Testbed::start().await;
    let _worker = idle_worker(&mut bed).await;
    let deep = [b"\x81\xA1a".to_vec(), vec![0x91; 100_000]].concat();
    let garbage = [
        b"{".to_vec(),
        b"[1]".to_vec(),
        vec![0xFF, 0, 1],
        vec![0x81],
        deep,
        b"{\"index\":-1}".to_vec(),
        b"{\"index\":\"0\"}".to_vec(),
    ];
    for verb in ["pause", "resume"] {
        // An empty body is `{}`, which names no thread.
        for body in garbage.iter().cloned().chain([vec![]]) {
            let answer = bed.bus.raw(&bed.bus.command("w1", verb), body.clone()).await;
            let refusal: ErrorReply = decode(&answer.payload).unwrap();
            assert!(
                matches!(refusal.error.kind, ErrorKind::BadRequest { .. }),
                "{verb} {body:?}: {refusal:?}"
            );
            assert_eq!(header(&answer, ERROR_CODE_HEADER), Some("400"));
            assert!(header(&answer, ERROR_HEADER).is_some_and(|text| !text.is_empty()));
        }
    }
    let snapshot = bed.bus.list("w1").await;
    assert_eq!((snapshot.summary.paused, snapshot.summary.waiting), (0, 1));
}

#[tokio::test]
async fn a_misspelt_field_is_refused_by_name_and_nothing_is_done() {
    let mut bed = Testbed::start().await;
    let _worker = idle_worker(&mut bed).await;
    let before = bed.bus.list("w1").await.threads[0].revision;
    for (request, said) in [
        (json!({"index": 0, "dryrun": true}), "unknown field `dryrun`; did you mean `dry_run`?"),
        (
            json!({"index": 0, "if_revison": 9999}),
            "unknown field `if_revison`; did you mean `if_revision`?",
        ),
        (
            json!({"selector": {"statuss": ["waiting"]}}),
            "unknown field `selector.statuss`; did you mean `selector.status`?",
        ),
        (json!({"selector": {"state": ["Emty"]}}), "\"Emty\" is no state; did you mean Empty?"),
        (json!({"index": "0"}), "field `index`: invalid type: string \"0\""),
    ] {
        for subject in [bed.bus.command("w1", "pause"), bed.bus.prefix.command_of_all("pause")] {
            let answer = bed.bus.raw(&subject, request.to_string()).await;
            let refusal: ErrorReply = decode(&answer.payload).unwrap();
            assert!(refusal.error.message.contains(said), "{subject}: {refusal:?}");
        }
    }
    assert_eq!(bed.bus.list("w1").await.threads[0].revision, before);
}

#[tokio::test]
async fn a_dry_run_of_one_thread_says_that_it_is_one() {
    let mut bed = Testbed::start().await;
    let _worker = idle_worker(&mut bed).await;
    let request = json!({"index": 0, "dry_run": true}).to_string();
    let answer = bed.bus.raw(&bed.bus.command("w1", "pause"), request).await;
    let answer: Value = decode(&answer.payload).unwrap();
    assert_eq!((&answer["outcome"]["kind"], &answer["dry_run"]), (&json!("paused"), &json!(true)));
    assert_eq!(bed.bus.list("w1").await.summary.paused, 0);
}

#[tokio::test]
async fn a_refusal_has_the_encoding_of_its_request_too() {
    let mut bed = Testbed::start().await;
    let _worker = idle_worker(&mut bed).await;
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        let request = encoding.encode(&json!({"index": 7})).unwrap();
        let answer = bed.bus.raw(&bed.bus.command("w1", "pause"), request).await;
        assert_eq!(Encoding::of(&answer.payload).unwrap(), encoding);
        let refusal: ErrorReply = decode(&answer.payload).unwrap();
        assert_eq!(refusal.error.kind, ErrorKind::ThreadNotFound { index: 7, threads: 1 });
        assert_eq!(header(&answer, ERROR_CODE_HEADER), Some("404"));
    }
}

#[tokio::test]
async fn a_command_meant_for_another_revision_changes_nothing() {
    let mut bed = Testbed::start().await;
    let _worker = idle_worker(&mut bed).await;
    let before = bed.bus.list("w1").await.threads[0].revision;
    let request = json!({"index": 0, "if_revision": before + 1}).to_string();
    let answer = bed.bus.raw(&bed.bus.command("w1", "pause"), request).await;
    let refusal: ErrorReply = decode(&answer.payload).unwrap();
    assert_eq!(
        refusal.error.kind,
        ErrorKind::RevisionMismatch { expected: before + 1, actual: before }
    );
    assert_eq!(bed.bus.list("w1").await.threads[0].revision, before);
}

#[tokio::test]
async fn a_manager_answers_both_encodings_and_refuses_garbage() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _worker = idle_worker(&mut bed).await;
    bed.bus.listed("the worker", |workers| workers.len() == 1).await;
    let list = bed.bus.prefix.api("list");
    for (request, encoding) in [
        (vec![], Encoding::Json),
        (Encoding::Msgpack.encode(&json!({"limit": 1})).unwrap(), Encoding::Msgpack),
    ] {
        let answer = bed.bus.raw(&list, request).await;
        assert_eq!(Encoding::of(&answer.payload).unwrap(), encoding);
        assert_eq!(decode::<ListWorkersReply>(&answer.payload).unwrap().workers[0].name, "w1");
    }
    let prefix = &bed.bus.prefix;
    let of_worker = prefix.sector_manager(&name("w1"), "allocate_sector");
    let of_operator = prefix.sectors("list_sectors");
    let of_nobody = of_worker.replace("w1", "=41");
    for subject in [list, prefix.api("remove"), of_worker, of_operator, of_nobody] {
        let answer = bed.bus.raw(&subject, vec![0xFF, 0, 1]).await;
        let refusal: ErrorReply = decode(&answer.payload).unwrap();
        assert!(
            matches!(refusal.error.kind, ErrorKind::BadRequest { .. }),
            "{subject}: {refusal:?}"
        );
    }
}
