//! NATS may be gone at any time: workers seal on, and are back by themselves.
//!
//! They do so as long as the sector manager need not answer.

use e2e::{
    state_watch::is_in_c2,
    testbed::{Testbed, sector},
    worker::WorkerConfig,
};
use shared_msgs::sector_manager::ReportFinalized;

#[tokio::test]
async fn a_worker_starts_without_nats_says_so_and_is_visible_once_nats_is_there() {
    let mut bed = Testbed::start().await;
    bed.nats.stop().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1"));
    let address = bed.nats.url().trim_start_matches("nats://").to_owned();
    worker.log().line_with(&["WARN", &address]).await;

    bed.nats.restart().await;
    let snapshot = bed.states.until("w1", "it reports", |_| true).await;
    assert_eq!(snapshot.threads[0].state, "Empty");
    let warnings = worker
        .log()
        .lines()
        .iter()
        .filter(|line| line.contains("WARN") && line.contains(&address))
        .count();
    assert_eq!(warnings, 1, "one outage is one warning");
}

#[tokio::test]
async fn a_worker_that_has_what_it_needs_seals_on_while_nats_is_gone() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let mut worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;

    bed.nats.kill9().await;
    gate.open();
    worker.log().line_with(&["s-t010000-1", "C2Done"]).await;

    bed.nats.restart().await;
    bed.requests.until_finalized(sector(1)).await;
}

#[tokio::test]
async fn nats_killed_while_sectors_are_sealed_costs_no_sector() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").threads(2).fixture_c2(&[]));
    for _ in 0..3 {
        bed.requests.until::<ReportFinalized>("of any sector", |_| true).await;
        bed.nats.kill9().await;
        bed.nats.restart().await;
        let allocated = bed.allocated().await;
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
async fn a_worker_is_seen_and_answers_again_after_nats_was_killed() {
    let mut bed = Testbed::start().await;
    let _worker = bed.worker(&WorkerConfig::new("w1"));
    let before = bed.states.until("w1", "it reports", |_| true).await;
    bed.nats.kill9().await;
    bed.nats.restart().await;
    let after =
        bed.states.until("w1", "it reports again", |snapshot| snapshot.seq > before.seq).await;
    assert_eq!(after.instance_id, before.instance_id);
    bed.bus.served(&bed.bus.command("w1", "list")).await;
    assert_eq!(bed.bus.list("w1").await.instance_id, before.instance_id);
}
