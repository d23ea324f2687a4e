//! A store or disk that is gone is said by whom it concerns; everything else goes on.
//!
//! Nothing is made in its place.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::{fs, path::Path};

use e2e::{
    bus::refused,
    event_log::{EventLog, assert_exactly_once, of_request},
    state_watch::{is_paused, is_stuck, waits_for},
    testbed::Testbed,
    worker::{Worker, WorkerConfig},
};
use shared_msgs::{
    command::{BulkReply, CommandRequest, Outcome, Verb},
    error::ErrorKind,
    id::Id,
    selector::Selector,
    snapshot::{PausedBy, ThreadSnapshot, WorkerSnapshot, WorkerStatus},
};

const THREADS: usize = 3;

// A worker that has stopped with a sector in each thread.
async fn stopped_with_sectors(
    bed: &mut Testbed,
    config: &WorkerConfig,
) -> (Worker, WorkerSnapshot) {
    let mut worker = bed.worker(config);
    let stuck = bed.states.until_stuck("w1").await;
    assert!(worker.terminate().await.success());
    (worker, stuck)
}

fn is_unusable(thread: &ThreadSnapshot, why: &str) -> bool {
    let critical = |error: &String| error.starts_with("critical: ") && error.contains(why);
    is_paused(thread, PausedBy::Error)
        && thread.sector_id.is_none()
        && thread.last_err.as_ref().is_some_and(critical)
}

// Starts it, and waits until its first thread cannot be used and the others are where they were.
async fn without_its_first_thread(
    bed: &mut Testbed,
    worker: &mut Worker,
    before: &WorkerSnapshot,
    why: &str,
) {
    worker.start();
    let pid = worker.pid();
    let stands = |snapshot: &WorkerSnapshot| {
        let same = |(now, before): (&ThreadSnapshot, &ThreadSnapshot)| {
            is_stuck(now) && now.sector_id == before.sector_id
        };
        let others = snapshot.threads.iter().zip(&before.threads).skip(1).all(same);
        snapshot.pid == pid
            && snapshot.threads.first().is_some_and(|thread| is_unusable(thread, why))
            && others
    };
    bed.states.until("w1", "all but its first thread", stands).await;
}

async fn first_thread_again(bed: &mut Testbed, before: &WorkerSnapshot) {
    let sector = &before.threads[0].sector_id;
    bed.states
        .until_thread("w1", 0, "it is there again", |thread| {
            is_stuck(thread) && thread.sector_id == *sector
        })
        .await;
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

#[tokio::test]
async fn a_location_of_damocles_is_never_joined_and_the_other_threads_work() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.prepare_worker("worker", &WorkerConfig::new("w1").threads(2));
    let meta = worker.location(0).join("meta");
    fs::create_dir_all(&meta).unwrap();
    fs::write(meta.join("CURRENT"), "MANIFEST-000004\n").unwrap();
    worker.start();
    let foreign = |thread: &ThreadSnapshot| is_unusable(thread, "belongs to a damocles-worker");
    bed.states
        .until("w1", "the other one works", |w| foreign(&w.threads[0]) && is_stuck(&w.threads[1]))
        .await;
    assert_eq!(fs::read_dir(worker.location(0)).unwrap().count(), 1, "nothing is made in it");
    refused(bed.bus.resume("w1", 0, None).await);
    fs::remove_dir_all(&meta).unwrap();
    bed.bus.resume("w1", 0, None).await.unwrap();
    bed.states.until_thread("w1", 0, "it works", is_stuck).await;
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_broken_store_stops_its_thread_and_no_other_until_it_is_mended() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (mut worker, before) =
        stopped_with_sectors(&mut bed, &WorkerConfig::new("w1").threads(THREADS)).await;
    let store = worker.location(0).join("store.redb");
    let whole = fs::read(&store).unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    let breakages = [
        (Some(half), "restore it from a backup"),
        (Some(b"garbage ".repeat(1000)), "restore it from a backup"),
        (Some(vec![]), "is missing or empty beside"),
        (None, "is missing or empty beside"),
    ];
    for (broken, why) in breakages {
        match &broken {
            Some(bytes) => fs::write(&store, bytes).unwrap(),
            None => fs::remove_file(&store).unwrap(),
        }
        without_its_first_thread(&mut bed, &mut worker, &before, why).await;
        for (verb, request) in
            [(Verb::Pause, CommandRequest::to(0)), (Verb::Resume, CommandRequest::to(0))]
        {
            let ErrorKind::ThreadUnusable { reason } =
                refused(bed.bus.order("w1", verb, &request).await)
            else {
                panic!("not unusable")
            };
            assert!(reason.contains(store.to_str().unwrap()) && reason.contains(why), "{reason}");
        }
        // Its store is the one that keeps what concerns the whole worker, when it works.
        let request_id = Some(Id::generate());
        let request = CommandRequest {
            request_id,
            ..CommandRequest::to_all(Selector { all: true, ..Selector::default() })
        };
        for verb in [Verb::Cordon, Verb::Uncordon] {
            let request = CommandRequest { request_id: Some(Id::generate()), ..request.clone() };
            let first: BulkReply = bed.bus.ask("w1", verb.name(), &request).await.unwrap();
            assert!(matches!(
                first.threads[0].error.as_ref().unwrap().kind,
                ErrorKind::ThreadUnusable { .. }
            ));
            let expected =
                Some(if verb == Verb::Cordon { Outcome::Cordoned } else { Outcome::Uncordoned });
            assert!(
                first.threads[1..].iter().all(|thread| thread.outcome == expected),
                "{first:?}"
            );
            assert_eq!(
                bed.bus.ask::<BulkReply>("w1", verb.name(), &request).await.unwrap().threads[1..],
                first.threads[1..]
            );
        }
        // Nothing was done with what is there.
        assert_eq!(fs::read(&store).ok(), broken);
        fs::write(&store, &whole).unwrap();
        let request = CommandRequest { request_id, ..CommandRequest::to(0) };
        let resumed = bed.bus.order("w1", Verb::Resume, &request).await.unwrap();
        assert_eq!(
            resumed.outcome,
            Outcome::Resumed { from: "C1Done".into(), to: "C1Done".into() }
        );
        assert_eq!(bed.bus.order("w1", Verb::Resume, &request).await.unwrap(), resumed, "a repeat");
        first_thread_again(&mut bed, &before).await;
        assert!(worker.terminate().await.success());
        bed.states
            .until("w1", "its last report", |snapshot| snapshot.status == WorkerStatus::Stopped)
            .await;
    }
}

#[tokio::test]
async fn a_worker_without_any_store_that_works_still_reports_and_stops() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.prepare_worker("worker", &WorkerConfig::new("w1"));
    fs::create_dir_all(worker.location(0)).unwrap();
    fs::write(worker.location(0).join("store.redb"), b"garbage").unwrap();
    worker.start();
    bed.states
        .until_thread("w1", 0, "it cannot be used", |thread| {
            is_unusable(thread, "restore it from a backup")
        })
        .await;
    assert!(matches!(refused(bed.bus.pause("w1", 0).await), ErrorKind::ThreadUnusable { .. }));
    assert!(worker.terminate().await.success());
    bed.states
        .until("w1", "its last report", |snapshot| snapshot.status == WorkerStatus::Stopped)
        .await;
}

#[tokio::test]
async fn events_of_the_other_threads_are_published_beside_a_broken_store() {
    let mut bed = Testbed::start().await;
    let log = EventLog::make(&bed.bus).await;
    let _manager = bed.mock_manager().await;
    let (mut worker, before) =
        stopped_with_sectors(&mut bed, &WorkerConfig::new("w1").threads(2)).await;
    fs::write(worker.location(0).join("store.redb"), b"garbage").unwrap();
    without_its_first_thread(&mut bed, &mut worker, &before, "cannot be read").await;
    let resumed = CommandRequest { request_id: Some(Id::generate()), ..CommandRequest::to(1) };
    bed.bus.order("w1", Verb::Resume, &resumed).await.unwrap();
    let id = resumed.request_id.unwrap();
    let published = log.until("its resume", |stored| !of_request(stored, id).is_empty()).await;
    assert_exactly_once(&published);
    assert!(worker.terminate().await.success());
    log.until_stopped(2).await;
}

#[tokio::test]
async fn a_location_whose_disk_is_not_mounted_is_left_alone_and_taken_up_when_it_is() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (mut worker, before) =
        stopped_with_sectors(&mut bed, &WorkerConfig::new("w1").threads(THREADS)).await;
    let (location, away) = (worker.location(0), bed.scratch.path().join("away"));
    fs::rename(&location, &away).unwrap();
    fs::create_dir(&location).unwrap();
    without_its_first_thread(&mut bed, &mut worker, &before, "is its disk mounted?").await;
    assert!(matches!(
        refused(bed.bus.resume("w1", 0, None).await),
        ErrorKind::ThreadUnusable { .. }
    ));
    assert!(is_empty(&location), "the mount point was filled");
    fs::remove_dir(&location).unwrap();
    fs::rename(&away, &location).unwrap();
    first_thread_again(&mut bed, &before).await;
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_new_disk_is_taken_where_an_operator_says_so() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (mut worker, before) =
        stopped_with_sectors(&mut bed, &WorkerConfig::new("w1").threads(2)).await;
    let location = worker.location(0);
    fs::remove_dir_all(&location).unwrap();
    without_its_first_thread(&mut bed, &mut worker, &before, "store sealing-init").await;
    assert!(!location.exists());
    bed.worker_cli(&["store", "sealing-init", "-l", location.to_str().unwrap()]).await.expect(0);
    let sealing = |thread: &ThreadSnapshot| {
        is_stuck(thread) && thread.sector_id != before.threads[0].sector_id
    };
    bed.states.until_thread("w1", 0, "another sector", sealing).await;
    assert!(worker.terminate().await.success());
    // From now on that one is the location.
    fs::rename(&location, bed.scratch.path().join("away")).unwrap();
    without_its_first_thread(&mut bed, &mut worker, &before, "is its disk mounted?").await;
}

#[tokio::test]
async fn an_attached_store_that_is_not_mounted_gets_no_replica_and_is_used_when_it_is() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let config = WorkerConfig::new("w1").sealing("max_retries", "100000");
    let mut worker = bed.worker(&config.clone().idle());
    bed.states.until("w1", "it reports", |_| true).await;
    assert!(worker.terminate().await.success());
    let (store, away) = (worker.attached(), bed.scratch.path().join("away"));
    fs::rename(&store, &away).unwrap();
    fs::create_dir(&store).unwrap();

    worker.configure(&config);
    worker.start();
    let waits = |thread: &ThreadSnapshot| {
        thread.state == "PCLanded"
            && thread.last_err.as_ref().is_some_and(|error| error.contains("is its disk mounted?"))
    };
    bed.states.until_thread("w1", 0, "it waits for its store", waits).await;
    assert!(is_empty(&store), "the mount point was filled");
    fs::remove_dir(&store).unwrap();
    fs::rename(&away, &store).unwrap();
    bed.states
        .until_thread("w1", 0, "persisted", |thread| {
            ["Persisted", "PersistanceSubmitted", "SeedAssigned", "C1Done"]
                .contains(&thread.state.as_str())
        })
        .await;
    assert!(worker.persisted().contains(&1));
}

#[tokio::test]
async fn the_next_attached_store_is_used_while_the_first_is_not_mounted() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let second = bed.scratch.path().join("second");
    let config = WorkerConfig::new("w1")
        .raw(&format!("[[attached]]\nname = 'second'\nlocation = {second:?}"));
    let mut worker = bed.worker(&config.clone().idle());
    bed.states.until_thread("w1", 0, "it finds no sector", waits_for("sector")).await;
    assert!(worker.terminate().await.success());
    fs::rename(worker.attached(), bed.scratch.path().join("away")).unwrap();
    fs::create_dir(worker.attached()).unwrap();
    worker.configure(&config);
    worker.start();
    bed.states.until_stuck("w1").await;
    assert!(second.join("sealed/s-t010000-1").is_file() && is_empty(&worker.attached()));
}
