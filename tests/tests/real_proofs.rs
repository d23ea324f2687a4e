//! A sector of each kind goes all the way, every proof of it real: the worker verifies each before it hands it in, and
//! the tests verify it again from what the bus has heard. A few minutes each, once there are parameters.

use damocles_worker::processor::{
    builtin,
    task::{Pc2Output, Replica, prover_id},
};
use e2e::{
    parameters::{self, PATIENCE},
    testbed::{Testbed, sector},
    worker::WorkerConfig,
};
use shared_msgs::{
    plan::State,
    sealer::{AllocatedSector, ReportState, SectorId, SubmitPreCommit, SubmitProof, WaitSeed},
};

fn real_worker() -> WorkerConfig {
    WorkerConfig::new("w1").parameters(parameters::all())
}

// What verifying needs of a sealed sector; its files are not looked at.
fn sealed(pre_commit: &SubmitPreCommit) -> Replica {
    let (sector, info) = (&pre_commit.sector, &pre_commit.info);
    Replica {
        cache_path: "/nowhere".into(),
        replica_path: "/nowhere".into(),
        prover_id: prover_id(sector.id.miner),
        sector_id: sector.id.number,
        ticket: info.ticket.ticket.0,
        pre_commit: Pc2Output { registered_proof: sector.proof_type.name().unwrap_or_default(), comm_r: info.comm_r, comm_d: info.comm_d },
        piece_infos: vec![],
    }
}

// The states that a sector went through, as they were reported.
fn states_of(bed: &Testbed, sector: SectorId) -> Vec<String> {
    let reports = bed.requests.seen::<ReportState>().into_iter().filter(|report| report.sector == sector);
    reports.map(|report| report.state_change.next).collect()
}

// Waits for a sealed sector to be finished, and verifies its proof.
async fn sealed_and_proven(bed: &mut Testbed, proof_type: &str) {
    let pre_commit = bed.requests.until("", |_: &SubmitPreCommit| true).await;
    assert_eq!(pre_commit.sector.proof_type.name().as_deref(), Some(proof_type));
    let submitted = bed.requests.until("", |_: &SubmitProof| true).await;
    bed.requests.until_finalized(sector(1)).await;

    // The sector manager says the same again.
    let AllocatedSector { id, proof_type } = pre_commit.sector;
    let seed = bed.bus.ask_sealer(&WaitSeed { sector: id, proof_type }).await.seed.map(|seed| seed.seed.0).unwrap_or_default();
    let replica = sealed(&pre_commit);
    assert!(builtin::verify(&replica, seed, &submitted.proof.0).is_ok_and(|valid| valid));
    let other_seed = [7; 32];
    assert!(!builtin::verify(&replica, other_seed, &submitted.proof.0).is_ok_and(|valid| valid));
}

#[tokio::test]
#[ignore = "needs Groth16 parameters: make test-proofs"]
async fn a_sector_is_sealed_and_proven() {
    let mut bed = Testbed::start().await;
    bed.wait_up_to(PATIENCE);
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&real_worker());
    sealed_and_proven(&mut bed, "StackedDrg2KiBV1_1").await;
    assert_eq!(worker.persisted(), [1].into());
}

#[tokio::test]
#[ignore = "needs Groth16 parameters: make test-proofs"]
async fn a_sector_is_sealed_with_synthetic_proofs_and_proven() {
    let mut bed = Testbed::start().await;
    bed.wait_up_to(PATIENCE);
    let _manager = bed.mock_manager_with(&["--synthetic"]).await;
    let _worker = bed.worker(&real_worker());
    sealed_and_proven(&mut bed, "StackedDrg2KiBV1_1_Feat_SyntheticPoRep").await;
    let states = states_of(&bed, sector(1));
    assert!(states.iter().any(|state| state == State::SyntheticPoRepNeeded.name()), "{states:?}");
}
