//! Managers own no state: all see the same workers, and each may die at any time.

use e2e::{testbed::Testbed, worker::WorkerConfig};
use shared_msgs::{api::WorkerView, sector_manager::ReportFinalized, snapshot::WorkerStatus};
use tokio::time::Instant;

#[tokio::test]
async fn a_killed_manager_costs_no_sector_and_its_successor_goes_on() {
    let mut bed = Testbed::start().await;
    let mut manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").fixture_c2(&[]));
    for _ in 0..3 {
        bed.requests.until::<ReportFinalized>("of any sector", |_| true).await;
        manager.kill9().await;
        let allocated = bed.allocated().await;
        manager.restart();
        bed.requests
            .until::<ReportFinalized>("of a later sector", |request| {
                request.sector.number > allocated
            })
            .await;
    }
    assert!(worker.terminate().await.success());
    assert_eq!(bed.lost_sectors("w1", &mut worker).await, Vec::<u64>::new());
}

#[tokio::test]
async fn without_a_manager_a_worker_starts_waits_and_answers() {
    let mut bed = Testbed::start().await;
    let worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;

    bed.util_worker(&["list"]).await.expect(4);
    let info = bed.util_worker(&["info", "w1"]).await.expect(0);
    assert_eq!(info.rows()[0][1], worker.location(0).display().to_string());
    bed.util_worker(&["pause", "w1", "0"]).await.expect(0);
    bed.util_worker(&["resume", "w1", "0"]).await.expect(0);

    let _manager = bed.mock_manager().await;
    bed.states.until_stuck("w1").await;
}

#[tokio::test]
async fn two_managers_see_the_same_workers_and_share_the_sectors() {
    let mut bed = Testbed::start().await;
    let mut managers = [bed.mock_manager().await, bed.start_mock_manager("second-manager")];
    let mut workers = ["a", "b"].map(|name| bed.prepare_worker(name, &WorkerConfig::new(name)));
    for worker in &mut workers {
        worker.start();
    }
    let mut sectors = Vec::new();
    for name in ["a", "b"] {
        sectors.extend(bed.states.until_stuck(name).await.threads[0].sector_id.clone());
    }
    sectors.sort();
    assert_eq!(sectors, ["s-t010000-1", "s-t010000-2"]);

    let stuck = |workers: &[WorkerView]| {
        workers.iter().filter(|worker| worker.report.summary.paused == 1).count() == 2
    };
    bed.bus.listed("two stuck workers", stuck).await;

    // Each of them alone, the one that has just started too.
    for survivor in [1, 0] {
        managers[1 - survivor].kill9().await;
        bed.bus.listed("two stuck workers", stuck).await;
        let list = bed.util_worker(&["list"]).await.expect(0);
        let seen: Vec<_> = list.rows().into_iter().map(|row| row[..6].join(" ")).collect();
        assert_eq!(seen, ["a damocles.v1.cmd.a 1 0 1 1", "b damocles.v1.cmd.b 1 0 1 1"]);
        managers[1 - survivor].restart();
    }
}

#[tokio::test]
async fn a_restarted_manager_lists_at_once_those_that_are_gone_with_their_true_last_ping() {
    let mut bed = Testbed::start().await;
    let mut manager = bed.mock_manager().await;
    let mut workers =
        ["alive", "gone"].map(|name| bed.prepare_worker(name, &WorkerConfig::new(name).idle()));
    for worker in &mut workers {
        worker.start();
    }
    bed.states.until("alive", "it reports", |_| true).await;
    bed.states.until("gone", "it reports", |_| true).await;
    let [_alive, gone] = &mut workers;
    manager.kill9().await;
    gone.kill9().await;
    let killed = Instant::now();
    // So that its age is told from none: the other one has reported since.
    let before = bed.states.until("alive", "it reports", |_| true).await;
    bed.states.until("alive", "it reports again", |snapshot| snapshot.seq > before.seq).await;

    manager.restart();
    manager.answers(&bed.bus).await;
    let at_least = killed.elapsed().as_millis() as u64;
    let list = bed.util_worker(&["list", "-o", "json"]).await.expect(0).json();
    let listed = list.as_array().unwrap();
    assert_eq!(
        listed.iter().map(|worker| worker["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["alive", "gone"]
    );
    assert!(listed[1]["last_ping_ms"].as_u64().unwrap() >= at_least, "{list}");

    // A worker that is gone for long enough is marked.
    let rows = bed.util_worker(&["list", "--expiration", "1ms"]).await.expect(0);
    assert!(rows.rows()[1].last().unwrap().contains('!'), "{}", rows.stdout);
    let rows = bed.util_worker(&["list", "--expiration", "1h"]).await.expect(0);
    assert!(!rows.rows()[1].last().unwrap().contains('!'), "{}", rows.stdout);
}

#[tokio::test]
async fn a_removed_worker_is_forgotten_until_it_speaks_again() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it reports", |_| true).await;
    bed.bus.listed("the worker", |workers| workers.len() == 1).await;
    bed.util_worker(&["remove", "w1"]).await.expect(5);
    bed.util_worker(&["remove", "nobody"]).await.expect(3);

    assert!(worker.terminate().await.success());
    bed.bus
        .listed("the worker, stopped", |workers| {
            workers.iter().any(|worker| worker.report.status == WorkerStatus::Stopped)
        })
        .await;
    let rows = bed.util_worker(&["list"]).await.expect(0);
    assert_eq!(rows.rows().len(), 1, "a stopped worker is still listed");
    bed.util_worker(&["remove", "w1"]).await.expect(0);
    let rows = bed.util_worker(&["list"]).await.expect(0);
    assert_eq!(rows.rows().len(), 0);
    bed.util_worker(&["info", "w1"]).await.expect(3);

    worker.start();
    let pid = worker.pid();
    bed.states.until("w1", "the new run reports", |snapshot| snapshot.pid == pid).await;
    bed.util_worker(&["info", "w1"]).await.expect(0);
}
