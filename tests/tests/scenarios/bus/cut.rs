//! The network fails for longer than a lease lasts: a worker seals on, and is back by itself.
//!
//! It is cut, or silent in one direction or in both. What becomes of a command meanwhile is in
//! `once::cut`.

use e2e::{
    leases,
    proxy::Proxy,
    testbed::Testbed,
    worker::{Worker, WorkerConfig},
};
use shared_msgs::{command::Outcome, snapshot::WorkerSnapshot};

pub(crate) async fn worker_behind_a_proxy(bed: &mut Testbed) -> (Worker, Proxy, WorkerSnapshot) {
    let proxy = bed.proxy().await;
    let config = WorkerConfig::new("w1").idle().nats("lease_ttl", "'1s'");
    let mut worker = bed.prepare_worker_behind(&proxy, "worker", &config);
    worker.start();
    let shown = bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    (worker, proxy, shown)
}

pub(crate) async fn until_expired(bed: &Testbed) {
    leases::until(&bed.bus, "w1", "the lease has expired", |lease| lease.is_none()).await;
}

pub(crate) async fn until_back(bed: &mut Testbed, before: &WorkerSnapshot) -> WorkerSnapshot {
    let back = bed.states.until("w1", "it is back", |snapshot| snapshot.epoch > before.epoch).await;
    assert_eq!(back.instance_id, before.instance_id);
    bed.bus.served(&bed.bus.command("w1", "list")).await;
    back
}

#[tokio::test]
async fn a_worker_that_was_cut_off_for_longer_than_its_lease_has_its_name_again_and_serves() {
    let mut bed = Testbed::start().await;
    let (_worker, proxy, before) = worker_behind_a_proxy(&mut bed).await;
    proxy.cut();
    until_expired(&bed).await;
    proxy.heal();
    until_back(&mut bed, &before).await;
    assert_eq!(bed.bus.pause("w1", 0).await.unwrap().outcome, Outcome::Paused);
}

#[tokio::test]
async fn a_worker_whose_network_was_silent_for_longer_than_its_lease_has_its_name_again_and_serves()
{
    let mut bed = Testbed::start().await;
    let (_worker, proxy, before) = worker_behind_a_proxy(&mut bed).await;
    proxy.hold();
    until_expired(&bed).await;
    proxy.heal();
    until_back(&mut bed, &before).await;
    assert_eq!(bed.bus.pause("w1", 0).await.unwrap().outcome, Outcome::Paused);
}

#[tokio::test]
async fn a_server_that_was_away_for_longer_than_all_leases_silences_nobody() {
    let mut bed = Testbed::start().await;
    let proxy = bed.proxy().await;
    let mut before = vec![];
    let mut workers = vec![];
    for name in ["w1", "w2", "w3"] {
        let config = WorkerConfig::new(name).idle().nats("lease_ttl", "'1s'");
        workers.push(bed.prepare_worker_behind(&proxy, name, &config));
        workers.last_mut().unwrap().start();
        before.push(bed.states.until(name, "it reports", |_| true).await);
    }
    for crash in [false, true] {
        proxy.cut();
        if crash {
            bed.nats.kill9().await
        } else {
            bed.nats.stop().await
        }
        bed.nats.restart().await;
        for snapshot in &before {
            leases::until(&bed.bus, &snapshot.name, "the lease has expired", |lease| {
                lease.is_none()
            })
            .await;
        }
        proxy.heal();
        for snapshot in &mut before {
            *snapshot = bed
                .states
                .until(&snapshot.name, "it is back", |now| now.epoch > snapshot.epoch)
                .await;
            bed.bus.served(&bed.bus.command(&snapshot.name, "list")).await;
        }
    }
    for name in ["w1", "w2", "w3"] {
        assert_eq!(bed.bus.pause(name, 0).await.unwrap().outcome, Outcome::Paused);
    }
}
