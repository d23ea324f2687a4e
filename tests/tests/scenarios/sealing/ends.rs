//! Only an explicit reason to abort it, or an operator, ends a sector.
//!
//! Nothing sealed is lost by anything else that a sector manager says.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::{fs, path::PathBuf, sync::Arc};

use async_nats::jetstream;
use damocles_worker::store::{
    database::{Change, Store},
    record::{Control, Job},
};
use e2e::{
    binaries, cli,
    event_log::{EventLog, Stored},
    fake_sector_manager::{FakeSectorManager, result},
    state_watch::{is_in_c2, is_paused, is_stuck, waits_for},
    testbed::{MINER, Testbed, sector},
    worker::{Worker, WorkerConfig},
};
use serde_json::{Value, json};
use shared_msgs::{
    command::{CommandRequest, Verb},
    error::{ErrorKind, ErrorReply},
    event::EventKind,
    plan::State,
    sector_manager::{
        HEARTBEAT, ReportAborted, ReportFinalized, ReportState, WdpostFinish, WdpostHeartbeat,
    },
    snapshot::{PausedBy, ThreadSnapshot},
};

const FIRST: &str = "s-t010000-1";

fn refusal(kind: ErrorKind) -> Value {
    serde_json::to_value(ErrorReply::from(kind)).unwrap()
}

// What is said of the first sector.
fn said(finalized: bool, abort_reason: Option<&str>) -> Value {
    result(json!({"id": sector(1), "finalized": finalized, "abort_reason": abort_reason}))
}

fn config() -> WorkerConfig {
    // Each sixth one is a heartbeat.
    WorkerConfig::new("w1").worker("ping_interval", "'100ms'")
}

// Waits until the thread has heard what is said to heartbeats now.
async fn heard(bed: &mut Testbed) -> ThreadSnapshot {
    for _ in 0..3 {
        bed.requests
            .until("a heartbeat", |report: &ReportState| report.state_change.event == HEARTBEAT)
            .await;
    }
    // The thread takes one message after the other.
    bed.bus
        .order("w1", Verb::Pause, &CommandRequest { dry_run: true, ..CommandRequest::to(0) })
        .await
        .unwrap();
    bed.bus.list("w1").await.threads[0].clone()
}

async fn until_refused(bed: &mut Testbed, after: u64) -> ThreadSnapshot {
    let refused =
        |thread: &ThreadSnapshot| is_paused(thread, PausedBy::Error) && thread.revision > after;
    bed.states.until_thread("w1", 0, "paused by a refusal", refused).await
}

async fn until_second_sector(bed: &mut Testbed) {
    let next = |thread: &ThreadSnapshot| {
        is_stuck(thread) && thread.sector_id.as_deref() == Some("s-t010000-2")
    };
    bed.states.until_thread("w1", 0, "the next sector", next).await;
    // Whatever was asked before is seen by then.
    let of_second =
        |report: &ReportState| report.sector == sector(2) && report.state_change.next == "C1Done";
    bed.requests.until("of the second sector", of_second).await;
}

fn aside(worker: &Worker) -> Vec<PathBuf> {
    let entries = fs::read_dir(worker.location(0).join("data/aside"));
    entries.map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

#[tokio::test]
async fn refused_heartbeats_pause_the_thread_after_its_stage_and_nothing_is_lost() {
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    let mut gate = bed.gate("c2");
    let worker = bed.worker(&config().held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;
    let files = worker.files_of(0, FIRST);
    assert_eq!(files.len(), 6);

    answers.say("report_state", refusal(ErrorKind::bad_request("no field `sector`")));
    answers.say("poll_proof_state", result(json!({"state": "pending"})));
    let running = heard(&mut bed).await;
    assert!(is_in_c2(&running) && running.last_err.is_none(), "its stage runs on: {running:?}");
    gate.open();
    let thread = until_refused(&mut bed, 0).await;
    assert_eq!((thread.state.as_str(), thread.sector_id.as_deref()), ("C2Done", Some(FIRST)));
    assert_eq!(
        thread.last_err.as_deref(),
        Some("permanent: sector manager, report_state: bad request: no field `sector`")
    );

    // Said again and again, in other words too, it changes nothing.
    for kind in [ErrorKind::bad_request("x"), ErrorKind::SectorNotFound { sector: FIRST.into() }] {
        answers.say("report_state", refusal(kind));
        let again = heard(&mut bed).await;
        assert_eq!((again.revision, again.last_err), (thread.revision, thread.last_err.clone()));
    }

    // It goes on when an operator says so, until it is refused again.
    answers
        .say("report_state", json!({"error": {"kind": "on_holiday", "message": "back on Monday"}}));
    let resumed = bed.bus.resume("w1", 0, None).await.unwrap();
    let thread = until_refused(&mut bed, resumed.revision).await;
    assert!(thread.last_err.unwrap().contains("back on Monday"));
    assert_eq!(worker.files_of(0, FIRST), files);

    answers.go_well("report_state");
    answers.go_well("poll_proof_state");
    bed.bus.resume("w1", 0, None).await.unwrap();
    bed.requests.until_finalized(sector(1)).await;
    assert!(bed.requests.seen::<ReportAborted>().is_empty() && worker.persisted().contains(&1));
}

#[tokio::test]
async fn a_heartbeat_ends_nothing_that_an_operator_paused() {
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    let worker = bed.worker(&config());
    bed.states.until_stuck("w1").await;
    bed.bus.pause("w1", 0).await.unwrap();
    let before = bed.bus.list("w1").await.threads[0].clone();
    let files = worker.files_of(0, FIRST);
    let assert_unchanged = |now: &ThreadSnapshot| {
        let facts = |thread: &ThreadSnapshot| {
            (
                thread.state.clone(),
                thread.revision,
                thread.last_err.clone(),
                thread.sector_id.clone(),
            )
        };
        assert_eq!(facts(now), facts(&before));
        assert!(is_paused(now, PausedBy::Operator));
        assert_eq!(worker.files_of(0, FIRST), files);
    };

    answers.say("report_state", refusal(ErrorKind::SectorNotFound { sector: FIRST.into() }));
    let now = heard(&mut bed).await;
    assert_unchanged(&now);
    assert_eq!(now.end_pending, None);
    answers.say("report_state", said(true, None));
    let now = heard(&mut bed).await;
    assert_unchanged(&now);
    assert_eq!(
        now.end_pending.as_deref(),
        Some("let go, somebody else has finished the sector, says the sector manager")
    );
    // What is about another sector takes nothing back.
    answers.say("report_state", result(json!({"id": sector(7), "abort_reason": "bad disk"})));
    assert_eq!(heard(&mut bed).await.end_pending, now.end_pending);
    answers.go_well("report_state");
    assert_eq!(heard(&mut bed).await.end_pending, None);
    answers.say("report_state", said(false, Some("bad disk")));
    let now = heard(&mut bed).await;
    assert_unchanged(&now);
    assert_eq!(now.end_pending.as_deref(), Some("given up, ended by the sector manager: bad disk"));

    bed.bus.resume("w1", 0, None).await.unwrap();
    let aborted = bed
        .requests
        .until::<ReportAborted>("of the first sector", |request| request.sector == sector(1))
        .await;
    assert_eq!(aborted.reason, "ended by the sector manager: bad disk");
    until_second_sector(&mut bed).await;
    assert!(worker.files_of(0, FIRST).is_empty(), "its replica too: that was written down");
}

#[tokio::test]
async fn what_somebody_else_has_finished_is_let_go_of_and_kept_aside() {
    let mut bed = Testbed::start().await;
    let events = EventLog::make(&bed.bus).await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    let mut worker = bed.worker(&config());
    bed.states.until_stuck("w1").await;
    let replica = fs::read(worker.location(0).join("data/sealed").join(FIRST)).unwrap();
    answers.say("report_state", said(true, Some("")));
    until_second_sector(&mut bed).await;

    assert!(
        bed.requests.seen::<ReportAborted>().is_empty()
            && bed.requests.seen::<ReportFinalized>().is_empty()
    );
    assert!(worker.persisted().contains(&1));
    let entry = aside(&worker).pop().unwrap();
    assert_eq!(fs::read(entry.join("sealed")).unwrap(), replica);
    assert!(
        entry.join("cache").is_dir()
            && entry.join("unsealed").is_file()
            && entry.join("c1out").is_file()
    );
    let why = "somebody else has finished the sector, says the sector manager";
    let ended = |stored: &Stored| {
        stored.event.kind == EventKind::Transition && stored.event.to.as_deref() == Some("Empty")
    };
    let all = events.until("the end", |all| all.iter().any(ended)).await;
    let end = all.iter().find(|stored| ended(stored)).map(|stored| stored.event.clone()).unwrap();
    assert_eq!(
        (end.from.as_deref(), end.sector_id.as_deref(), end.reason.as_deref()),
        (Some("C1Done"), Some(FIRST), Some(why))
    );
    assert!(all.iter().any(|stored| stored.event.error == Some(format!("lost: {why}"))));

    // Beside the running worker.
    fs::write(worker.location(0).join("data/sealed/s-t010000-77"), "x").unwrap();
    let config = worker.config_file();
    let scan = async |more: &[&str]| {
        let args = [&["store", "scan", "-c", config.to_str().unwrap()], more].concat();
        cli::run(binaries::worker(), &args, "", b"").await
    };
    let shown = scan(&[]).await.expect(0);
    assert_eq!(shown.header(), ["Location", "Sector", "Kind", "Bytes", "Since", "Why"]);
    assert_eq!(
        (shown.rows().len(), shown.rows()[0][1], shown.rows()[0][2], shown.rows()[0][5]),
        (1, FIRST, "kept aside", why)
    );
    assert!(shown.stderr.contains("in use by a worker"), "{}", shown.stderr);
    let refused = scan(&["--remove", FIRST]).await.expect(2);
    assert!(refused.stderr.contains("--force") && entry.exists(), "{}", refused.stderr);
    scan(&["--remove", "s-t010000-2", "-f"]).await.expect(3);

    worker.terminate().await;
    let rows = scan(&["-o", "json"]).await.expect(0).json();
    let kinds: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (&row["sector"], &row["kind"], row["bytes"].as_u64() > Some(0)))
        .collect();
    assert_eq!(
        kinds,
        [
            (&json!(FIRST), &json!("kept aside"), true),
            (&json!("s-t010000-77"), &json!("not in hand"), true)
        ]
    );
    scan(&["--remove-all", "-f"]).await.expect(0);
    assert!(aside(&worker).is_empty());
    scan(&["--remove", "s-t010000-77", "-f"]).await.expect(0);
    assert_eq!(scan(&["-o", "jsonl"]).await.expect(0).stdout, "");
    assert_eq!(worker.files_of(0, "s-t010000-2").len(), 6, "what is in hand is not removed");
}

#[tokio::test]
async fn files_are_kept_aside_by_the_next_run_if_this_one_dies_over_it() {
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    let mut worker = bed.prepare_worker("worker", &config());
    worker.start_to_die_at("before-commit:Empty");
    bed.states.until_stuck("w1").await;
    answers.say("report_state", said(true, None));
    worker.died_at_failpoint().await;
    answers.go_well("report_state");
    worker.start();
    until_second_sector(&mut bed).await;
    assert_eq!((aside(&worker).len(), worker.persisted().contains(&1)), (1, true));
    assert!(bed.requests.seen::<ReportAborted>().is_empty());
}

#[tokio::test]
async fn a_finish_of_our_own_whose_answer_was_lost_is_no_end_by_somebody_else() {
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    answers.say(
        "report_finalized",
        refusal(ErrorKind::internal("it was stored, and the answer lost")),
    );
    let worker = bed.worker(&config().fixture_c2(&[]).sealing("recover_interval", "'1h'"));
    let finished =
        |thread: &ThreadSnapshot| thread.state == "Finished" && waits_for("retry 1 of 5")(thread);
    bed.states.until_thread("w1", 0, "it reports its end", finished).await;
    answers.say("report_state", said(true, None));
    let now = heard(&mut bed).await;
    assert_eq!(
        (now.state.as_str(), now.sector_id.as_deref(), now.end_pending),
        ("Finished", Some(FIRST), None)
    );
    answers.go_well("report_finalized");
    bed.bus.pause("w1", 0).await.unwrap();
    bed.bus.resume("w1", 0, None).await.unwrap();
    let later =
        |thread: &ThreadSnapshot| thread.sector_id.as_deref().is_some_and(|sector| sector != FIRST);
    bed.states.until_thread("w1", 0, "a later sector", later).await;
    assert!(aside(&worker).is_empty() && worker.persisted().contains(&1));
}

#[tokio::test]
async fn an_operators_abort_of_a_sector_that_the_sector_manager_forgot_ends_here() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&config());
    let before = bed.states.until_stuck("w1").await.threads[0].clone();
    let jetstream = jetstream::new(bed.bus.client.clone());
    let prefix = &bed.bus.prefix;
    for bucket in [
        prefix.sectors_bucket(MINER),
        prefix.sector_requests_bucket(),
        prefix.sector_records_bucket(),
    ] {
        jetstream.delete_key_value(bucket).await.unwrap();
    }
    let now = heard(&mut bed).await;
    assert_eq!((now.revision, now.last_err), (before.revision, before.last_err), "it is as it was");
    assert_eq!(worker.files_of(0, FIRST).len(), 6);

    bed.util_worker(&["resume", "w1", "0", "Aborted", "-f", "--reason", "bad disk"])
        .await
        .expect(0);
    let next = |thread: &ThreadSnapshot| is_stuck(thread) && thread.revision > before.revision;
    bed.states.until_thread("w1", 0, "the next sector", next).await;
    worker
        .log()
        .line_with(&["given up here only", "bad disk", "is not known to the sector manager"])
        .await;
    let history = bed.util_worker(&["history", "w1", "0"]).await.expect(0).stdout;
    let line = history
        .lines()
        .find(|line| line.contains("Aborted -> Empty"))
        .unwrap_or_else(|| panic!("{history}"));
    assert!(
        line.contains("by an operator: bad disk; given up here only")
            && line.contains("is not known"),
        "{line}"
    );
}

#[tokio::test]
async fn an_abort_that_no_operator_wanted_and_that_is_refused_keeps_the_files_and_can_be_taken_back()
 {
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    answers.say("submit_pre_commit", result(json!({"res": "rejected", "desc": "no such method"})));
    answers.say("report_aborted", refusal(ErrorKind::bad_request("version skew")));
    let worker = bed.worker(&config());
    let thread = until_refused(&mut bed, 0).await;
    assert_eq!((thread.state.as_str(), thread.sector_id.as_deref()), ("Aborted", Some(FIRST)));
    assert!(thread.last_err.unwrap().contains("version skew"));
    assert_eq!(worker.files_of(0, FIRST).len(), 4);

    // The operator goes on with it.
    answers.say("submit_pre_commit", result(json!({"res": "accepted"})));
    bed.bus.resume("w1", 0, Some("PC2Done")).await.unwrap();
    let stuck =
        |thread: &ThreadSnapshot| is_stuck(thread) && thread.sector_id.as_deref() == Some(FIRST);
    bed.states.until_thread("w1", 0, "it goes on", stuck).await;
    assert!(worker.persisted().contains(&1));
}

#[tokio::test]
async fn a_replica_stays_where_nobody_wrote_down_who_gave_its_sector_up() {
    let mut bed = Testbed::start().await;
    let (_manager, _answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    let mut worker = bed.worker(&config());
    bed.states.until_stuck("w1").await;
    worker.terminate().await;
    // As a version wrote it that took any refusal for an abort.
    let store = Store::file(&worker.location(0).join("store.redb"), Arc::default());
    store.open().unwrap();
    let mut record = store.load().await.unwrap().unwrap();
    (record.state, record.control, record.last_err) =
        (State::Aborted, Control::Working, Some("abort: x".into()));
    let Some(Job::Sector(sector_in_hand)) = &mut record.job else { panic!("it has no sector") };
    sector_in_hand.abort_reason = Some("x".into());
    store.commit(Change::to(&record)).await.unwrap();
    drop(store);

    worker.start();
    bed.requests
        .until::<ReportAborted>("of the first sector", |request| request.sector == sector(1))
        .await;
    until_second_sector(&mut bed).await;
    assert!(worker.persisted().contains(&1));
    assert_eq!(worker.files_of(0, FIRST).len(), 2, "only what is in the store");
    worker.log().line_with(&["its replica stays"]).await;
}

#[tokio::test]
async fn an_abort_that_waits_for_a_stage_is_shown_and_keeps_its_first_reason() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let worker = bed.worker(&config().held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;
    bed.requests.until("of C1", |report: &ReportState| report.state_change.next == "C1Done").await;
    bed.util_sealer(&["sectors", "abort", FIRST, "--reason", "bad disk"]).await.expect(0);
    bed.util_sealer(&["sectors", "abort", FIRST]).await.expect(0);
    let list = bed.util_sealer(&["sectors", "list"]).await.expect(0);
    assert_eq!(list.rows()[0][2], "C1Done (abort requested)");
    let listed =
        bed.util_sealer(&["sectors", "list", "-o", "json"]).await.expect(0).json()[0].clone();
    assert_eq!((&listed["state"], &listed["abort_requested"]), (&"C1Done".into(), &true.into()));
    let reason = listed["abort_reason"].as_str().unwrap();
    assert!(reason.starts_with("by ") && reason.ends_with(": bad disk"), "{reason}");

    let waits = |thread: &ThreadSnapshot| thread.end_pending.is_some() && is_in_c2(thread);
    let thread = bed.states.until_thread("w1", 0, "its end is pending", waits).await;
    let pending = format!("given up, ended by the sector manager: {reason}");
    assert_eq!(thread.end_pending.as_deref(), Some(pending.as_str()));
    let info = bed.util_worker(&["info", "w1"]).await.expect(0);
    assert_eq!((info.header()[6], info.rows()[0][6]), ("EndPending", pending.as_str()));
    let wide = bed.util_worker(&["info", "w1", "-o", "wide"]).await;
    for shown in [wide, worker.cli(&["list", "-o", "wide"]).await, worker.cli(&["list"]).await] {
        let shown = shown.expect(0);
        assert!(shown.stdout.contains(&pending), "{}", shown.stdout);
    }

    gate.open();
    bed.requests
        .until::<ReportAborted>("of the first sector", |request| request.sector == sector(1))
        .await;
    let later =
        |thread: &ThreadSnapshot| thread.sector_id.as_deref().is_some_and(|sector| sector != FIRST);
    bed.states.until_thread("w1", 0, "a later sector", later).await;
    let listed =
        bed.util_sealer(&["sectors", "list", "-o", "json"]).await.expect(0).json()[0].clone();
    assert_eq!((&listed["state"], listed.get("abort_requested")), (&"Aborted".into(), None));
}

#[tokio::test]
async fn a_window_post_job_that_is_not_ours_any_more_is_let_go_of_and_one_that_is_refused_pauses() {
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    let place = |kind: &str| format!("store://remote/{kind}/{FIRST}");
    let accesses = json!({"sealed_file": place("sealed"), "cache_dir": place("cache")});
    let proven =
        json!({"sector_id": 1, "comm_r": vec![1; 32], "upgrade": false, "accesses": accesses});
    let input = json!({"sectors": [proven], "miner_id": MINER, "proof_type": "StackedDrgWindow2KiBV1_2", "seed": vec![1; 32]});
    answers.say("allocate_wdpost_job", result(json!([{"id": "j1", "input": input}])));
    let fails =
        config().plan("wdpost").fixture("window_post", &["--fail", "No space left on device"], "");
    let _worker = bed.worker(&fails.sealing("recover_interval", "'1h'"));
    let waits = |job: &'static str| {
        move |thread: &ThreadSnapshot| thread.sector_id.as_deref() == Some(job) && thread.retry == 1
    };
    bed.states.until_thread("w1", 0, "it waits for its retry", waits("j1")).await;

    answers.say("allocate_wdpost_job", result(json!([])));
    answers.say("wdpost_heartbeat", refusal(ErrorKind::JobNotFound { job: "j1".into() }));
    let lost =
        bed.states.until_thread("w1", 0, "it has let go", |thread| thread.state == "Empty").await;
    assert_eq!(lost.sector_id, None);

    answers.say("wdpost_heartbeat", refusal(ErrorKind::bad_request("x")));
    answers.say("allocate_wdpost_job", result(json!([{"id": "j2", "input": input}])));
    let thread = until_refused(&mut bed, lost.revision).await;
    assert_eq!(thread.sector_id.as_deref(), Some("j2"));
    assert_eq!(
        thread.last_err.as_deref(),
        Some("permanent: sector manager, wdpost_heartbeat: bad request: x")
    );
    bed.requests.until("of the second job", |beat: &WdpostHeartbeat| beat.jobs == ["j2"]).await;
    assert!(bed.requests.seen::<WdpostFinish>().is_empty(), "nothing was ours to end");
}
