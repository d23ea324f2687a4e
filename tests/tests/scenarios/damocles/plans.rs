//! Each plan under a damocles sector manager, to its end.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::fs;

use e2e::{
    damocles::sector_manager::{SectorManager, World},
    manager::Manager,
    testbed::{MINER, Testbed},
    worker::{Worker, WorkerConfig},
};
use serde_json::{Value, json};

// The commitment of 1,024 padded bytes of zeros: of filler, and of a client's zeros.
const ZEROS: &str = "baga6ea4seaqb66wjlfkrbye6uqoemcyxmqylwmrm235uclwfpsyx3ge2imidoly";
const PAYLOAD: usize = 900;

struct Sealed {
    bed: Testbed,
    damocles: SectorManager,
    _relay: Manager,
    worker: Worker,
}

// Sector 1 is sealed, and the worker waits for jobs of a plan on it; it takes no other sector.
async fn sealed_for(plan: &str, deal: bool) -> Sealed {
    let bed = Testbed::start().await;
    let damocles = SectorManager::start().await;
    let pieces =
        World::pieces(&[(1024, ZEROS.into(), Some(PAYLOAD as u64)), (1024, ZEROS.into(), None)]);
    if deal {
        damocles.world().deals.push_back(pieces);
    }
    let found = bed.scratch.directory("found");
    fs::write(found.join(ZEROS), [0; PAYLOAD]).unwrap();
    let relay = bed.relay("relay", &damocles).await;
    let config = WorkerConfig::new("w1")
        .fixture_c2(&[])
        .fixture("snap_prove", &[], "")
        .fixture("window_post", &[], "")
        .sealing("enable_deals", if deal { "true" } else { "false" })
        .worker("local_pieces_dirs", &format!("[{:?}]", found.display().to_string()))
        .raw(&format!("[[sealing_thread]]\nlocation = './{plan}'\nplan = '{plan}'"));
    let worker = bed.worker(&config);
    damocles.until_finalized(1).await;
    bed.bus.pause("w1", 0).await.unwrap();
    Sealed { bed, damocles, _relay: relay, worker }
}

impl Sealed {
    fn pre_commit(&self) -> Value {
        self.damocles.world().sectors[&1].pre_commit.clone().unwrap().0
    }

    fn job(&self, more: Value) -> Value {
        let mut job = json!({"Sector": {"ID": {"Miner": MINER, "Number": 1}, "ProofType": 5}});
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        job
    }
}

#[tokio::test]
async fn an_upgrade_hands_in_every_piece_that_it_was_given_filler_too() {
    let sealed = sealed_for("snapup", false).await;
    let pieces =
        World::pieces(&[(1024, ZEROS.into(), Some(PAYLOAD as u64)), (1024, ZEROS.into(), None)]);
    let public = json!({"CommR": sealed.pre_commit()["CommR"], "SealedCID": {"/": "bago"}, "Activation": 1, "Expiration": 2});
    let job = sealed
        .job(json!({"Pieces": pieces, "Public": public, "Private": {"AccessInstance": "remote"}}));
    sealed.damocles.world().snapups.push_back(job);
    sealed.damocles.until_called("ReportFinalized", 2).await;
    let handed_in = sealed.damocles.calls("SubmitSnapUpProof");
    assert_eq!(handed_in[0][1]["Pieces"], json!([{"/": ZEROS}, {"/": ZEROS}]));
    assert_eq!(handed_in[0][1]["AccessInstance"], "remote");
    assert!(sealed.worker.attached().join("update/s-t010000-1").is_file());
}

#[tokio::test]
async fn a_rebuild_brings_the_same_replica_back() {
    let sealed = sealed_for("rebuild", true).await;
    let replica = sealed.worker.attached().join("sealed/s-t010000-1");
    let before = fs::read(&replica).unwrap();
    fs::remove_file(&replica).unwrap();
    fs::remove_dir_all(sealed.worker.attached().join("cache/s-t010000-1")).unwrap();
    let pieces =
        World::pieces(&[(1024, ZEROS.into(), Some(PAYLOAD as u64)), (1024, ZEROS.into(), None)]);
    let ticket = &sealed.pre_commit()["Ticket"];
    let job = sealed.job(json!({"Ticket": ticket, "Pieces": null, "PiecesV2": pieces, "IsSnapUp": false, "UpgradePublic": null}));
    sealed.damocles.world().rebuilds.push_back(job);
    sealed.damocles.until_called("ReportFinalized", 2).await;
    assert!(fs::read(&replica).unwrap() == before, "another replica came out");
}

#[tokio::test]
async fn an_unsealed_piece_arrives_and_the_job_has_both_of_its_ends() {
    let sealed = sealed_for("unseal", true).await;
    let pre_commit = sealed.pre_commit();
    let job = sealed.job(json!({
        "PieceCid": {"/": ZEROS}, "Offset": 0, "Size": 1016, "PrivateInfo": {"AccessInstance": "remote"},
        "Ticket": pre_commit["Ticket"], "CommD": pre_commit["CommD"], "Dest": [], "State": "unsealing", "ErrorInfo": "",
    }));
    sealed.damocles.world().unseals.push_back(job);
    sealed.damocles.until_called("ReportFinalized", 2).await;
    let world = sealed.damocles.world();
    assert_eq!(world.uploaded[ZEROS], [0; 1016]);
    let ends: Vec<_> = world
        .calls
        .iter()
        .map(|(method, _)| method.as_str())
        .filter(|method| method.starts_with("Achieve") || *method == "ReportFinalized")
        .collect();
    assert_eq!(ends, ["ReportFinalized", "AchieveUnsealSector", "ReportFinalized"]);
    assert!(world.sectors[&1].finalized && !world.sectors[&1].unsealing);
}

#[tokio::test]
async fn a_window_post_job_is_proven_from_the_stores_that_it_names() {
    let sealed = sealed_for("wdpost", false).await;
    let job = |id: &str, store: &str| {
        let sector = json!({"SectorId": 1, "CommR": sealed.pre_commit()["CommR"], "Upgrade": false, "Accesses": {"SealedFile": store, "CacheDir": store}});
        json!({"Id": id, "Input": {"Sectors": [sector], "MinerId": MINER, "ProofType": "StackedDrgWindow2KiBV1_2", "Seed": vec![1; 32]}})
    };
    // One that cannot be proven here is told, and the thread goes on.
    let jobs = [job("elsewhere", "nosuch"), job("here", "remote")];
    sealed.damocles.world().wdposts.extend(jobs);
    sealed.damocles.until("both ended", |world| world.wdpost_ends.len() == 2).await;
    let ends = sealed.damocles.world().wdpost_ends.clone();
    assert_eq!((&ends[0][0], &ends[0][1]), (&json!("elsewhere"), &Value::Null));
    let why = ends[0][2].as_str().unwrap();
    assert!(why.contains("nosuch") && why.contains("not attached"), "{why}");
    assert_eq!(
        (&ends[1][0], &ends[1][1]["faults"], &ends[1][2]),
        (&json!("here"), &json!([]), &json!(""))
    );
    assert_eq!(ends[1][1]["proofs"].as_array().unwrap().len(), 1);
    drop(sealed.bed);
}

#[tokio::test]
async fn the_end_of_a_window_post_job_of_another_worker_is_not_passed_on() {
    let bed = Testbed::start().await;
    let damocles = SectorManager::start().await;
    let _relay = bed.relay("relay", &damocles).await;
    damocles.world().wdpost_workers.insert("j1".into(), "w1".into());
    let finish = |worker: &str| shared_msgs::sector_manager::WdpostFinish {
        request_id: shared_msgs::id::Id::generate(),
        job: "j1".into(),
        worker: Some(worker.into()),
        output: None,
        error: "no parameters".into(),
    };
    let refused = bed.bus.ask_sector_manager_again("w2", &finish("w2")).await.unwrap_err();
    assert!(refused.to_string().contains("j1"), "{refused}");
    assert!(damocles.world().wdpost_ends.is_empty());
    bed.bus.ask_sector_manager_again("w1", &finish("w1")).await.unwrap();
    assert_eq!(damocles.world().wdpost_ends, [json!(["j1", null, "no parameters"])]);
}
