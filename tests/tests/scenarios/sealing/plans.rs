//! Every plan seals real sectors, with the mock sector manager and the operator's commands.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper says what went wrong by failing the test"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use axum::{Router, body::Bytes, extract::DefaultBodyLimit, routing::put};
use damocles_worker::processor::tasks::STAGES;
use e2e::{
    binaries, damocles_tasks, parameters,
    state_watch::{is_in_c2, is_paused, is_stuck, waits_for},
    testbed::{MINER, Testbed, sector},
    worker::{Worker, WorkerConfig},
};
use serde_json::json;
use shared_msgs::{
    plan::State,
    sector_manager::{
        AchieveUnsealSector, ReportFinalized, ReportState, SealVersion, SectorSize,
        SubmitPersisted, SubmitPreCommit, SubmitSnapupProof, WdpostFinish, piece_commitment,
    },
    snapshot::{PausedBy, ThreadSnapshot, ThreadStatus},
};
use tokio::sync::mpsc;

const DATA: usize = 1500;

fn deal_data() -> Vec<u8> {
    (0..DATA).map(|position| (position * position % 251) as u8).collect()
}

// A worker with a thread of each of these plans beside its sealer. Proofs that need large
// parameters are none.
fn of_plans(plans: &[&str]) -> WorkerConfig {
    let fixture = binaries::fixture_processor().display().to_string();
    let mut config = WorkerConfig::new("w1").fixture_c2(&[]);
    for plan in plans {
        config = config.raw(&format!("[[sealing_thread]]\nlocation = './{plan}'\nplan = '{plan}'"));
    }
    config.raw(&format!("[[processors.snap_prove]]\nbin = {fixture:?}\nargs = ['snap_prove']"))
}

fn with_pieces(bed: &Testbed, config: WorkerConfig) -> WorkerConfig {
    let found = bed.scratch.directory("found");
    config.worker("local_pieces_dirs", &format!("[{:?}]", found.display().to_string()))
}

async fn manager_with_deal(bed: &Testbed) -> e2e::manager::Manager {
    let pieces = bed.scratch.directory("pieces");
    fs::write(pieces.join("client-data"), deal_data()).unwrap();
    bed.mock_manager_with(&["--pieces", pieces.to_str().unwrap()]).await
}

async fn sealer(bed: &Testbed, args: &[&str]) -> e2e::cli::CliOutput {
    bed.util_sealer(args).await.expect(0)
}

async fn listed(bed: &Testbed, id: &str) -> serde_json::Value {
    let sectors = sealer(bed, &["sectors", "list", "-o", "json"]).await.json();
    let sectors = sectors.as_array().unwrap();
    sectors
        .iter()
        .find(|sector| sector["id"] == id)
        .unwrap_or_else(|| panic!("{id} is not in {sectors:?}"))
        .clone()
}

// The unsealed bytes are the deal's, and zeros up to the piece's size.
fn assert_is_the_deal(unsealed: &[u8]) {
    assert_eq!(unsealed.len(), 2032);
    assert!(unsealed[..DATA] == deal_data(), "other bytes came out");
    assert!(unsealed[DATA..].iter().all(|byte| *byte == 0));
}

// What a store has of a sector, apart from `t_aux`, in which the paths of its making stand.
fn kept(worker: &Worker, sector: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for kind in ["sealed", "cache", "update", "update-cache"] {
        let path = worker.attached().join(kind).join(sector);
        let inside = fs::read_dir(&path)
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or(vec![path]);
        let files_of_kind =
            inside.into_iter().filter(|path| path.is_file() && !path.ends_with("t_aux"));
        files.extend(files_of_kind.map(|path| (path.clone(), fs::read(path).unwrap())));
    }
    files
}

fn lose(worker: &Worker, sector: &str) {
    for kind in ["sealed", "cache", "update", "update-cache"] {
        let path = worker.attached().join(kind).join(sector);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).ok().unwrap_or_default()
        }
    }
}

#[tokio::test]
async fn a_deal_is_sealed_unsealed_wherever_it_is_wanted_and_its_sector_rebuilt() {
    let mut bed = Testbed::start().await;
    let _manager = manager_with_deal(&bed).await;
    let config = of_plans(&["unseal", "rebuild"])
        .sealing("enable_deals", "true")
        .sealing("disable_cc", "true");
    let worker = bed.worker(&with_pieces(&bed, config));
    let pre_commit = bed.requests.until("", |_: &SubmitPreCommit| true).await;
    bed.requests.until_finalized(sector(1)).await;
    // There is no other deal, and sectors without any are not wanted.
    let waits = |thread: &ThreadSnapshot| matches!(&thread.status, ThreadStatus::Waiting { reason, .. } if reason == "deals");
    bed.states.until_thread("w1", 0, "it waits for deals", waits).await;
    let first = listed(&bed, "s-t010000-1").await;
    let cid = first["deals"][0]["piece_cid"].as_str().unwrap().to_owned();
    assert_eq!(
        (first["state"].as_str(), first["store"].as_str()),
        (Some("Finished"), Some("remote"))
    );
    assert_eq!(
        piece_commitment(&cid).unwrap(),
        pre_commit.info.comm_d,
        "the deal fills the sector"
    );

    sealer(&bed, &["sectors", "unseal", "s-t010000-1"]).await;
    bed.requests.until("", |done: &AchieveUnsealSector| done.error.is_empty()).await;
    let found = bed.scratch.path().join("found");
    assert_is_the_deal(&fs::read(found.join(&cid)).unwrap());

    let destination = format!("file://{}", found.join("again").display());
    sealer(&bed, &["sectors", "unseal", "s-t010000-1", "--piece", &cid, "--dest", &destination])
        .await;
    bed.requests.until("", |done: &AchieveUnsealSector| done.error.is_empty()).await;
    assert_is_the_deal(&fs::read(found.join("again")).unwrap());

    let (url, mut received) = http_sink().await;
    sealer(&bed, &["sectors", "unseal", "s-t010000-1", "--dest", &url]).await;
    assert_is_the_deal(&received.recv().await.unwrap());
    bed.requests.until("", |done: &AchieveUnsealSector| done.error.is_empty()).await;

    let before = kept(&worker, "s-t010000-1");
    assert_eq!(before.len(), 3);
    lose(&worker, "s-t010000-1");
    sealer(&bed, &["sectors", "rebuild", "s-t010000-1"]).await;
    bed.requests
        .until("of the rebuilt sector", |request: &SubmitPersisted| request.sector == sector(1))
        .await;
    bed.requests.until_finalized(sector(1)).await;
    assert!(kept(&worker, "s-t010000-1") == before, "another replica came out");
}

#[tokio::test]
async fn a_destination_outside_of_the_directories_for_pieces_is_refused_and_can_be_aborted() {
    let mut bed = Testbed::start().await;
    let _manager = manager_with_deal(&bed).await;
    let config =
        of_plans(&["unseal"]).sealing("enable_deals", "true").sealing("disable_cc", "true");
    let _worker = bed.worker(&with_pieces(&bed, config));
    bed.requests.until_finalized(sector(1)).await;
    let outside = bed.scratch.path().join("outside");
    sealer(
        &bed,
        &["sectors", "unseal", "s-t010000-1", "--dest", &format!("file://{}", outside.display())],
    )
    .await;
    let refused =
        |thread: &ThreadSnapshot| thread.state == "Unsealed" && is_paused(thread, PausedBy::Error);
    let thread = bed.states.until_thread("w1", 1, "it refuses", refused).await;
    let error = thread.last_err.unwrap();
    assert!(
        error.contains(outside.to_str().unwrap()) && error.contains("worker.local_pieces_dirs"),
        "{error}"
    );
    assert!(!outside.exists());
    bed.bus.resume("w1", 1, Some("Aborted")).await.unwrap();
    let told = bed.requests.until("", |done: &AchieveUnsealSector| !done.error.is_empty()).await;
    assert!(told.error.contains("aborted"), "{}", told.error);
    assert_eq!(listed(&bed, "s-t010000-1").await["state"], "Finished");
}

#[tokio::test]
async fn a_sector_without_deals_gets_one_and_can_be_unsealed_and_rebuilt_with_it() {
    gets_a_deal(of_plans(&["snapup", "unseal", "rebuild"])).await;
}

#[tokio::test]
async fn external_processors_alone_do_all_of_an_upgrade_an_unsealing_and_a_rebuild() {
    let with_fixtures = of_plans(&["snapup", "unseal", "rebuild"]);
    let own = STAGES.into_iter().filter(|stage| !["c2", "snap_prove"].contains(stage));
    gets_a_deal(own.fold(with_fixtures, |config, stage| config.processor(stage, ""))).await;
}

// Processors of damocles's own crate, each of which has ours do the work: both ways of each stage.
fn by_damocles(config: WorkerConfig) -> WorkerConfig {
    let of_plans = damocles_tasks::STAGES.iter().filter(|stage| **stage != "winning_post");
    of_plans.fold(config.sealing("ignore_proof_check", "true"), |config, stage| {
        let by = |program: &Path| program.display().to_string();
        let args = match *stage {
            "c2" | "snap_prove" => json!([stage, by(binaries::fixture_processor()), stage]),
            _ => json!([stage, by(binaries::worker()), "processor", stage]),
        };
        config.processor(stage, &format!("bin = {:?}\nargs = {args}", by(binaries::vc_processor())))
    })
}

#[tokio::test]
async fn processors_of_damocles_crate_do_every_stage_and_ours_answer_to_them() {
    let threads = ["snapup", "unseal", "rebuild"]
        .map(|plan| format!("[[sealing_thread]]\nlocation = './{plan}'\nplan = '{plan}'"));
    let config = WorkerConfig::new("w1").raw(&threads.join("\n"));
    gets_a_deal(by_damocles(config)).await;
}

#[tokio::test]
async fn a_window_proof_by_a_processor_of_damocles_crate_is_handed_in() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let config = WorkerConfig::new("w1")
        .raw("[[sealing_thread]]\nlocation = './wdpost'\nplan = 'wdpost'")
        .parameters(parameters::window_post().await);
    let _worker = bed.worker(&by_damocles(config));
    let proven = bed.requests.until("", |_: &SubmitPreCommit| true).await.sector.id;
    bed.requests.until_finalized(proven).await;
    bed.bus.pause("w1", 0).await.unwrap();
    sealer(&bed, &["proving", "simulate-wdpost", "--miner", "10000", &proven.to_string()]).await;
    let finished = bed.requests.until("", |_: &WdpostFinish| true).await;
    let output = finished.output.unwrap();
    assert_eq!((finished.error.as_str(), output.faults, output.proofs.len()), ("", vec![], 1));
    assert_eq!(output.proofs[0].0.len(), 192, "one Groth16 proof");
}

async fn gets_a_deal(config: WorkerConfig) {
    let mut bed = Testbed::start().await;
    let _manager = manager_with_deal(&bed).await;
    let worker = bed.worker(&with_pieces(&bed, config));
    let upgraded = bed.requests.until("", |_: &SubmitSnapupProof| true).await;
    let id = upgraded.sector.to_string();
    bed.requests
        .until("of the upgrade", |request: &ReportFinalized| request.sector == upgraded.sector)
        .await;
    bed.bus.pause("w1", 0).await.unwrap();
    let shown = listed(&bed, &id).await;
    assert_eq!(shown["deals"].as_array().unwrap().len(), 1);

    sealer(&bed, &["sectors", "unseal", &id]).await;
    bed.requests.until("", |done: &AchieveUnsealSector| done.error.is_empty()).await;
    let cid = shown["deals"][0]["piece_cid"].as_str().unwrap();
    assert_is_the_deal(&fs::read(bed.scratch.path().join("found").join(cid)).unwrap());

    let before = kept(&worker, &id);
    assert_eq!(before.len(), 6);
    lose(&worker, &id);
    sealer(&bed, &["sectors", "rebuild", &id]).await;
    let persisted =
        bed.requests.until("", |request: &SubmitPersisted| request.sector == upgraded.sector).await;
    assert!(persisted.is_upgrade);
    assert!(kept(&worker, &id) == before, "another replica came out");
}

#[tokio::test]
async fn a_window_proof_verifies_and_a_job_whose_worker_died_is_given_to_another() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager_with(&["--job-expiration", "4s"]).await;
    let real = parameters::window_post().await;
    let mut worker = bed.worker(&of_plans(&["wdpost"]).parameters(real.clone()));
    let pre_commit = bed.requests.until("", |_: &SubmitPreCommit| true).await;
    let proven = pre_commit.sector.id;
    bed.requests.until_finalized(proven).await;
    bed.bus.pause("w1", 0).await.unwrap();
    let queue = ["proving", "simulate-wdpost", "--miner", "10000", &proven.to_string()];
    sealer(&bed, &queue).await;
    let finished = bed.requests.until("", |_: &WdpostFinish| true).await;
    assert_eq!(finished.error, "");
    let job = wdpost_job(&bed, &finished.job, "finished").await;
    assert_eq!(job["worker"], "w1");
    let output = finished.output.clone().unwrap();
    let proofs: Vec<_> = output.proofs.into_iter().map(|proof| proof.0).collect();
    for (comm_r, valid) in [(pre_commit.info.comm_r, true), ([7; 32], false)] {
        let sectors = [(proven.number, comm_r)];
        let claim = json!({"proof_type": job["proof_type"], "seed": job["seed"], "miner": MINER, "sectors": sectors, "proofs": proofs});
        assert_eq!(parameters::verify_window_post(&claim).await, valid);
    }

    // The job's worker dies over it; another one with the same store takes it.
    worker.terminate().await;
    let gate = bed.gate("never");
    let held = ["--hold", gate.path().to_str().unwrap()];
    worker.configure(&of_plans(&["wdpost"]).fixture("window_post", &held, ""));
    let shared_store = worker.attached();
    worker.start();
    sealer(&bed, &queue).await;
    let proves = |thread: &ThreadSnapshot| {
        thread.sector_id.as_ref().is_some_and(|job| *job != finished.job)
            && matches!(thread.status, ThreadStatus::Running { .. })
    };
    let taken = bed.states.until_thread("w1", 1, "it is at the job", proves).await.sector_id;
    worker.kill9().await;
    let text = format!(
        "worker.name = 'w2'\nworker.ping_interval = '1s'\nsealing.recover_interval = '50ms'\nsealing.seal_interval = '50ms'\n\
         [[sealing_thread]]\nlocation = './wdpost'\nplan = 'wdpost'\n[[attached]]\nname = 'remote'\nlocation = {:?}",
        shared_store.display().to_string()
    );
    let mut other = bed.prepare_worker("other", &WorkerConfig::new("w2").parameters(real));
    other.write_config(&text);
    other.start();
    let finished = bed
        .requests
        .until("by the other one", |finish: &WdpostFinish| taken.as_ref() == Some(&finish.job))
        .await;
    assert_eq!(finished.error, "");
    assert_eq!(wdpost_job(&bed, &finished.job, "finished").await["worker"], "w2");
}

async fn wdpost_job(bed: &Testbed, id: &str, status: &str) -> serde_json::Value {
    let jobs = bed.util_worker(&["wdpost", "list", "-o", "json"]).await.expect(0).json();
    let job = jobs.as_array().unwrap().iter().find(|job| job["id"] == id).unwrap().clone();
    assert_eq!(job["status"], status, "{job}");
    job
}

#[tokio::test]
async fn a_sector_is_sealed_with_the_non_interactive_porep_up_to_its_proof() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").plan("niporep"));
    let thread = bed.states.until_stuck("w1").await.threads[0].clone();
    assert_eq!((thread.plan.as_str(), thread.stage.as_deref()), ("niporep", Some("C2")));
    let reports = bed.requests.seen::<ReportState>();
    assert!(!reports.iter().any(|report| report.state_change.next == State::PcSubmitted.name()));
    let info = listed(&bed, &thread.sector_id.unwrap()).await;
    assert_eq!(info["proof_type"], json!(SealVersion::NonInteractive.of(SectorSize::S2KiB)));
}

#[tokio::test]
async fn synthetic_proofs_are_made_and_a_new_replica_is_tried() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager_with(&["--synthetic"]).await;
    let worker = bed.worker(&WorkerConfig::new("w1").sealing("verify_after_pc2", "true"));
    bed.states.until_stuck("w1").await;
    bed.requests
        .until("", |report: &ReportState| {
            report.state_change.next == State::SyntheticPoRepNeeded.name()
        })
        .await;
    assert!(worker.persisted().contains(&1));
}

#[tokio::test]
async fn a_tree_of_zeros_that_was_made_before_is_taken() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until_stuck("w1").await;
    let tree = Path::new("tree-d/s-t010000-1/sc-02-data-tree-d.dat");
    let made = bed.scratch.path().join("tree-of-zeros");
    fs::copy(worker.location(0).join("data").join(tree), &made).unwrap();
    worker.terminate().await;
    let static_tree =
        format!("[processors.static_tree_d]\n'2KiB' = {:?}", made.display().to_string());
    worker.configure(&WorkerConfig::new("w1").raw(&static_tree));
    worker.start();
    let pid = worker.pid();
    let stuck = bed
        .states
        .until("w1", "stuck again", |now| now.pid == pid && now.threads.iter().all(is_stuck))
        .await;
    let revision = stuck.threads[0].revision;
    bed.bus.resume("w1", 0, Some("PieceAdded")).await.unwrap();
    let again = |thread: &ThreadSnapshot| is_stuck(thread) && thread.revision > revision;
    bed.states.until_thread("w1", 0, "stuck again", again).await;
    assert_eq!(fs::read_link(worker.location(0).join("data").join(tree)).unwrap(), made);
}

#[tokio::test]
async fn a_threads_own_file_changes_its_plan_after_the_sector_in_hand() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1"));
    let stuck = bed.states.until_stuck("w1").await.threads[0].clone();
    let file = worker.location(0).join("config.toml");

    fs::write(&file, "plan = 'snapup'\nsealing.seal_interval = '50ms'").unwrap();
    let revision = bed.bus.resume("w1", 0, None).await.unwrap().revision;
    let again = |thread: &ThreadSnapshot| is_stuck(thread) && thread.revision > revision;
    let thread = bed.states.until_thread("w1", 0, "stuck again", again).await;
    assert_eq!((thread.plan.as_str(), thread.sector_id), ("sealer", stuck.sector_id));

    bed.bus.resume("w1", 0, Some("Aborted")).await.unwrap();
    bed.states
        .until_thread("w1", 0, "the new plan", |thread| {
            thread.plan == "snapup" && thread.state == "Empty"
        })
        .await;

    fs::write(&file, "plan = 'snapdown'").unwrap();
    let warned = |thread: &ThreadSnapshot| {
        thread.last_err.as_ref().is_some_and(|error| error.starts_with("warning: "))
    };
    let thread = bed.states.until_thread("w1", 0, "a warning", warned).await;
    let error = thread.last_err.unwrap();
    assert!(error.contains(file.to_str().unwrap()) && error.contains("snapdown"), "{error}");
    assert_eq!(thread.plan, "snapup");

    fs::remove_file(&file).unwrap();
    let back = |thread: &ThreadSnapshot| thread.plan == "sealer" && thread.last_err.is_none();
    bed.states.until_thread("w1", 0, "what the worker's file says", back).await;
}

#[tokio::test]
async fn a_thread_whose_own_file_leaves_nothing_to_seal_takes_no_new_sector() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("gate");
    let worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;
    let file = worker.location(0).join("config.toml");
    fs::write(&file, "sealing.enable_deals = false\nsealing.disable_cc = true\n").unwrap();
    gate.open();
    bed.requests.until_finalized(sector(1)).await;
    let thread =
        bed.states.until_thread("w1", 0, "nothing to seal", waits_for("nothing to seal")).await;
    assert_eq!((thread.sector_id, thread.last_err, thread.cordoned), (None, None, false));
    // It looks again and again, and asks for nothing.
    let before = thread.revision;
    bed.bus.pause("w1", 0).await.unwrap();
    bed.bus.resume("w1", 0, None).await.unwrap();
    let still =
        |thread: &ThreadSnapshot| waits_for("nothing to seal")(thread) && thread.revision > before;
    bed.states.until_thread("w1", 0, "still nothing to seal", still).await;
    assert_eq!(bed.allocated().await, 1);
    fs::remove_file(&file).unwrap();
    bed.requests.until_finalized(sector(2)).await;
}

// A server that takes one upload after the other.
async fn http_sink() -> (String, mpsc::UnboundedReceiver<Bytes>) {
    let (uploads, received) = mpsc::unbounded_channel();
    let take = move |body: Bytes| async move { uploads.send(body).map_or("gone", |()| "taken") };
    let router = Router::new().route("/upload", put(take)).layer(DefaultBodyLimit::disable());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap_or_else(|error| panic!("no port: {error}"));
    let address = listener.local_addr().unwrap_or_else(|error| panic!("no port: {error}"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/upload"), received)
}

#[tokio::test]
async fn an_operator_of_the_sector_manager_can_give_up_a_sector_that_an_error_holds_up() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until_stuck("w1").await;
    sealer(&bed, &["sectors", "abort", "s-t010000-1", "--reason", "bad disk"]).await;
    let next = |thread: &ThreadSnapshot| {
        is_stuck(thread) && thread.sector_id.as_deref() == Some("s-t010000-2")
    };
    bed.states.until_thread("w1", 0, "the next sector", next).await;
    assert_eq!(listed(&bed, "s-t010000-1").await["state"], "Aborted");
    assert!(worker.files_of(0, "s-t010000-1").is_empty());
}

#[tokio::test]
async fn a_worker_that_is_killed_anywhere_in_an_upgrade_or_a_rebuild_goes_on_and_loses_nothing() {
    let mut bed = Testbed::start().await;
    let _manager = manager_with_deal(&bed).await;
    let sealing = with_pieces(&bed, of_plans(&[]));
    let mut worker = bed.worker(&sealing);
    let sealed = bed.requests.until("of any sector", |_: &ReportFinalized| true).await.sector;
    worker.terminate().await;

    worker.configure(&with_pieces(&bed, of_plans(&["snapup", "unseal", "rebuild"])));
    let points = [
        "before-commit:SnapEncoded",
        "after-commit:SnapEncoded",
        "before-commit:SnapProved",
        "after-commit:SnapProved",
    ];
    dies_at(&mut worker, &points).await;
    worker.start();
    let upgraded = bed.requests.until("", |_: &SubmitSnapupProof| true).await.sector;
    assert!(upgraded.number <= sealed.number + 1);
    bed.requests
        .until("of the upgrade", |request: &ReportFinalized| request.sector == upgraded)
        .await;
    let id = upgraded.to_string();
    let before = kept(&worker, &id);
    assert_eq!(before.len(), 6);

    worker.terminate().await;
    sealer(&bed, &["sectors", "unseal", &id]).await;
    dies_at(&mut worker, &["before-commit:Unsealed", "after-commit:Unsealed"]).await;
    worker.start();
    bed.requests.until("", |done: &AchieveUnsealSector| done.error.is_empty()).await;
    let cid = listed(&bed, &id).await["deals"][0]["piece_cid"].as_str().unwrap().to_owned();
    assert_is_the_deal(&fs::read(bed.scratch.path().join("found").join(cid)).unwrap());

    worker.terminate().await;
    lose(&worker, &id);
    sealer(&bed, &["sectors", "rebuild", &id]).await;
    let points = [
        "before-commit:SealedChecked",
        "after-commit:SealedChecked",
        "before-commit:SnapPieceAdded",
        "after-commit:SnapTreeDBuilt",
    ];
    dies_at(&mut worker, &points).await;
    dies_at(&mut worker, &["before-commit:SnapDone", "after-commit:SnapDone"]).await;
    worker.start();
    bed.requests
        .until("", |request: &SubmitPersisted| request.sector == upgraded && request.is_upgrade)
        .await;
    assert!(kept(&worker, &id) == before, "another replica came out");
}

async fn dies_at(worker: &mut Worker, points: &[&str]) {
    for point in points {
        worker.start_to_die_at(point);
        worker.died_at_failpoint().await;
    }
}
