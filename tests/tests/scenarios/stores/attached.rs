//! Where sectors and pieces go: attached stores, their names, and links in piece directories.
//!
//! Stores may be read only, or not be writable at the moment.

use std::{fs, os::unix::fs::symlink};

use e2e::{
    state_watch::{is_paused, is_stuck},
    testbed::{Testbed, sector},
    tmpfs::Tmpfs,
    worker::WorkerConfig,
};
use shared_msgs::{
    sector_manager::{AchieveUnsealSector, SubmitPersisted},
    snapshot::{PausedBy, ThreadSnapshot},
};

const SECOND: &str = "[[attached]]\nname = 'second'\nlocation = './second'";

#[tokio::test]
async fn nothing_is_written_through_a_link_in_a_directory_for_pieces() {
    let mut bed = Testbed::start().await;
    let [deals, pieces, elsewhere] =
        ["deals", "pieces", "elsewhere"].map(|name| bed.scratch.directory(name));
    fs::write(deals.join("client-data"), [7; 1500]).unwrap();
    let _manager = bed.mock_manager_with(&["--pieces", deals.to_str().unwrap()]).await;
    let config = WorkerConfig::new("w1")
        .fixture_c2(&[])
        .sealing("enable_deals", "true")
        .sealing("disable_cc", "true");
    let config = config.worker("local_pieces_dirs", &format!("[{:?}]", pieces.to_str().unwrap()));
    let _worker =
        bed.worker(&config.raw("[[sealing_thread]]\nlocation = './unseal'\nplan = 'unseal'"));
    bed.requests.until_finalized(sector(1)).await;
    let sectors = bed.util_sealer(&["sectors", "list", "-o", "json"]).await.expect(0).json();
    let cid = sectors[0]["deals"][0]["piece_cid"].as_str().unwrap().to_owned();

    let victim = elsewhere.join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, pieces.join(format!("{cid}.partial"))).unwrap();
    bed.util_sealer(&["sectors", "unseal", "s-t010000-1"]).await.expect(0);
    bed.requests.until("", |done: &AchieveUnsealSector| done.error.is_empty()).await;
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert!(fs::symlink_metadata(pieces.join(&cid)).unwrap().is_file());
    assert!(fs::read(pieces.join(&cid)).unwrap().starts_with(&[7; 1500]));

    symlink(&elsewhere, pieces.join("sub")).unwrap();
    let dest = format!("file://{}", pieces.join("sub/new/piece").display());
    bed.util_sealer(&["sectors", "unseal", "s-t010000-1", "--dest", &dest]).await.expect(0);
    let failed = |thread: &ThreadSnapshot| thread.plan == "unseal" && thread.last_err.is_some();
    let error = bed.states.until_thread("w1", 1, "it is refused", failed).await.last_err.unwrap();
    assert!(
        error.contains("sub/new/piece leads out of") && error.contains(elsewhere.to_str().unwrap()),
        "{error}"
    );
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1, "the victim alone");
}

#[tokio::test]
async fn of_two_stores_the_one_that_became_read_only_is_passed_over() {
    let mut bed = Testbed::start().await;
    let mut worker =
        bed.prepare_worker("worker", &WorkerConfig::new("w1").fixture_c2(&[]).raw(SECOND));
    let Some(first) = Tmpfs::mount(&worker.attached(), 256) else { return };
    worker.start();
    bed.states.until("w1", "it reports", |_| true).await;
    first.make_readonly();
    let _manager = bed.mock_manager().await;
    bed.requests.until_finalized(sector(1)).await;
    assert!(bed.scratch.path().join("worker/second/sealed/s-t010000-1").is_file());
    assert!(worker.persisted().is_empty());
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_store_that_turns_out_to_be_read_only_while_a_sector_is_brought_there_is_followed_by_the_next()
 {
    let mut bed = Testbed::start().await;
    let mut worker =
        bed.prepare_worker("worker", &WorkerConfig::new("w1").fixture_c2(&[]).raw(SECOND));
    // Looking at the store's own directories does not show it.
    let Some(inside) = Tmpfs::mount(&worker.attached().join("cache/s-t010000-1"), 64) else {
        return;
    };
    inside.make_readonly();
    worker.start();
    let _manager = bed.mock_manager().await;
    let persisted = bed
        .requests
        .until("of the sector", |request: &SubmitPersisted| request.sector == sector(1))
        .await;
    assert_eq!(persisted.store, "second");
    worker.log().line_with(&["this store cannot be written to", "Read-only file system"]).await;
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_worker_that_only_reads_may_have_only_such_stores_and_makes_nothing_in_them() {
    let mut bed = Testbed::start().await;
    let store = bed.scratch.directory("store");
    let mut worker = bed.prepare_worker("reader", &WorkerConfig::new("w1"));
    let text = |plan: &str| {
        format!(
            "worker.name = 'w1'\nsealing.recover_interval = '50ms'\nsealing.rpc_polling_interval = '50ms'\n\
             [[sealing_thread]]\nlocation = './a'\nplan = '{plan}'\n[[sealing_thread]]\nlocation = './b'\nplan = 'unseal'\n\
             [[attached]]\nlocation = {:?}\nreadonly = true\n[[attached]]\nlocation = './away'\nreadonly = true\n",
            store.to_str().unwrap()
        )
    };
    worker.write_config(&text("sealer"));
    worker.start();
    assert_eq!(worker.process().ended().await.code(), Some(1));
    assert!(worker.log().to_end().await.contains("no attached store can be written to"));

    worker.write_config(&text("wdpost"));
    worker.start();
    bed.states.until("w1", "it runs", |snapshot| snapshot.summary.threads == 2).await;
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0);
    assert!(!bed.scratch.path().join("reader/away").exists());

    // Its plan can change later: no sector is begun that has nowhere to go.
    let _manager = bed.mock_manager().await;
    fs::write(bed.scratch.path().join("reader/a/config.toml"), "plan = 'sealer'").unwrap();
    let failed =
        |thread: &ThreadSnapshot| thread.plan == "sealer" && is_paused(thread, PausedBy::Error);
    let thread = bed.states.until_thread("w1", 0, "it has no store", failed).await;
    assert!(
        thread.sector_id.is_none()
            && thread.last_err.unwrap().contains("no attached store can be written to")
    );
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_store_without_a_name_is_called_by_its_canonical_path_and_known_by_its_earlier_name() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let unnamed = |name: &str| {
        format!(
            "worker.name = 'w1'\nworker.ping_interval = '1s'\nsealing.rpc_polling_interval = '50ms'\n\
             [[sealing_thread]]\nlocation = './a'\n[[attached]]\n{name}location = './remote'\n"
        )
    };
    let mut worker = bed.prepare_worker("worker", &WorkerConfig::new("w1"));
    // As it was called before it was called by its canonical path.
    worker.write_config(&unnamed("name = './remote'\n"));
    worker.start();
    bed.states.until_thread("w1", 0, "stuck", is_stuck).await;
    assert!(worker.persisted().contains(&1));
    worker.terminate().await;

    worker.write_config(&unnamed(""));
    worker.start();
    let pid = worker.pid();
    bed.states
        .until("w1", "stuck again", |snapshot| {
            snapshot.pid == pid && is_stuck(&snapshot.threads[0])
        })
        .await;
    bed.bus.resume("w1", 0, Some("Aborted")).await.unwrap();
    let persisted = bed
        .requests
        .until("of the next sector", |request: &SubmitPersisted| request.sector == sector(2))
        .await;
    assert_eq!(persisted.store, worker.attached().canonicalize().unwrap().display().to_string());
    assert!(!worker.persisted().contains(&1), "the sector that was given up is still in its store");
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_replica_of_another_sector_with_the_same_number_is_never_replaced() {
    let mut bed = Testbed::start().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").fixture_c2(&[]));
    bed.states.until("w1", "it reports", |_| true).await;
    // As after a loss of the sector manager's memory, when numbers begin anew.
    let replica = worker.attached().join("sealed/s-t010000-1");
    fs::write(&replica, "of an earlier sector").unwrap();
    let _manager = bed.mock_manager().await;
    let failed = |thread: &ThreadSnapshot| is_paused(thread, PausedBy::Error);
    let thread = bed.states.until_thread("w1", 0, "it is refused", failed).await;
    let error = thread.last_err.unwrap();
    assert_eq!(thread.state, "PCLanded");
    assert!(
        error.starts_with("permanent: store \"remote\" has a replica of s-t010000-1")
            && error.contains(replica.to_str().unwrap()),
        "{error}"
    );
    assert_eq!(fs::read(&replica).unwrap(), b"of an earlier sector");
    fs::remove_file(&replica).unwrap();
    bed.bus.resume("w1", 0, None).await.unwrap();
    bed.requests.until_finalized(sector(1)).await;
    assert_eq!(fs::metadata(&replica).unwrap().len(), 2048);
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn what_a_killed_run_has_brought_to_a_store_is_still_its_jobs() {
    let mut bed = Testbed::start().await;
    let mut worker = bed.prepare_worker("worker", &WorkerConfig::new("w1").fixture_c2(&[]));
    let _manager = bed.mock_manager().await;
    worker.start_to_die_at("before-commit:Persisted");
    worker.died_at_failpoint().await;
    assert!(worker.persisted().contains(&1), "the whole replica, of which no record speaks yet");
    worker.start();
    bed.requests.until_finalized(sector(1)).await;
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn stores_that_say_what_they_are_are_found_and_used() {
    let mut bed = Testbed::start().await;
    let [full, free] = ["mnt/full", "mnt/free"].map(|name| bed.scratch.directory(name));
    fs::write(full.join("sectorstore.json"), r#"{"Name": "full", "ReadOnly": true}"#).unwrap();
    fs::write(free.join("sectorstore.json"), r#"{"ID": "free", "Name": ""}"#).unwrap();
    bed.scratch.directory("mnt/other");
    let pattern = bed.scratch.path().join("mnt/*").display().to_string();
    let mut worker = bed.prepare_worker("worker", &WorkerConfig::new("w1"));
    worker.write_config(&format!(
        "worker.name = 'w1'\nworker.ScanPersistStores = [{pattern:?}]\nsealing.recover_interval = '50ms'\n\
         sealing.rpc_polling_interval = '50ms'\n[[sealing_thread]]\nlocation = './a'\n"
    ));
    worker.start();
    let _manager = bed.mock_manager().await;
    let persisted = bed
        .requests
        .until("of the sector", |request: &SubmitPersisted| request.sector == sector(1))
        .await;
    assert_eq!(persisted.store, "free");
    assert!(free.join("sealed/s-t010000-1").is_file());
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1, "nothing is made in a read-only store");
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_thread_that_only_proves_needs_no_location_and_is_taken_up_again() {
    let mut bed = Testbed::start().await;
    let store = bed.scratch.directory("store");
    let mut worker = bed.prepare_worker("prover", &WorkerConfig::new("w1"));
    worker.write_config(&format!(
        "worker.name = 'w1'\n[[sealing_thread]]\nplan = 'wdpost'\n[[sealing_thread]]\nplan = 'wdpost'\n\
         [[attached]]\nlocation = {:?}\nreadonly = true\n",
        store.to_str().unwrap()
    ));
    worker.start();
    let snapshot = bed.states.until("w1", "it runs", |w| w.summary.threads == 2).await;
    let location = snapshot.threads[1].location.clone();
    assert!(location.contains("prover/state/threads/") && location.ends_with("worker.toml/1"));
    assert!(std::path::Path::new(&location).join("store.redb").is_file());
    bed.bus.pause("w1", 1).await.unwrap();
    assert!(worker.terminate().await.success());
    worker.start();
    let pid = worker.pid();
    let taken_up = bed.states.until("w1", "it runs again", |w| w.pid == pid).await;
    assert!(is_paused(&taken_up.threads[1], PausedBy::Operator), "it was paused before");
    assert!(worker.terminate().await.success());
}
