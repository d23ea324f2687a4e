//! Whom the tools ask for many threads, whom they wait for, and what they say in the end.

use e2e::{
    bus::name,
    played_commands::{Heard, PlayedCommands, bulk, refusal},
    state_watch::{is_paused, is_stuck},
    testbed::Testbed,
    worker::WorkerConfig,
};
use futures::StreamExt;
use serde_json::{Value, json};
use shared_msgs::{
    error::ErrorKind,
    id::Id,
    selector::Selector,
    snapshot::{PausedBy, WorkerSnapshot},
};

fn resumed(index: u32) -> Value {
    json!({"index": index, "sector_id": format!("s-t010000-{}", index + 1), "revision": 15,
        "outcome": {"kind": "resumed", "from": "C1Done", "to": "TreeDBuilt"}})
}

// A worker with these results for every command, which reports.
async fn worker(bed: &Testbed, name: &str, results: Value) -> PlayedCommands {
    let answer = bulk(name, results);
    played(bed, name, move |_| Some(answer.clone())).await
}

async fn played(
    bed: &Testbed,
    name: &str,
    answer: impl FnMut(&Heard) -> Option<Value> + Send + 'static,
) -> PlayedCommands {
    let worker = PlayedCommands::start(&bed.bus, name, answer).await;
    worker.report(1, "running", json!([])).await;
    worker
}

#[tokio::test]
async fn one_request_reaches_every_worker_and_each_thread_is_a_line() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let w1 = worker(&bed, "w1", json!([resumed(1), resumed(0)])).await;
    let not_paused = json!({"index": 0, "error": {"kind": "not_paused", "status": "running", "message": "it is running"}});
    let w2 = worker(&bed, "w2", json!([not_paused])).await;

    let args = [
        "resume",
        "--error",
        "No cached",
        "--in-state",
        "C1Done",
        "--to",
        "TreeDBuilt",
        "--reason",
        "parameters are there",
    ];
    let output = bed.util_worker(&args).await.expect(0);
    let rows = output.rows();
    assert_eq!(output.header(), ["Worker", "Index", "SectorID", "Result"]);
    assert_eq!(rows[0], ["w1", "0", "s-t010000-1", "resumed C1Done -> TreeDBuilt"]);
    assert_eq!((rows[1][1], rows[2][0], rows.len()), ("1", "w2", 3));
    assert!(
        output.stderr.contains("3 threads on 2 workers: 2 resumed, 1 unchanged"),
        "{}",
        output.stderr
    );

    let [heard] = &w1.heard()[..] else { panic!("{:?}", w1.heard()) };
    assert!(heard.of_all && heard.verb == "resume");
    let request = &heard.request;
    let expected = Selector {
        error: Some("No cached".into()),
        state: vec!["C1Done".into()],
        ..Selector::default()
    };
    assert_eq!(
        (request.selector.as_ref(), request.state.as_deref()),
        (Some(&expected), Some("TreeDBuilt"))
    );
    assert_eq!(
        (request.reason.as_deref(), request.dry_run, request.index),
        (Some("parameters are there"), false, None)
    );
    assert!(request.request_id.is_some() && request.by.is_some());
    assert_eq!(w2.heard()[..], w1.heard()[..]);
}

#[tokio::test]
async fn a_dry_run_says_so_to_the_workers_and_to_the_operator() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let w1 = worker(&bed, "w1", json!([resumed(0)])).await;
    let output = bed.util_worker(&["resume", "--all", "--dry-run", "-o", "json"]).await.expect(0);
    let document = output.json();
    assert_eq!(
        (&document["dry_run"], &document["summary"]["changed"]),
        (&json!(true), &json!({"resumed": 1}))
    );
    assert!(output.stderr.contains("nothing was done"), "{}", output.stderr);
    assert!(w1.heard()[0].request.dry_run);
    let lines = bed.util_worker(&["resume", "--all", "-o", "jsonl"]).await.expect(0);
    let line: Value = serde_json::from_str(&lines.stdout).unwrap();
    assert_eq!((&line["worker"], &line["index"]), (&json!("w1"), &json!(0)));
}

#[tokio::test]
async fn a_thread_that_failed_is_exit_1() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let failed = json!({"index": 1, "error": {"kind": "state_unreachable", "state": "C2Done", "missing": ["proof"], "message": "no proof"}});
    let _w1 = worker(&bed, "w1", json!([resumed(0), failed])).await;
    let output = bed.util_worker(&["resume", "--all", "--to", "C2Done"]).await.expect(1);
    assert_eq!(output.rows()[1], ["w1", "1", "-", "failed: no proof"]);
    assert!(output.stderr.contains("1 resumed, 1 failed"), "{}", output.stderr);
}

#[tokio::test]
async fn who_says_nothing_is_asked_by_name_with_the_same_id_and_named_in_the_end() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _w1 = worker(&bed, "w1", json!([resumed(0)])).await;
    // What reaches all does not reach this one.
    let w2 =
        played(&bed, "w2", |heard| (!heard.of_all).then(|| bulk("w2", json!([resumed(0)])))).await;
    bed.util_worker(&["--timeout", "1s", "resume", "--all"]).await.expect(0);
    let heard = w2.heard();
    assert!(
        heard[0].of_all && !heard[1].of_all && heard[0].request == heard[1].request,
        "{heard:?}"
    );

    let _w3 = played(&bed, "w3", |_| None).await;
    let output = bed.util_worker(&["--timeout", "1s", "resume", "--all"]).await.expect(4);
    assert!(
        output.stderr.contains("did not answer, their outcome is unknown: w3"),
        "{}",
        output.stderr
    );
    assert_eq!(output.rows().len(), 2);
    let output =
        bed.util_worker(&["--timeout", "1s", "resume", "--all", "-o", "json"]).await.expect(4);
    assert_eq!(
        (&output.json()["missing"], &output.json()["complete"]),
        (&json!(["w3"]), &json!(false))
    );
}

#[tokio::test]
async fn an_answer_in_anothers_name_is_not_believed_and_is_said() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut w1 = bed.prepare_worker("w1", &WorkerConfig::new("w1").idle());
    w1.start();
    bed.bus.served(&bed.bus.command("w1", "list")).await;
    let liar = Id::generate();
    let mut requests = bed.bus.client.subscribe(bed.bus.prefix.command_of_all("*")).await.unwrap();
    bed.bus.client.flush().await.unwrap();
    let lying = async {
        let inbox = requests.next().await.unwrap().reply.unwrap();
        let mut answer = bulk("w1", json!([resumed(0)]));
        answer["instance_id"] = json!(liar);
        bed.bus.client.publish(inbox, answer.to_string().into()).await.unwrap();
        bed.bus.client.flush().await.unwrap();
    };
    let (output, ()) = tokio::join!(bed.util_worker(&["cordon", "--all", "-o", "json"]), lying);
    let document = output.expect(1).json();
    assert_eq!(document["conflicts"], json!([{"worker": "w1", "instance_id": liar}]));
    assert_eq!(document["workers"][0]["threads"][0]["outcome"]["kind"], "cordoned", "{document}");
    assert_eq!(document["complete"], true);
}

#[tokio::test]
async fn only_workers_that_report_and_fit_are_waited_for() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _w1 = worker(&bed, "rack1/w1", json!([resumed(0)])).await;
    let _other = played(&bed, "rack2/w1", |_| None).await;
    let stopped = PlayedCommands::start(&bed.bus, "rack1/w2", |_| None).await;
    stopped.report(1, "stopped", json!([])).await;
    // Each would be waited for until the harness's deadline otherwise.
    bed.util_worker(&["pause", "-w", "rack1/*"]).await.expect(0);
    let output = bed.util_worker(&["pause", "-w", "rack3*"]).await.expect(3);
    assert_eq!(output.stdout, "");
}

#[tokio::test]
async fn a_selector_that_hits_nothing_is_exit_3_for_every_command() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _w1 = worker(&bed, "w1", json!([])).await;
    for verb in ["pause", "resume", "cordon", "uncordon", "drain"] {
        for more in [&[][..], &["--dry-run"]] {
            let args = [&[verb, "--sector", "s-t010000-9"], more].concat();
            let output = bed.util_worker(&args).await.expect(3);
            assert!(output.stderr.contains("no thread is selected"), "{}", output.stderr);
        }
        bed.util_worker(&[verb, "-w", "nobody*"]).await.expect(3);
    }
}

#[tokio::test]
async fn a_worker_that_refuses_is_named_and_exit_1() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _w1 = worker(&bed, "w1", json!([resumed(0)])).await;
    let _w2 =
        played(&bed, "w2", |_| Some(refusal(ErrorKind::internal("the worker is stopping")))).await;
    let output = bed.util_worker(&["pause", "--all"]).await.expect(1);
    assert_eq!(
        output.rows()[1],
        ["w2", "-", "-", "refused: internal error: the worker is stopping"]
    );
    assert!(output.stderr.contains("1 worker refused"), "{}", output.stderr);
}

#[tokio::test]
async fn a_lease_that_is_not_confirmed_yet_is_waited_for() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut refusals = 3;
    let w1 = played(&bed, "w1", move |_| {
        refusals -= 1;
        Some(if refusals > 0 {
            refusal(ErrorKind::LeaseUnconfirmed)
        } else {
            bulk("w1", json!([resumed(0)]))
        })
    })
    .await;
    bed.util_worker(&["--timeout", "10s", "resume", "--all"]).await.expect(0);
    let ids: Vec<_> = w1.heard().iter().map(|heard| heard.request.request_id).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn without_the_state_bucket_it_waits_out_the_timeout_and_says_that_some_may_be_missing() {
    let bed = Testbed::start().await;
    // No manager has made the bucket: whom to expect is as unknown as without JetStream.
    let answer = bulk("w1", json!([resumed(0)]));
    let _w1 = PlayedCommands::start(&bed.bus, "w1", move |_| Some(answer.clone())).await;
    let output = bed.util_worker(&["--timeout", "1s", "resume", "--all"]).await.expect(0);
    assert_eq!(output.rows().len(), 1);
    assert!(output.stderr.contains("unknown"), "{}", output.stderr);
}

#[tokio::test]
async fn wrong_selectors_are_usage_errors_that_need_no_nats() {
    let mut bed = Testbed::start().await;
    bed.nats.stop().await;
    for args in [
        &["resume", "--error", "("][..],
        &["resume", "-w", "[a"],
        &["resume", "--in-state", "C1Dnoe"],
        &["resume", "--all", "--to", "C1Dnoe"],
        &["resume", "--plan", "wdpost", "--to", "C1Done"],
        &["resume", "w1", "0", "--all"],
        &["pause", "--all", "--if-revision", "3"],
        &["pause", "--all", "--wait"],
        &["pause", "w1", "0,2-4", "--wait"],
        &["pause", "w1", "0", "--wait", "2h"],
        &["resume", "w1", "0", "--wait", "2h"],
        &["resume", "--all", "--state", "C1Done"],
        &["resume", "w1", "0", "C1Done", "--to", "C1Done"],
        &["pause", "--index", "4-2"],
        &["pause", "--sector", "banana"],
        &["cordon", "w1", "--all"],
        &["cordon"],
        &["drain"],
        &["drain", "w1", "--wait", "2h"],
        &["drain", "w1", "--wait=2h", "--detach"],
    ] {
        let output = bed.util_worker(args).await.expect(2);
        assert_eq!(output.stdout, "");
    }
}

#[tokio::test]
async fn real_workers_are_resumed_by_their_error_and_state() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (mut w1, mut w2) = (
        bed.prepare_worker("w1", &WorkerConfig::new("w1").threads(2)),
        bed.prepare_worker("w2", &WorkerConfig::new("w2")),
    );
    w1.start();
    w2.start();
    let stuck = [bed.states.until_stuck("w1").await, bed.states.until_stuck("w2").await];
    let selectors =
        ["--error", "No cached parameters", "--in-state", "C1Done", "--to", "TreeDBuilt"];

    let dry_run =
        bed.util_worker(&[&["resume", "--dry-run"][..], &selectors].concat()).await.expect(0);
    let resumed = |row: &Vec<&str>| row[3] == "resumed C1Done -> TreeDBuilt";
    let would = |row: &Vec<&str>| row[3] == "would resume C1Done -> TreeDBuilt";
    assert!(dry_run.rows().len() == 3 && dry_run.rows().iter().all(would), "{}", dry_run.stdout);
    assert!(
        dry_run.stderr.contains("3 threads on 2 workers: 3 would resume"),
        "{}",
        dry_run.stderr
    );
    for (name, before) in [("w1", &stuck[0]), ("w2", &stuck[1])] {
        let revisions = |snapshot: &WorkerSnapshot| {
            snapshot.threads.iter().map(|thread| thread.revision).collect::<Vec<_>>()
        };
        assert_eq!(revisions(&bed.bus.list(name).await), revisions(before));
    }

    let done = bed.util_worker(&[&["resume"][..], &selectors].concat()).await.expect(0);
    assert!(done.rows().len() == 3 && done.rows().iter().all(resumed), "{}", done.stdout);
    for (name, before) in [("w1", &stuck[0]), ("w2", &stuck[1])] {
        let again = |now: &WorkerSnapshot| {
            now.threads
                .iter()
                .zip(&before.threads)
                .all(|(now, before)| is_stuck(now) && now.revision > before.revision)
        };
        bed.states.until(name, "stuck again", again).await;
    }
    let none = bed.util_worker(&["resume", "--plan", "wdpost"]).await.expect(3);
    assert!(none.stderr.contains("no thread is selected"), "{}", none.stderr);
}

#[tokio::test]
async fn a_killed_worker_is_named_and_the_others_have_acted() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (mut w1, mut w2) = (
        bed.prepare_worker("w1", &WorkerConfig::new("w1").idle()),
        bed.prepare_worker("w2", &WorkerConfig::new("w2").idle()),
    );
    w1.start();
    w2.start();
    bed.bus.served(&bed.bus.command("w1", "list")).await;
    bed.bus.served(&bed.bus.command("w2", "list")).await;
    bed.states.until("w1", "it reports", |_| true).await;
    bed.states.until("w2", "it reports", |_| true).await;
    w2.kill9().await;
    bed.bus.unserved(&bed.bus.command("w2", "list")).await;
    let output = bed.util_worker(&["--timeout", "1s", "pause", "--all"]).await.expect(4);
    assert!(output.stderr.contains("unknown: w2"), "{}", output.stderr);
    assert!(is_paused(&bed.bus.list("w1").await.threads[0], PausedBy::Operator));
}

#[tokio::test]
async fn thousands_of_workers_answer_one_request() {
    const WORKERS: usize = 3_000;
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let names: Vec<_> = (0..WORKERS).map(|number| format!("w{number:04}")).collect();
    for worker in &names {
        let snapshot =
            json!({"instance_id": Id::NIL, "seq": 1, "ping_interval_ms": 60_000}).to_string();
        bed.bus.client.publish(bed.bus.prefix.state(&name(worker)), snapshot.into()).await.unwrap();
    }
    // Its answer comes when those before it are stored.
    let last = worker(&bed, "w9999", json!([resumed(0)])).await;
    let mut requests = bed.bus.client.subscribe(bed.bus.prefix.command_of_all("*")).await.unwrap();
    bed.bus.client.flush().await.unwrap();
    let answering = async {
        let request = requests.next().await.unwrap();
        let inbox = request.reply.unwrap();
        for worker in &names {
            let answer = bulk(worker, json!([resumed(0), resumed(1)])).to_string();
            bed.bus.client.publish(inbox.clone(), answer.into()).await.unwrap();
        }
    };
    let (output, ()) = tokio::join!(bed.util_worker(&["resume", "--all", "-o", "json"]), answering);
    let document = output.expect(0).json();
    assert_eq!(
        (&document["complete"], &document["summary"]["workers"]),
        (&json!(true), &json!(WORKERS + 1))
    );
    assert_eq!(document["summary"]["changed"]["resumed"], json!(2 * WORKERS + 1));
    // Nobody had to be asked by name.
    assert_eq!(last.heard().len(), 1);
}

#[tokio::test]
async fn without_jetstream_nobody_knows_who_is_missing_and_that_is_said() {
    let mut bed = Testbed::start_without_jetstream().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    let output = bed.util_worker(&["pause", "--all", "--timeout", "1s"]).await.expect(0);
    assert_eq!(output.rows(), [["w1", "0", "-", "paused"]]);
    assert!(
        output.stderr.contains("JetStream") && output.stderr.contains("unknown"),
        "{}",
        output.stderr
    );
}
