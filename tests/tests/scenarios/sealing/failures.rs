//! A failure loses nothing, and the last error names its cause and the path.
//!
//! Nothing half-written is taken for whole.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::{fs, path::Path};

use damocles_worker::processor::{builtin, task::PieceCommitment};
use e2e::{
    binaries,
    bus::refused,
    fake_sector_manager::{Answers, FakeSectorManager, result},
    gate::Gate,
    state_watch::{is_paused, is_stuck, waits_for},
    testbed::{Testbed, sector},
    tmpfs::Tmpfs,
    worker::{Worker, WorkerConfig},
};
use serde_json::{Value, json};
use shared_msgs::{
    command::{BulkReply, CommandRequest, Outcome, Verb},
    error::{ErrorKind, ErrorReply},
    id::Id,
    sector_manager::{
        HEARTBEAT, ReportAborted, ReportState, SubmitPreCommit, SubmitSnapupProof, piece_cid,
    },
    selector::Selector,
    snapshot::{PausedBy, ThreadSnapshot, ThreadStatus, WorkerSnapshot, WorkerStatus},
};

fn say(answers: &Answers, method: &'static str, reply: Value) {
    answers.say(method, result(reply));
}

async fn until_failed(bed: &mut Testbed, after: u64) -> (ThreadSnapshot, String) {
    let failed =
        |thread: &ThreadSnapshot| is_paused(thread, PausedBy::Error) && thread.revision > after;
    let thread = bed.states.until_thread("w1", 0, "paused by an error", failed).await;
    let error = thread.last_err.clone().unwrap();
    (thread, error)
}

async fn until_stuck_again(bed: &mut Testbed, after: u64) -> ThreadSnapshot {
    bed.states
        .until_thread("w1", 0, "at C1Done", |thread| is_stuck(thread) && thread.revision > after)
        .await
}

#[tokio::test]
async fn a_full_disk_holds_up_each_stage_that_writes_and_nothing_is_lost() {
    let mut bed = Testbed::start().await;
    let (_manager, _) = FakeSectorManager::with_sectors(&bed.bus).await;
    let mut worker =
        bed.prepare_worker("worker", &WorkerConfig::new("w1").sealing("max_retries", "0"));
    let data = worker.location(0).join("data");
    let Some(tmpfs) = Tmpfs::mount(&data, 512) else { return };
    tmpfs.fill();
    worker.start();
    let (mut thread, mut error) = until_failed(&mut bed, 0).await;
    for (state, next) in [
        ("DealsAcquired", Some("PieceAdded")),
        ("PieceAdded", Some("TicketAssigned")),
        ("TicketAssigned", Some("PC1Done")),
        ("PC1Done", None),
    ] {
        assert_eq!(thread.state, state);
        assert!(
            error.contains("No space left on device") && error.contains(data.to_str().unwrap()),
            "{state}: {error}"
        );
        tmpfs.free();
        bed.bus.resume("w1", 0, None).await.unwrap();
        thread = until_stuck_again(&mut bed, thread.revision).await;
        assert_eq!(thread.sector_id.as_deref(), Some("s-t010000-1"));
        if let Some(next) = next {
            tmpfs.fill();
            bed.bus.resume("w1", 0, Some(next)).await.unwrap();
            (thread, error) = until_failed(&mut bed, thread.revision).await;
        }
    }
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_full_store_keeps_the_sector_where_it_is_and_leaves_nothing_half_written() {
    let mut bed = Testbed::start().await;
    let (_manager, _) = FakeSectorManager::with_sectors(&bed.bus).await;
    let mut worker =
        bed.prepare_worker("worker", &WorkerConfig::new("w1").sealing("max_retries", "0"));
    let store = worker.attached();
    let Some(tmpfs) = Tmpfs::mount(&store, 256) else { return };
    tmpfs.fill();
    worker.start();
    let (thread, error) = until_failed(&mut bed, 0).await;
    assert_eq!(thread.state, "PCLanded");
    assert!(
        error.contains("No space left on device") && error.contains(store.to_str().unwrap()),
        "{error}"
    );
    assert_eq!(fs::read_dir(store.join("sealed")).unwrap().count(), 0);
    tmpfs.free();
    bed.bus.resume("w1", 0, None).await.unwrap();
    until_stuck_again(&mut bed, thread.revision).await;
    assert!(worker.persisted().contains(&1));
    assert!(worker.terminate().await.success());
}

// Threads in a PC1 that yields 2 MB once the gate is open, with the first one's store on a small
// disk of its own.
async fn store_on_a_small_disk(
    bed: &mut Testbed,
    gate: &Gate,
    threads: usize,
) -> Option<(Worker, Tmpfs)> {
    let hold = ["--more-bytes", "2000000", "--hold", gate.path().to_str().unwrap()];
    let config = WorkerConfig::new("w1")
        .threads(threads)
        .worker("ping_interval", "'100ms'")
        .sealing("max_retries", "0");
    let config = config.fixture("pc1", &hold, "concurrent = 2");
    let mut worker = bed.prepare_worker("worker", &config);
    let tmpfs = Tmpfs::mount(&worker.location(0), 8 << 10)?;
    std::os::unix::fs::symlink(bed.scratch.directory("data"), worker.location(0).join("data"))
        .unwrap();
    worker.start();
    let in_pc1 = |snapshot: &WorkerSnapshot| snapshot.threads.iter().all(is_in_pc1);
    bed.states.until("w1", "all in PC1", in_pc1).await;
    Some((worker, tmpfs))
}

fn is_in_pc1(thread: &ThreadSnapshot) -> bool {
    matches!(&thread.status, ThreadStatus::Running { .. }) && thread.stage.as_deref() == Some("PC1")
}

fn keeps_pc1(thread: &ThreadSnapshot) -> bool {
    let said =
        thread.last_err.as_ref().is_some_and(|error| error.contains("the result of PC1 is kept"));
    waits_for("its store")(thread) && thread.state == "TicketAssigned" && said
}

#[tokio::test]
async fn a_full_disk_under_a_threads_store_loses_no_result_and_holds_up_no_other_thread() {
    let mut bed = Testbed::start().await;
    let (_manager, _) = FakeSectorManager::with_sectors(&bed.bus).await;
    let mut gate = bed.gate("pc1");
    let Some((mut worker, tmpfs)) = store_on_a_small_disk(&mut bed, &gate, 2).await else { return };
    tmpfs.fill();
    gate.open();
    let thread = bed.states.until_thread("w1", 0, "it keeps what PC1 yielded", keeps_pc1).await;
    let error = thread.last_err.unwrap();
    assert!(
        error.starts_with("temporary: ")
            && error.contains("store.redb: ")
            && error.contains("No space left on device"),
        "{error}"
    );
    assert!(bed.bus.list("w1").await.summary.errors >= 1);
    // The fixture's result is of no use to PC2.
    bed.states
        .until_thread("w1", 1, "it goes on", |thread| {
            thread.state == "PC1Done" && is_paused(thread, PausedBy::Error)
        })
        .await;

    let request = CommandRequest {
        request_id: Some(Id::generate()),
        ..CommandRequest::to_all(Selector { all: true, ..Selector::default() })
    };
    let before: BulkReply = bed.bus.ask("w1", "cordon", &request).await.unwrap();
    assert_eq!(before.threads[1].outcome, Some(Outcome::Cordoned));
    let again: BulkReply = bed.bus.ask("w1", "cordon", &request).await.unwrap();
    assert_eq!(again.threads[1].outcome, Some(Outcome::Cordoned), "a repeat");
    bed.states.until_thread("w1", 0, "it still keeps it", keeps_pc1).await;

    let seen = bed.states.seen().len();
    tmpfs.free();
    bed.states
        .until_thread("w1", 0, "it is written", |thread| {
            thread.state == "PC1Done" && is_paused(thread, PausedBy::Error)
        })
        .await;
    assert!(
        !bed.states.seen()[seen..].iter().any(|(_, snapshot)| is_in_pc1(&snapshot.threads[0])),
        "PC1 ran again"
    );
    assert!(worker.terminate().await.success());
    worker.start();
    let pid = worker.pid();
    let kept =
        |snapshot: &WorkerSnapshot| snapshot.pid == pid && snapshot.threads[0].state == "PC1Done";
    bed.states.until("w1", "the next run", kept).await;
}

#[tokio::test]
async fn a_full_disk_under_the_first_store_lets_the_worker_stop_and_what_is_lost_is_said() {
    let mut bed = Testbed::start().await;
    bed.keep_states().await;
    let (_manager, _) = FakeSectorManager::with_sectors(&bed.bus).await;
    let mut gate = bed.gate("pc1");
    let Some((mut worker, tmpfs)) = store_on_a_small_disk(&mut bed, &gate, 2).await else { return };
    tmpfs.fill();
    gate.open();
    bed.states.until_thread("w1", 0, "it keeps what PC1 yielded", keeps_pc1).await;
    assert!(worker.terminate().await.success());
    bed.states
        .until("w1", "its last report", |snapshot| snapshot.status == WorkerStatus::Stopped)
        .await;
    worker.log().line_with(&["what could not be written is lost", "PC1 is kept"]).await;
    tmpfs.free();
    worker.start();
    let pid = worker.pid();
    let again =
        |snapshot: &WorkerSnapshot| snapshot.pid == pid && snapshot.threads[0].state == "PC1Done";
    bed.states.until("w1", "PC1 once more", again).await;
}

#[tokio::test]
async fn a_full_disk_holds_up_what_the_sector_manager_says_of_the_job_until_the_result_is_written()
{
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    let mut gate = bed.gate("pc1");
    let Some((mut worker, tmpfs)) = store_on_a_small_disk(&mut bed, &gate, 1).await else { return };
    tmpfs.fill();
    gate.open();
    bed.states.until_thread("w1", 0, "it keeps what PC1 yielded", keeps_pc1).await;
    answers.say("report_state", json!(ErrorReply::from(ErrorKind::bad_request("another version"))));
    // The second one is sent when the first has been answered.
    for _ in 0..2 {
        bed.requests
            .until("a heartbeat", |report: &ReportState| report.state_change.event == HEARTBEAT)
            .await;
    }
    bed.states.until_thread("w1", 0, "it still keeps it", keeps_pc1).await;
    tmpfs.free();
    let refused = |thread: &ThreadSnapshot| {
        thread.last_err.as_ref().is_some_and(|error| error.contains("another version"))
    };
    let thread = bed
        .states
        .until_thread("w1", 0, "it is paused", |thread| {
            is_paused(thread, PausedBy::Error) && refused(thread)
        })
        .await;
    assert_eq!(thread.state, "PC1Done");
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_full_disk_leaves_the_reserve_for_commands_and_it_is_taken_again_when_there_is_room() {
    let mut bed = Testbed::start().await;
    let mut worker = bed.prepare_worker("worker", &WorkerConfig::new("w1").idle());
    let Some(tmpfs) = Tmpfs::mount(&worker.location(0), 8 << 10) else { return };
    worker.start();
    bed.states.until("w1", "it reports", |_| true).await;
    let reserve = worker.location(0).join("store.reserve");
    assert!(reserve.exists());
    tmpfs.fill();
    let mut commands = 0;
    while reserve.exists() {
        let verb = if commands % 2 == 0 { Verb::Cordon } else { Verb::Uncordon };
        let request = CommandRequest { request_id: Some(Id::generate()), ..CommandRequest::to(0) };
        bed.bus.order("w1", verb, &request).await.unwrap();
        commands += 1;
        assert!(commands < 4_000, "the disk is not full");
    }
    tmpfs.free();
    bed.bus.pause("w1", 0).await.unwrap();
    assert!(reserve.exists());
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_store_that_is_gone_is_waited_for_and_not_made_anew() {
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    say(&answers, "poll_pre_commit_state", json!({"state": "pending"}));
    let worker = bed.worker(&WorkerConfig::new("w1").sealing("max_retries", "100000"));
    bed.states
        .until_thread("w1", 0, "its pre-commit is not on chain", |thread| {
            thread.state == "PCSubmitted"
        })
        .await;
    let (store, away) = (worker.attached(), bed.scratch.path().join("away"));
    fs::rename(&store, &away).unwrap();
    say(&answers, "poll_pre_commit_state", json!({"state": "landed"}));

    let waits = |thread: &ThreadSnapshot| {
        thread.state == "PCLanded" && matches!(thread.status, ThreadStatus::Waiting { .. })
    };
    let thread = bed
        .states
        .until_thread("w1", 0, "it waits for its store", |thread| waits(thread) && thread.retry > 1)
        .await;
    let error = thread.last_err.unwrap();
    assert!(
        error.starts_with("temporary: ")
            && error.contains(store.to_str().unwrap())
            && error.contains("is gone"),
        "{error}"
    );
    assert!(!store.exists(), "the mount point was filled");
    fs::rename(&away, &store).unwrap();
    until_stuck_again(&mut bed, 0).await;
    assert!(worker.persisted().contains(&1));
}

fn deal(directory: &Path, bytes: &[u8]) -> (Value, std::path::PathBuf) {
    let mut whole = bytes.to_vec();
    whole.resize(1016, 0);
    let padded = directory.join("padded");
    fs::write(&padded, &whole).unwrap();
    let commitment = builtin::piece_commitment(PieceCommitment {
        registered_proof: "StackedDrg2KiBV1_1".into(),
        piece_file: padded,
        piece_size: 1016,
    })
    .unwrap();
    let cid = piece_cid(&commitment);
    let deal = json!({"piece": {"size": 1024, "piece_cid": cid}, "deal_info": {"deal_id": 1, "is_builtin_market": true, "payload_size": bytes.len()}});
    (deal, directory.join("pieces").join(cid))
}

async fn with_deal(bed: &Testbed, bytes: &[u8]) -> (FakeSectorManager, Worker, std::path::PathBuf) {
    let (manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    let (deal, path) = deal(bed.scratch.path(), bytes);
    let pieces = bed.scratch.directory("pieces");
    say(&answers, "acquire_deals", json!([deal]));
    let config =
        WorkerConfig::new("w1").sealing("enable_deals", "true").sealing("max_retries", "1");
    let worker = bed.prepare_worker(
        "worker",
        &config.worker("local_pieces_dirs", &format!("[{:?}]", pieces.to_str().unwrap())),
    );
    (manager, worker, path)
}

#[tokio::test]
async fn a_piece_that_is_missing_is_waited_for_and_named() {
    let mut bed = Testbed::start().await;
    let (_manager, mut worker, piece) = with_deal(&bed, b"the client's data").await;
    worker.start();
    let (thread, error) = until_failed(&mut bed, 0).await;
    assert_eq!((thread.state.as_str(), thread.retry), ("DealsAcquired", 1));
    let cid = piece.file_name().unwrap().to_str().unwrap();
    assert!(
        error.contains(cid) && error.contains("is missing") && error.contains("local_pieces_dirs"),
        "{error}"
    );
    fs::write(&piece, b"the client's data").unwrap();
    bed.bus.resume("w1", 0, None).await.unwrap();
    until_stuck_again(&mut bed, thread.revision).await;
}

#[tokio::test]
async fn a_corrupt_piece_goes_into_no_sector() {
    let mut bed = Testbed::start().await;
    let (_manager, mut worker, piece) = with_deal(&bed, b"the client's data").await;
    fs::write(&piece, b"the client's dada").unwrap();
    worker.start();
    let (thread, error) = until_failed(&mut bed, 0).await;
    assert_eq!((thread.state.as_str(), thread.retry), ("DealsAcquired", 0));
    assert!(
        error.starts_with("permanent: ")
            && error.contains("is corrupt")
            && error.contains(piece.to_str().unwrap()),
        "{error}"
    );
    // Cut off, it is not what the deal says either.
    fs::write(&piece, b"the client's").unwrap();
    bed.bus.resume("w1", 0, None).await.unwrap();
    let (thread, error) = until_failed(&mut bed, thread.revision).await;
    assert!(error.contains("ends after 12 of the 17 bytes"), "{error}");
    fs::write(&piece, b"the client's data").unwrap();
    bed.bus.resume("w1", 0, None).await.unwrap();
    until_stuck_again(&mut bed, thread.revision).await;
}

#[tokio::test]
async fn a_rejected_pre_commit_gives_the_sector_up_and_the_next_one_is_sealed() {
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    say(
        &answers,
        "submit_pre_commit",
        json!({"res": "rejected", "desc": "the sector number is taken"}),
    );
    let worker = bed.worker(&WorkerConfig::new("w1").sealing("seal_interval", "'1s'"));
    let aborted = bed
        .requests
        .until::<ReportAborted>("of the first sector", |request| request.sector == sector(1))
        .await;
    assert!(aborted.reason.contains("rejected: the sector number is taken"), "{}", aborted.reason);
    say(&answers, "submit_pre_commit", json!({"res": "accepted"}));
    let thread = until_stuck_again(&mut bed, 0).await;
    assert_ne!(thread.sector_id.as_deref(), Some("s-t010000-1"));
    assert!(worker.files_of(0, "s-t010000-1").is_empty());
}

#[tokio::test]
async fn a_mismatched_pre_commit_pauses_the_thread_until_an_operator_resumes_it() {
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    say(
        &answers,
        "submit_pre_commit",
        json!({"res": "mismatched_submission", "desc": "commR differs"}),
    );
    let _worker = bed.worker(&WorkerConfig::new("w1"));
    let (thread, error) = until_failed(&mut bed, 0).await;
    assert_eq!(
        (thread.state.as_str(), error.as_str()),
        ("PC2Done", "permanent: pre-commit: mismatched submission: commR differs")
    );
    say(&answers, "submit_pre_commit", json!({"res": "accepted"}));
    bed.bus.resume("w1", 0, None).await.unwrap();
    until_stuck_again(&mut bed, thread.revision).await;
}

#[tokio::test]
async fn going_back_removes_what_the_later_stages_left_behind() {
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    let worker = bed.worker(&WorkerConfig::new("w1"));
    let thread = until_stuck_again(&mut bed, 0).await;
    assert_eq!(worker.files_of(0, "s-t010000-1").len(), 6);
    say(&answers, "assign_ticket", Value::Null);
    bed.bus.resume("w1", 0, Some("TreeDBuilt")).await.unwrap();
    // It has no ticket to go on with.
    let waits = |now: &ThreadSnapshot| {
        now.state == "TreeDBuilt" && now.last_err.is_some() && now.revision > thread.revision
    };
    bed.states.until_thread("w1", 0, "without a ticket", waits).await;
    let left: Vec<_> = worker
        .files_of(0, "s-t010000-1")
        .into_iter()
        .map(|path| path.parent().unwrap().file_name().unwrap().to_owned())
        .collect();
    assert_eq!(left, ["unsealed", "tree-d"]);
}

// A sealer and a thread that upgrades sector 1, which is finished and has no deals. Its proofs are
// none.
async fn upgrading(bed: &mut Testbed, answers: &Answers, snap_prove: &str) -> Worker {
    let (deal, path) = deal(bed.scratch.path(), b"the client's data");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, b"the client's data").unwrap();
    let pieces = format!("[{:?}]", path.parent().unwrap().to_str().unwrap());
    let fixture = binaries::fixture_processor().display().to_string();
    let config = WorkerConfig::new("w1").fixture_c2(&[]).worker("local_pieces_dirs", &pieces);
    let config = config
        .raw("[[sealing_thread]]\nlocation = './snapup'\nplan = 'snapup'\nsealing.max_retries = 0");
    let worker = bed.worker(&config.raw(&format!(
        "[[processors.snap_prove]]\nbin = {fixture:?}\nargs = ['snap_prove'{snap_prove}]"
    )));
    let sealed =
        bed.requests.until("", |request: &SubmitPreCommit| request.sector.id == sector(1)).await;
    bed.requests.until_finalized(sector(1)).await;
    // Threads seal before commands are served.
    bed.bus.served(&bed.bus.command("w1", "pause")).await;
    bed.bus.pause("w1", 0).await.unwrap();
    let found = json!({
        "sector": sealed.sector, "pieces": [deal],
        "public": {"comm_r": sealed.info.comm_r}, "private": {"access_instance": "remote"},
    });
    say(answers, "allocate_snapup_sector", found);
    worker
}

#[tokio::test]
async fn files_of_an_upgrade_that_the_sector_manager_misses_are_persisted_again() {
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    say(&answers, "submit_snapup_proof", json!({"res": "files_missed", "desc": "no such file"}));
    let worker = upgrading(&mut bed, &answers, "").await;
    bed.requests.until("the first time", |_: &SubmitSnapupProof| true).await;
    let replica = worker.attached().join("update/s-t010000-1");
    fs::remove_file(&replica).unwrap();
    bed.requests
        .until("of replicas that are missed", |_: &SubmitSnapupProof| replica.exists())
        .await;
    say(&answers, "submit_snapup_proof", json!({"res": "accepted"}));
    bed.requests.until_finalized(sector(1)).await;
    assert!(replica.exists());
}

#[tokio::test]
async fn an_upgrade_goes_back_only_to_states_that_it_can_go_on_from() {
    let mut bed = Testbed::start().await;
    let (_manager, answers) = FakeSectorManager::with_sectors(&bed.bus).await;
    let worker = upgrading(&mut bed, &answers, ", '--fail', 'no GPU'").await;
    let failed =
        |thread: &ThreadSnapshot| thread.plan == "snapup" && is_paused(thread, PausedBy::Error);
    let thread = bed.states.until_thread("w1", 1, "no proof", failed).await;
    assert_eq!(thread.state, "SnapEncoded");
    let ahead = refused(bed.bus.resume("w1", 1, Some("SnapProved")).await);
    assert_eq!(
        ahead,
        ErrorKind::StateUnreachable {
            state: "SnapProved".into(),
            missing: vec!["proof of the upgrade".into()]
        }
    );
    let of_sealer = refused(bed.bus.resume("w1", 1, Some("PC1Done")).await);
    assert!(matches!(of_sealer, ErrorKind::InvalidState { .. }));

    let revision = bed.bus.resume("w1", 1, Some("PieceAdded")).await.unwrap().revision;
    let again = |thread: &ThreadSnapshot| failed(thread) && thread.revision > revision;
    let thread = bed.states.until_thread("w1", 1, "no proof again", again).await;
    assert_eq!(thread.state, "SnapEncoded");
    bed.bus.resume("w1", 1, Some("Aborted")).await.unwrap();
    bed.requests.until("", |request: &ReportAborted| request.sector == sector(1)).await;
    assert!(worker.persisted().contains(&1), "the sealed sector is none of the upgrade's");
}
