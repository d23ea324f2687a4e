//! A relay loses no sector number and submits nothing twice, whatever the sector manager does.

use std::time::Duration;

use e2e::{
    binaries,
    cli::run,
    damocles::sector_manager::{Fault, SectorManager, World},
    testbed::{MINER, Testbed},
    worker::WorkerConfig,
};
use serde_json::{Value, json};
use shared_msgs::{
    id::Id,
    sector_manager::{AllocateSector, AllocatedSector, HEARTBEAT, ReportState},
    snapshot::ThreadSnapshot,
};

// A worker waits a second for an answer, and then asks again.
const LONG: Duration = Duration::from_secs(7);

fn sealer() -> WorkerConfig {
    WorkerConfig::new("w1").fixture_c2(&[])
}

// The calls that are about a sector.
fn of(calls: &[Value], number: u64) -> usize {
    let named = json!({"Miner": MINER, "Number": number});
    calls.iter().filter(|call| call[0] == named || call[0]["ID"] == named).count()
}

// Every number up to this one was sealed: none was used up for nobody.
fn all_finalized(world: &World, up_to: u64) -> bool {
    (1..=up_to).all(|number| world.sectors.get(&number).is_some_and(|sector| sector.finalized))
}

#[tokio::test]
async fn a_sector_is_sealed_to_its_end() {
    let bed = Testbed::start().await;
    let damocles = SectorManager::start().await;
    let _relay = bed.relay("relay", &damocles).await;
    let mut worker = bed.worker(&sealer());
    damocles.until_finalized(1).await;
    let sector = damocles.world().sectors[&1].clone();
    assert_eq!((sector.store.as_deref(), sector.abort_reason.as_str()), (Some("remote"), ""));
    let ((pre_commit, messages), (_, proofs)) = (sector.pre_commit.unwrap(), sector.proof.unwrap());
    assert_eq!((messages, proofs, &pre_commit["Ticket"]["Epoch"]), (1, 1, &json!(120)));
    assert_eq!(of(&damocles.calls("StoreReserveSpace"), 1), 1, "its weights and rules hold");
    assert!(worker.persisted().contains(&1));
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_call_that_takes_longer_than_a_worker_waits_is_made_once() {
    let bed = Testbed::start().await;
    let damocles = SectorManager::start().await;
    for method in ["AllocateSector", "AssignTicket", "SubmitPreCommit", "SubmitPersistedEx"] {
        damocles.fault(method, Fault::Slow(LONG));
    }
    let (_one, _two) = (bed.relay("one", &damocles).await, bed.relay("two", &damocles).await);
    let _worker = bed.worker(&sealer());
    damocles.until_finalized(1).await;
    assert!(damocles.world().sectors.len() <= 2, "one number for each request");
    let sector = damocles.world().sectors[&1].clone();
    assert_eq!((sector.pre_commit.unwrap().1, sector.proof.unwrap().1), (1, 1));
}

#[tokio::test]
async fn what_goes_wrong_at_the_sector_manager_loses_no_number_and_submits_nothing_twice() {
    let bed = Testbed::start().await;
    let mut damocles = SectorManager::start().await;
    let faults = [
        ("AllocateSector", Fault::Refused(1, "dial tcp: connection refused")),
        ("AllocateSector", Fault::Cut),
        ("AcquireDeals", Fault::Empty500),
        ("AssignTicket", Fault::Nonsense("<html>bad gateway</html>")),
        ("SubmitPreCommit", Fault::Cut),
        ("PollPreCommitState", Fault::Refused(1, "chain head changed")),
        ("WaitSeed", Fault::Empty500),
        ("SubmitProof", Fault::Cut),
        ("ReportState", Fault::Nonsense("")),
        ("ReportFinalized", Fault::Cut),
    ];
    for (method, fault) in faults {
        damocles.fault(method, fault);
    }
    let _relay = bed.relay("relay", &damocles).await;
    let mut worker = bed.worker(&sealer().sealing("enable_deals", "true"));
    damocles.until_called("AssignTicket", 2).await;
    damocles.restart().await;
    damocles.until_finalized(2).await;
    assert!(worker.terminate().await.success());
    let world = damocles.world();
    assert!(all_finalized(&world, 2), "{:?}", world.sectors);
    assert!(world.sectors.values().all(|sector| sector.abort_reason.is_empty()));
    let messages = world.sectors[&1].pre_commit.iter().chain(&world.sectors[&1].proof);
    assert!(messages.map(|(_, messages)| messages).all(|messages| *messages == 1));
}

#[tokio::test]
async fn a_relay_that_dies_before_it_has_written_down_its_answer_loses_no_number() {
    let bed = Testbed::start().await;
    let damocles = SectorManager::start().await;
    damocles.fault("AllocateSector", Fault::Slow(LONG));
    let mut relay = bed.relay("relay", &damocles).await;
    let mut worker = bed.worker(&sealer());
    damocles.until("the number is used up", |world| world.sectors.contains_key(&1)).await;
    relay.kill9().await;
    relay.restart();
    damocles.until_finalized(2).await;
    assert!(worker.terminate().await.success());
    assert!(all_finalized(&damocles.world(), 2));
}

#[tokio::test]
async fn a_sector_that_another_program_works_on_is_not_taken_for_a_lost_one() {
    let bed = Testbed::start().await;
    let damocles = SectorManager::start().await;
    damocles.fault("AllocateSector", Fault::Empty500);
    let foreign = json!({"Worker": {"Instance": "old", "Location": "/x"}, "StateChange": {"Prev": "Empty", "Next": "Allocated", "Event": "None"}, "Failure": null});
    // Given to a damocles worker just now, which reports a state a moment later.
    damocles.world().sectors.insert(1, Default::default());
    let _relay = bed.relay("relay", &damocles).await;
    let mut worker = bed.worker(&sealer());
    damocles.until_called("ListSectors", 1).await;
    damocles.world().sectors.get_mut(&1).unwrap().latest_state = Some(foreign.clone());
    damocles.until_finalized(2).await;
    assert!(worker.terminate().await.success());
    let first = damocles.world().sectors[&1].clone();
    assert_eq!((first.latest_state, first.finalized), (Some(foreign), false));
}

#[tokio::test]
async fn two_relays_give_a_request_one_sector_and_no_other_worker_its_answer() {
    let bed = Testbed::start().await;
    let damocles = SectorManager::start().await;
    let (_one, _two) = (bed.relay("one", &damocles).await, bed.relay("two", &damocles).await);
    let request = AllocateSector { request_id: Id::generate(), spec: Default::default() };
    for _ in 0..8 {
        let given: Option<AllocatedSector> =
            bed.bus.ask_sector_manager_again("w1", &request).await.unwrap();
        assert_eq!(given.unwrap().id.number, 1);
    }
    let refused = bed.bus.ask_sector_manager_again("w2", &request).await.unwrap_err();
    assert!(refused.to_string().contains("another worker's"), "{refused}");
    assert_eq!(damocles.calls("AllocateSector").len(), 1);
}

#[tokio::test]
async fn a_heartbeat_leaves_the_failure_that_was_reported() {
    let mut bed = Testbed::start().await;
    let damocles = SectorManager::start().await;
    let _relay = bed.relay("relay", &damocles).await;
    let _worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until_stuck("w1").await;
    for _ in 0..2 {
        bed.requests
            .until("a heartbeat", |report: &ReportState| report.state_change.event == HEARTBEAT)
            .await;
    }
    damocles.until_called("FindSector", 1).await;
    let reported = damocles.world().sectors[&1].latest_state.clone().unwrap();
    assert_eq!(reported["Failure"]["Level"], "Permanent", "{reported}");
    assert!(
        damocles
            .calls("ReportState")
            .iter()
            .all(|call| call[1]["StateChange"]["Event"] != HEARTBEAT)
    );
}

#[tokio::test]
async fn a_sector_that_was_given_up_there_is_given_up_here() {
    let mut bed = Testbed::start().await;
    let damocles = SectorManager::start().await;
    let _relay = bed.relay("relay", &damocles).await;
    let _worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until_stuck("w1").await;
    {
        let mut world = damocles.world();
        let sector = world.sectors.get_mut(&1).unwrap();
        (sector.finalized, sector.abort_reason) = (true, "bad disk".into());
    }
    let next = |thread: &ThreadSnapshot| thread.sector_id.as_deref() == Some("s-t010000-2");
    bed.states.until_thread("w1", 0, "it seals the next one", next).await;
    let history = bed.util_worker(&["history", "w1"]).await.expect(0);
    assert!(history.stdout.contains("bad disk"), "{}", history.stdout);
}

#[tokio::test]
async fn a_sector_manager_that_is_too_old_is_refused_with_its_version_named() {
    let bed = Testbed::start().await;
    let damocles = SectorManager::start().await;
    damocles.world().version = Some("v0.10.4-prod-x".into());
    let (url, nats) = (damocles.url(), bed.nats.url());
    let args = ["daemon", "--sector-manager", &url];
    let output = run(binaries::manager(), &args, &nats, b"").await.expect(1);
    assert!(output.stderr.contains("version v0.10.4-prod-x"), "{}", output.stderr);
}
