//! `pause --now` stops the external processor, and the sector stays where it was.
//!
//! What cannot be stopped is paused when its stage ends, and the answer says why.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use e2e::{
    bus::refused,
    children::{ended, process, processor_pid},
    event_log::{EventLog, assert_exactly_once, of_kind, of_request},
    fake_sector_manager::result,
    gate::Gate,
    state_watch::{is_in_c2, is_paused},
    testbed::{Testbed, sector},
    worker::{Worker, WorkerConfig},
};
use serde_json::json;
use shared_msgs::{
    command::{CommandReply, CommandRequest, Outcome, Verb},
    error::ErrorKind,
    event::EventKind,
    id::Id,
    sector_manager::piece_cid,
    snapshot::{PausedBy, ThreadSnapshot, ThreadStatus},
};
use tokio::net::TcpListener;

fn now(index: u32) -> CommandRequest {
    CommandRequest { now: true, request_id: Some(Id::generate()), ..CommandRequest::to(index) }
}

async fn pause(bed: &Testbed, request: &CommandRequest) -> CommandReply {
    bed.bus.order("w1", Verb::Pause, request).await.unwrap()
}

// One thread in C2, whose processor answers when the gate is open.
async fn worker_in_c2(bed: &mut Testbed, args: &[&str], toml: &str) -> (Worker, Gate, u32) {
    let gate = bed.gate("c2");
    let args = [&["--hold", gate.path().to_str().unwrap()], args].concat();
    let worker = bed.worker(
        &WorkerConfig::new("w1").fixture("c2", &args, toml).sealing("recover_interval", "'1h'"),
    );
    let thread = bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;
    (worker, gate, processor_pid(&thread))
}

// As it was before the stage.
fn is_as_before(thread: &ThreadSnapshot) -> bool {
    thread.state == "C1Done"
        && thread.last_err.is_none()
        && thread.retry == 0
        && is_paused(thread, PausedBy::Operator)
}

#[tokio::test]
async fn the_processor_is_stopped_the_sector_stays_and_a_resume_runs_the_stage_anew() {
    for toml in ["", "auto_restart = false"] {
        let mut bed = Testbed::start().await;
        let log = EventLog::make(&bed.bus).await;
        let _manager = bed.mock_manager().await;
        let (mut worker, mut gate, pid) = worker_in_c2(&mut bed, &[], toml).await;
        let request = now(0);
        let reply = pause(&bed, &request).await;
        assert_eq!(
            (&reply.outcome, reply.sector_id.as_deref()),
            (&Outcome::Paused, Some("s-t010000-1"))
        );
        ended(pid).await;
        let thread = bed.bus.list("w1").await.threads[0].clone();
        assert!(is_as_before(&thread) && thread.revision == reply.revision, "{thread:?}");
        assert_eq!(pause(&bed, &request).await, reply);

        let resumed = bed.bus.resume("w1", 0, None).await.unwrap();
        assert_eq!(
            resumed.outcome,
            Outcome::Resumed { from: "C1Done".into(), to: "C1Done".into() }
        );
        let thread = bed
            .states
            .until_thread("w1", 0, "in C2 again", |now| {
                is_in_c2(now) && now.revision > thread.revision
            })
            .await;
        assert_ne!(processor_pid(&thread), pid);
        gate.open();
        bed.requests.until_finalized(sector(1)).await;
        assert!(worker.terminate().await.success());

        let events = log.until_stopped(1).await;
        assert_exactly_once(&events);
        assert_eq!(of_kind(&events, EventKind::Failure).len(), 0);
        assert_eq!(
            (
                of_request(&events, request.request_id.unwrap()).len(),
                of_kind(&events, EventKind::Paused).len()
            ),
            (1, 1)
        );
    }
}

#[tokio::test]
async fn a_processor_that_does_not_end_when_asked_is_killed() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (mut worker, _gate, pid) = worker_in_c2(&mut bed, &["--ignore-term"], "").await;
    let asking = now(0);
    let pausing = pause(&bed, &asking);
    let meanwhile = async {
        worker.log().line_with(&["asked to end, and does not"]).await;
        bed.bus.list("w1").await.threads[0].clone()
    };
    let (reply, shown) = tokio::join!(pausing, meanwhile);
    assert!(matches!(shown.status, ThreadStatus::PausePending { .. }), "{shown:?}");
    assert_eq!(reply.outcome, Outcome::Paused);
    assert!(!process(pid).exists());
    assert!(is_as_before(&bed.bus.list("w1").await.threads[0]));
}

#[tokio::test]
async fn killed_while_it_stops_a_processor_the_worker_comes_back_paused() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let _manager = bed.mock_manager().await;
    let (mut worker, mut gate, _) = worker_in_c2(&mut bed, &["--ignore-term"], "").await;
    let request = now(0);
    let inbox = bed.bus.client.new_inbox();
    let body = serde_json::to_vec(&request).unwrap();
    bed.bus
        .client
        .publish_with_reply(bed.bus.command("w1", "pause"), inbox, body.into())
        .await
        .unwrap();
    worker.log().line_with(&["asked to end, and does not"]).await;
    worker.kill9().await;
    worker.start();
    let pid = worker.pid();
    let next = bed.states.until("w1", "the next run", |snapshot| snapshot.pid == pid).await;
    assert!(is_as_before(&next.threads[0]), "{next:?}");

    // It was decided, and is not decided again.
    let repeated = pause(&bed, &request).await;
    assert!(matches!(repeated.outcome, Outcome::PausePending { .. }), "{repeated:?}");
    assert_eq!(bed.bus.list("w1").await.threads[0].revision, next.threads[0].revision);
    bed.bus.resume("w1", 0, None).await.unwrap();
    gate.open();
    bed.requests.until_finalized(sector(1)).await;
    assert!(worker.terminate().await.success());
    let events = log.until_stopped(1).await;
    assert_exactly_once(&events);
    assert_eq!(of_request(&events, request.request_id.unwrap()).len(), 1);
}

#[tokio::test]
async fn a_processor_that_works_for_another_thread_too_is_left_alone_and_the_pause_is_pending() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let config = WorkerConfig::new("w1").threads(2).fixture(
        "c2",
        &["--hold", gate.path().to_str().unwrap()],
        "concurrent = 2",
    );
    let _worker = bed.worker(&config);
    let both = bed
        .states
        .until("w1", "both in C2", |snapshot| snapshot.threads.iter().all(is_in_c2))
        .await;
    let pid = processor_pid(&both.threads[0]);
    assert_eq!(processor_pid(&both.threads[1]), pid);

    let reply = pause(&bed, &now(0)).await;
    let Outcome::PausePending { stage, why: Some(why) } = &reply.outcome else {
        panic!("{reply:?}")
    };
    assert!(stage == "C2" && why.contains("1 other thread"), "{why}");
    assert!(process(pid).exists());
    let snapshot = bed.bus.list("w1").await;
    assert!(
        matches!(snapshot.threads[0].status, ThreadStatus::PausePending { .. })
            && is_in_c2(&snapshot.threads[1]),
        "{snapshot:?}"
    );

    gate.open();
    let thread = bed
        .states
        .until_thread("w1", 0, "paused", |thread| is_paused(thread, PausedBy::Operator))
        .await;
    assert_eq!((thread.state.as_str(), thread.last_err.as_deref()), ("C2Done", None));
    let other = both.threads[1].sector_id.as_deref().unwrap().parse().unwrap();
    bed.requests.until_finalized(other).await;
    bed.bus.resume("w1", 0, None).await.unwrap();
    bed.requests
        .until_finalized(both.threads[0].sector_id.as_deref().unwrap().parse().unwrap())
        .await;
}

// Pausing both at once: neither may take the other's processor away.
#[tokio::test]
async fn of_two_threads_that_share_a_processor_both_can_be_told_at_once() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let config = WorkerConfig::new("w1").threads(2).fixture(
        "c2",
        &["--hold", gate.path().to_str().unwrap()],
        "concurrent = 2",
    );
    let _worker = bed.worker(&config);
    bed.states.until("w1", "both in C2", |snapshot| snapshot.threads.iter().all(is_in_c2)).await;
    let (first, second) = (now(0), now(1));
    let (first, second) = tokio::join!(pause(&bed, &first), pause(&bed, &second));
    for reply in [first, second] {
        assert!(matches!(reply.outcome, Outcome::PausePending { why: Some(_), .. }), "{reply:?}");
    }
    gate.open();
    let paused =
        |thread: &ThreadSnapshot| is_paused(thread, PausedBy::Operator) && thread.state == "C2Done";
    bed.states.until("w1", "both paused", |snapshot| snapshot.threads.iter().all(paused)).await;
}

#[tokio::test]
async fn a_stage_inside_the_worker_cannot_be_stopped_and_the_answer_says_so() {
    let mut bed = Testbed::start().await;
    // The piece of its deal is at a server that takes the request and does not answer.
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/piece", server.local_addr().unwrap());
    let piece = json!({"size": 1024, "piece_cid": piece_cid(&[0; 32])});
    let deal = json!({"piece": piece, "deal_info": {"deal_id": 1, "is_builtin_market": true, "payload_size": 1016}, "url": url});
    let _manager = bed
        .fake_sector_manager(move |method, _| match method {
            "allocate_sector" => {
                result(json!({"id": {"miner": 10000, "number": 1}, "proof_type": 5}))
            }
            "acquire_deals" => result(json!([deal])),
            _ => result(json!({})),
        })
        .await;
    let _worker = bed.worker(&WorkerConfig::new("w1").sealing("enable_deals", "true"));
    let in_stage = |thread: &ThreadSnapshot| {
        matches!(thread.status, ThreadStatus::Running { .. }) && thread.state == "DealsAcquired"
    };
    bed.states.until_thread("w1", 0, "it fetches the piece", in_stage).await;
    let held = server.accept().await.unwrap();

    let reply = pause(&bed, &now(0)).await;
    let Outcome::PausePending { stage, why: Some(why) } = &reply.outcome else {
        panic!("{reply:?}")
    };
    assert!(stage == "AddPieces" && why.contains("inside the worker"), "{stage}: {why}");
    assert!(matches!(
        bed.bus.list("w1").await.threads[0].status,
        ThreadStatus::PausePending { .. }
    ));
    // The stage ends: without its piece.
    drop(held);
    let thread = bed
        .states
        .until_thread("w1", 0, "paused", |thread| is_paused(thread, PausedBy::Operator))
        .await;
    assert_eq!(thread.state, "DealsAcquired");
}

#[tokio::test]
async fn now_is_for_pauses_and_a_thread_that_waits_needs_none() {
    let mut bed = Testbed::start().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    let refusal = refused(bed.bus.order("w1", Verb::Cordon, &now(0)).await);
    assert!(matches!(refusal, ErrorKind::BadRequest { .. }), "{refusal:?}");
    assert_eq!(pause(&bed, &now(0)).await.outcome, Outcome::Paused);
    assert_eq!(pause(&bed, &now(0)).await.outcome, Outcome::AlreadyPaused);
}
