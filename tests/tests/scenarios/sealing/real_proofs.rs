//! A sector of each kind goes all the way, with every proof real and verified.
//!
//! The worker verifies each before it hands it in, and the tests verify it again from what the bus
//! has heard. A few minutes each, once there are parameters.

use std::{fs, path::Path};

use damocles_worker::processor::{
    builtin,
    task::{Pc2Output, SnapCommitments, VerifySeal, VerifySnap, prover_id},
};
use e2e::{
    parameters::{self, PATIENCE},
    played_worker::PlayedWorker,
    testbed::{MINER, Testbed, sector},
    worker::{Worker, WorkerConfig},
};
use shared_msgs::{
    plan::State,
    sector_manager::{
        AchieveUnsealSector, AllocatedSector, Commitment, ReportState, SectorId, SubmitPersisted,
        SubmitPreCommit, SubmitProof, SubmitSnapupProof, WaitSeed, WdpostFinish, piece_commitment,
    },
};

fn real_worker() -> WorkerConfig {
    WorkerConfig::new("w1").parameters(parameters::all())
}

// With a thread of each of these plans beside its sealer.
fn of_plans(plans: &[&str], found: &Path) -> WorkerConfig {
    let threads: Vec<_> = plans
        .iter()
        .map(|plan| format!("[[sealing_thread]]\nlocation = './{plan}'\nplan = '{plan}'"))
        .collect();
    real_worker()
        .raw(&threads.join("\n"))
        .worker("local_pieces_dirs", &format!("['{}']", found.display()))
}

// The sector that it has is the last one that the sealer takes.
fn takes_no_more(worker: &Worker) -> std::io::Result<()> {
    fs::write(worker.location(0).join("config.toml"), "sealing.allowed_miners = [4242]\n")
}

fn deal() -> Vec<u8> {
    (0..1500u32).map(|position| (position * position % 251) as u8).collect()
}

fn is_of_sector(pre_commit: &SubmitPreCommit, seed: [u8; 32], proof: &[u8]) -> bool {
    let (sector, info) = (&pre_commit.sector, &pre_commit.info);
    let task = VerifySeal {
        prover_id: prover_id(sector.id.miner),
        sector_id: sector.id.number,
        ticket: info.ticket.ticket.0,
        pre_commit: Pc2Output {
            registered_proof: sector.proof_type.name(),
            comm_r: info.comm_r,
            comm_d: info.comm_d,
        },
        seed,
        proof: proof.to_vec(),
    };
    builtin::verify_seal(task).is_ok_and(|valid| valid)
}

// The states that a sector went through, as they were reported.
fn states_of(bed: &Testbed, sector: SectorId) -> Vec<String> {
    let reports =
        bed.requests.seen::<ReportState>().into_iter().filter(|report| report.sector == sector);
    reports.map(|report| report.state_change.next).collect()
}

// Waits for the first sector to be finished, and verifies its proof.
async fn sealed_and_proven(
    bed: &mut Testbed,
    worker: &Worker,
    proof_type: &str,
) -> SubmitPreCommit {
    let pre_commit = bed.requests.until("", |_: &SubmitPreCommit| true).await;
    assert!(takes_no_more(worker).is_ok());
    assert_eq!(pre_commit.sector.proof_type.name(), proof_type);
    let submitted = bed.requests.until("", |_: &SubmitProof| true).await;
    bed.requests.until_finalized(sector(1)).await;

    // The sector manager says the same again.
    let AllocatedSector { id, proof_type } = pre_commit.sector;
    let seed = PlayedWorker::new(&bed.bus, "w1")
        .ask(&WaitSeed { sector: id, proof_type })
        .await
        .seed
        .map(|seed| seed.seed.0)
        .unwrap_or_default();
    assert!(is_of_sector(&pre_commit, seed, &submitted.proof.0));
    assert!(!is_of_sector(&pre_commit, [7; 32], &submitted.proof.0));
    pre_commit
}

// Has the deal taken out of the first sector, and compares it.
async fn unseal(bed: &mut Testbed, found: &Path) {
    bed.util_sealer(&["sectors", "unseal", "s-t010000-1"]).await.expect(0);
    let done = bed.requests.until("", |_: &AchieveUnsealSector| true).await;
    assert_eq!(done.error, "");
    let unsealed = fs::read(found.join(&done.piece_cid)).unwrap_or_default();
    let mut expected = deal();
    expected.resize(2032, 0);
    assert!(unsealed == expected, "other bytes came out");
}

// Loses the first sector's replicas, has them made again, and compares them.
async fn rebuild(bed: &mut Testbed, worker: &Worker, kinds: &[&str]) {
    let replicas: Vec<_> =
        kinds.iter().map(|kind| worker.attached().join(kind).join("s-t010000-1")).collect();
    let read = || replicas.iter().flat_map(fs::read).collect::<Vec<_>>();
    let before = read();
    assert_eq!(before.len(), kinds.len());
    assert!(replicas.iter().all(|replica| fs::remove_file(replica).is_ok()));
    bed.util_sealer(&["sectors", "rebuild", "s-t010000-1"]).await.expect(0);
    bed.requests.until("", |request: &SubmitPersisted| request.sector == sector(1)).await;
    bed.requests.until_finalized(sector(1)).await;
    assert!(read() == before, "another replica came out");
}

// Has it proven that the first sector's replica is still there, and verifies that.
async fn window_post(bed: &mut Testbed, comm_r: Commitment) {
    bed.util_sealer(&["proving", "simulate-wdpost", "--miner", "10000", "s-t010000-1"])
        .await
        .expect(0);
    let finished = bed.requests.until("", |_: &WdpostFinish| true).await;
    assert_eq!(finished.error, "");
    let proofs: Vec<_> =
        finished.output.into_iter().flat_map(|output| output.proofs).map(|proof| proof.0).collect();
    let job = bed.util_worker(&["wdpost", "list", "-o", "json"]).await.expect(0).json()[0].clone();
    assert_eq!((&job["id"], &job["status"]), (&finished.job.into(), &"finished".into()));
    let seed: [u8; 32] = serde_json::from_value(job["seed"].clone()).unwrap_or_default();
    let verifies = |comm_r| {
        let sectors = [(1, comm_r)];
        builtin::verify_window_post("StackedDrgWindow2KiBV1_2", &seed, MINER, &sectors, &proofs)
            .is_ok_and(|valid| valid)
    };
    assert!(verifies(comm_r) && !verifies([7; 32]));
}

#[tokio::test]
#[ignore = "needs Groth16 parameters: make test-proofs"]
async fn a_sector_without_deals_is_sealed_upgraded_unsealed_rebuilt_and_window_proven() {
    let mut bed = Testbed::start().await;
    bed.wait_up_to(PATIENCE);
    let (pieces, found) = (bed.scratch.directory("pieces"), bed.scratch.directory("found"));
    fs::write(pieces.join("client-data"), deal()).unwrap();
    let _manager = bed.mock_manager_with(&["--pieces", pieces.to_str().unwrap()]).await;
    let worker = bed.worker(&of_plans(&["snapup", "unseal", "rebuild", "wdpost"], &found));
    let pre_commit = sealed_and_proven(&mut bed, &worker, "StackedDrg2KiBV1_1").await;

    let upgrade = bed.requests.until("", |_: &SubmitSnapupProof| true).await;
    bed.requests.until_finalized(sector(1)).await;
    let commitments = SnapCommitments {
        comm_r_old: pre_commit.info.comm_r,
        comm_r_new: upgrade.comm_r,
        comm_d_new: upgrade.comm_d,
    };
    assert_eq!(
        upgrade.comm_d,
        piece_commitment(&upgrade.pieces[0]).unwrap(),
        "the deal fills the sector"
    );
    let registered_proof = pre_commit.sector.proof_type.size.update_name();
    let verifies = |commitments| {
        let proof = upgrade.proof.0.clone();
        let task = VerifySnap { registered_proof: registered_proof.clone(), commitments, proof };
        builtin::verify_snap(task).is_ok_and(|valid| valid)
    };
    let others = SnapCommitments { comm_r_old: upgrade.comm_r, ..commitments };
    assert!(verifies(commitments) && !verifies(others));

    unseal(&mut bed, &found).await;
    rebuild(&mut bed, &worker, &["sealed", "update"]).await;
    window_post(&mut bed, upgrade.comm_r).await;
}

#[tokio::test]
#[ignore = "needs Groth16 parameters: make test-proofs"]
async fn a_sector_with_a_deal_and_synthetic_proofs_is_sealed_unsealed_rebuilt_and_window_proven() {
    let mut bed = Testbed::start().await;
    bed.wait_up_to(PATIENCE);
    let (pieces, found) = (bed.scratch.directory("pieces"), bed.scratch.directory("found"));
    fs::write(pieces.join("client-data"), deal()).unwrap();
    let _manager =
        bed.mock_manager_with(&["--synthetic", "--pieces", pieces.to_str().unwrap()]).await;
    let config = of_plans(&["unseal", "rebuild", "wdpost"], &found)
        .sealing("enable_deals", "true")
        .sealing("disable_cc", "true");
    let worker = bed.worker(&config);
    let pre_commit =
        sealed_and_proven(&mut bed, &worker, "StackedDrg2KiBV1_1_Feat_SyntheticPoRep").await;
    let states = states_of(&bed, sector(1));
    assert!(states.iter().any(|state| state == State::SyntheticPoRepNeeded.name()), "{states:?}");

    unseal(&mut bed, &found).await;
    rebuild(&mut bed, &worker, &["sealed"]).await;
    window_post(&mut bed, pre_commit.info.comm_r).await;
}

#[tokio::test]
#[ignore = "needs Groth16 parameters: make test-proofs"]
async fn a_sector_is_sealed_with_the_non_interactive_porep() {
    let mut bed = Testbed::start().await;
    bed.wait_up_to(PATIENCE);
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&real_worker().plan("niporep"));
    let submitted = bed.requests.until("", |_: &SubmitProof| true).await;
    takes_no_more(&worker).unwrap();
    bed.requests.until_finalized(sector(1)).await;
    // One aggregate of its 13 proofs, which the worker has verified.
    assert!(!submitted.proof.0.len().is_multiple_of(192), "{} bytes", submitted.proof.0.len());
    assert!(!states_of(&bed, sector(1)).contains(&State::PcSubmitted.to_string()));
    assert_eq!(worker.persisted(), [1].into());
}
