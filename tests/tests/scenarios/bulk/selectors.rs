//! A command for many threads is one request: whoever fits acts, nobody else says anything.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::collections::BTreeMap;

use e2e::{
    bus::refused,
    scatter::selected,
    state_watch::is_paused,
    testbed::Testbed,
    worker::{Worker, WorkerConfig},
};
use serde_json::{Value, json};
use shared_msgs::{
    codec::Encoding,
    command::{CommandRequest, Outcome, Verb},
    error::{ErrorKind, ErrorReply},
    selector::Selector,
    snapshot::{PausedBy, ThreadSnapshot},
};

// `seal-1` has two threads that C2 failed in, `seal-2` one that finds no sector, `unseal-1` two
// without a job.
async fn three_workers(bed: &mut Testbed) -> (e2e::manager::Manager, Vec<Worker>) {
    let manager = bed.mock_manager().await;
    let configs = [
        ("seal-1", WorkerConfig::new("seal-1").threads(2)),
        ("seal-2", WorkerConfig::new("seal-2").idle()),
        ("unseal-1", WorkerConfig::new("unseal-1").threads(2).plan("unseal").rarely_asking()),
    ];
    let mut workers = vec![];
    for (name, config) in configs {
        workers.push(bed.prepare_worker(name, &config));
        workers.last_mut().unwrap().start();
    }
    bed.states.until_stuck("seal-1").await;
    bed.states.until("seal-2", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    bed.states.until("unseal-1", "it waits", |snapshot| snapshot.summary.waiting == 2).await;
    (manager, workers)
}

fn selector(parts: Value) -> Selector {
    serde_json::from_value(parts).unwrap()
}

async fn revisions(bed: &Testbed) -> Vec<u64> {
    let mut revisions = vec![];
    for worker in ["seal-1", "seal-2", "unseal-1"] {
        revisions.extend(bed.bus.list(worker).await.threads.iter().map(|thread| thread.revision));
    }
    revisions
}

#[tokio::test]
async fn each_part_of_a_selector_selects_and_workers_that_do_not_fit_keep_silent() {
    let mut bed = Testbed::start().await;
    let _programs = three_workers(&mut bed).await;
    let before = revisions(&bed).await;
    let sectors: Vec<_> = bed
        .bus
        .list("seal-1")
        .await
        .threads
        .iter()
        .map(|thread| thread.sector_id.clone().unwrap())
        .collect();
    // Whose name does not fit is silent; whose threads do not fit says that.
    let everybody = |seal_1: &[u32], seal_2: &[u32], unseal_1: &[u32]| {
        [("seal-1", seal_1), ("seal-2", seal_2), ("unseal-1", unseal_1)]
            .map(|(name, threads)| (name.to_owned(), threads.to_vec()))
            .into()
    };
    let only = |named: &[(&str, &[u32])]| -> BTreeMap<String, Vec<u32>> {
        named.iter().map(|(name, threads)| ((*name).to_owned(), threads.to_vec())).collect()
    };
    let cases = [
        (json!({"all": true}), everybody(&[0, 1], &[0], &[0, 1])),
        (json!({"worker": ["seal-*"]}), only(&[("seal-1", &[0, 1]), ("seal-2", &[0])])),
        (
            json!({"worker": ["*-1"], "all": true}),
            only(&[("seal-1", &[0, 1]), ("unseal-1", &[0, 1])]),
        ),
        (
            json!({"worker": ["seal-[2-9]", "un{seal,do}-1"]}),
            only(&[("seal-2", &[0]), ("unseal-1", &[0, 1])]),
        ),
        (json!({"worker": ["nobody"]}), only(&[])),
        (json!({"index": [1]}), everybody(&[1], &[], &[1])),
        (json!({"index": [0, 7]}), everybody(&[0], &[0], &[0])),
        (json!({"state": ["C1Done"]}), everybody(&[0, 1], &[], &[])),
        (json!({"state": ["C1Done", "Empty"], "index": [0]}), everybody(&[0], &[0], &[0])),
        (json!({"plan": ["unseal"]}), everybody(&[], &[], &[0, 1])),
        (json!({"status": ["paused"]}), everybody(&[0, 1], &[], &[])),
        (json!({"status": ["waiting", "running"], "plan": ["sealer"]}), everybody(&[], &[0], &[])),
        (json!({"error": "No cached parameters.*stacked"}), everybody(&[0, 1], &[], &[])),
        (json!({"error": "^permanent: nothing of the kind"}), everybody(&[], &[], &[])),
        (json!({"sector": [sectors[1]]}), everybody(&[1], &[], &[])),
        (
            json!({"error": "No cached", "state": ["C1Done"], "worker": ["seal-?"], "index": [1]}),
            only(&[("seal-1", &[1]), ("seal-2", &[])]),
        ),
    ];
    for (number, (parts, expected)) in cases.into_iter().enumerate() {
        let request = CommandRequest { dry_run: true, ..CommandRequest::to_all(selector(parts)) };
        let encoding = if number % 2 == 0 { Encoding::Json } else { Encoding::Msgpack };
        let answers = bed.bus.order_all(Verb::Cordon, encoding, &request, expected.len(), 3).await;
        assert_eq!(selected(&answers), expected, "{request:?}");
        assert!(answers.iter().all(|answer| answer["dry_run"] == true));
    }
    assert_eq!(revisions(&bed).await, before);
}

#[tokio::test]
async fn a_dry_run_says_for_each_thread_what_would_happen_and_the_command_then_does_it() {
    let mut bed = Testbed::start().await;
    let _programs = three_workers(&mut bed).await;
    let before = revisions(&bed).await;
    let request = CommandRequest {
        state: Some("TreeDBuilt".into()),
        ..CommandRequest::to_all(selector(json!({"worker": ["seal-*"]})))
    };
    let would = CommandRequest { dry_run: true, ..request.clone() };
    for (encoding, request, dry) in [
        (Encoding::Json, &would, true),
        (Encoding::Msgpack, &would, true),
        (Encoding::Msgpack, &request, false),
    ] {
        assert_eq!(revisions(&bed).await, before);
        let mut answers = bed.bus.order_all(Verb::Resume, encoding, request, 2, 3).await;
        answers.sort_by_key(|answer| answer["worker"].to_string());
        let [first, second] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(first["dry_run"], if dry { json!(true) } else { Value::Null });
        for (index, thread) in first["threads"].as_array().unwrap().iter().enumerate() {
            assert_eq!(
                thread["outcome"],
                json!({"kind": "resumed", "from": "C1Done", "to": "TreeDBuilt"})
            );
            assert_eq!(thread["revision"], before[index] + u64::from(!dry));
        }
        assert_eq!(second["threads"][0]["error"]["kind"], "not_paused");
    }
    // They have been through PC1 again, and are stuck where they were.
    let stuck_again = |thread: &ThreadSnapshot, before: u64| {
        is_paused(thread, PausedBy::Error) && thread.revision > before + 1
    };
    bed.states
        .until_thread("seal-1", 0, "failed again", |thread| stuck_again(thread, before[0]))
        .await;
    bed.states
        .until_thread("seal-1", 1, "failed again", |thread| stuck_again(thread, before[1]))
        .await;
    assert_eq!(revisions(&bed).await[2..], before[2..]);
}

#[tokio::test]
async fn a_selector_to_one_worker_is_for_its_threads_alone() {
    let mut bed = Testbed::start().await;
    let _programs = three_workers(&mut bed).await;
    let all = CommandRequest::to_all(selector(json!({"all": true})));
    let reply = bed.bus.order_many("unseal-1", Verb::Pause, &all).await.unwrap();
    assert_eq!(
        reply.threads.iter().map(|thread| thread.outcome.clone()).collect::<Vec<_>>(),
        vec![Some(Outcome::Paused); 2]
    );
    let other = CommandRequest::to_all(selector(json!({"worker": ["seal-*"]})));
    assert_eq!(bed.bus.order_many("unseal-1", Verb::Resume, &other).await.unwrap().threads, []);
    assert_eq!(bed.bus.list("seal-2").await.summary.paused, 0);
}

#[tokio::test]
async fn a_selector_that_makes_no_sense_is_refused_by_every_worker() {
    let mut bed = Testbed::start().await;
    let _programs = three_workers(&mut bed).await;
    let before = revisions(&bed).await;
    for (number, parts) in [
        json!({}),
        json!({"error": "("}),
        json!({"error": "(a{9999}){9999}"}),
        json!({"worker": ["[z-a]"]}),
        json!({"status": ["asleep"]}),
        json!({"state": vec!["C1Done"; 1000]}),
        json!({"state": ["x".repeat(5000)]}),
    ]
    .into_iter()
    .enumerate()
    {
        let request = CommandRequest::to_all(selector(parts));
        let encoding = if number % 2 == 0 { Encoding::Json } else { Encoding::Msgpack };
        for answer in bed.bus.order_all(Verb::Pause, encoding, &request, 3, 3).await {
            let refusal: ErrorReply = serde_json::from_value(answer).unwrap();
            assert!(matches!(refusal.error.kind, ErrorKind::BadRequest { .. }), "{refusal:?}");
        }
        let kind = refused(bed.bus.order_many("seal-1", Verb::Pause, &request).await);
        assert!(matches!(kind, ErrorKind::BadRequest { .. }), "{kind:?}");
    }
    // What one thread is asked is nothing for all workers.
    for answer in bed.bus.order_all(Verb::Pause, Encoding::Json, &CommandRequest::to(0), 3, 3).await
    {
        assert_eq!(answer["error"]["kind"], "bad_request");
    }
    assert_eq!(revisions(&bed).await, before);
}

#[tokio::test]
async fn of_commands_that_select_the_same_threads_at_once_each_thread_obeys_one() {
    let mut bed = Testbed::start().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").threads(4).idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 4).await;
    let waiting = CommandRequest::to_all(selector(json!({"status": ["waiting"]})));
    let replies =
        (0..20).map(async |_| bed.bus.order_many("w1", Verb::Pause, &waiting).await.unwrap());
    let results: Vec<_> = futures::future::join_all(replies)
        .await
        .into_iter()
        .flat_map(|reply| reply.threads)
        .collect();
    let paused: Vec<_> = results
        .iter()
        .filter(|result| result.outcome == Some(Outcome::Paused))
        .map(|result| result.index)
        .collect();
    assert_eq!(
        (paused.len(), paused.iter().collect::<std::collections::BTreeSet<_>>().len()),
        (4, 4),
        "{results:?}"
    );
    let refused = results.iter().filter(|result| result.outcome.is_none());
    assert!(
        refused.clone().all(|result| result.error.as_ref().unwrap().kind == ErrorKind::NotSelected),
        "{results:?}"
    );
    assert_eq!(refused.count() + paused.len(), results.len());
}

#[tokio::test]
async fn nobody_answers_a_request_of_many_that_wants_its_answer_elsewhere_than_in_an_inbox() {
    let mut bed = Testbed::start().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    let body = json!({"selector": {"all": true}}).to_string();
    let subject = bed.bus.prefix.command_of_all("pause");
    bed.bus.client.publish_with_reply(subject, "damocles.v1.state.w1", body.into()).await.unwrap();
    worker.log().line_with(&["WARN", "inbox"]).await;
    assert_eq!(bed.bus.list("w1").await.summary.paused, 0);
}
