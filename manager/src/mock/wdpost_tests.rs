use shared_msgs::sector_manager::{
    PreCommitOnChainInfo, Randomness, SealVersion, SectorSize, Ticket,
};

use super::*;
use crate::mock::record::Upgrade;

fn sector(number: u64) -> SectorRecord {
    let mut record = SectorRecord::new(
        SectorId { miner: 10000, number },
        SealVersion::V1_1.of(SectorSize::S2KiB),
    );
    let ticket = Ticket { ticket: Randomness([2; 32]), epoch: 3 };
    record.pre_commit(&PreCommitOnChainInfo {
        comm_r: [number as u8; 32],
        comm_d: [1; 32],
        ticket,
    });
    record.persisted("remote", false);
    record
}

fn finished(number: u64) -> SectorRecord {
    SectorRecord { finalized: true, ..sector(number) }
}

fn request(sectors: &[u64]) -> SimulateWdpost {
    SimulateWdpost { id: Id::NIL, miner: 10000, sectors: sectors.to_vec() }
}

fn numbers(all: &[SectorRecord], sectors: &[u64]) -> Result<(Vec<u64>, u64), ErrorKind> {
    partition(all, &request(sectors)).map(|(proven, left_out)| {
        (proven.iter().map(|record| record.id.number).collect(), left_out)
    })
}

fn job() -> WdpostRecord {
    let input =
        WdpostInput { sectors: vec![], miner_id: 10000, proof_type: "x".into(), seed: [0; 32] };
    WdpostRecord { input, queued_ms: 1_000, left_out: 0, status: Status::Ready }
}

fn finish(output: Option<WdpostOutput>, error: &str) -> WdpostFinish {
    WdpostFinish {
        request_id: Id::generate(),
        job: "j".into(),
        worker: None,
        output,
        error: error.into(),
    }
}

#[test]
fn all_finished_sectors_of_the_miner_are_proven_but_those_without_commitment() {
    let other_miner = SectorRecord { id: SectorId { miner: 10001, number: 5 }, ..finished(5) };
    let unknown = SectorRecord { comm_r: None, ..finished(4) };
    let all = [finished(1), sector(2), finished(3), unknown, other_miner];
    assert_eq!(numbers(&all, &[]), Ok((vec![1, 3], 1)));
    assert_eq!(numbers(&all, &[3, 1, 3]), Ok((vec![1, 3], 0)));
    assert!(matches!(numbers(&all, &[2]), Err(ErrorKind::SectorNotFinished { .. })));
    assert!(matches!(numbers(&all, &[4]), Err(ErrorKind::BadRequest { .. })));
    assert!(matches!(numbers(&all, &[5]), Err(ErrorKind::SectorNotFound { .. })));
}

#[test]
fn an_upgraded_sector_is_proven_by_its_new_replica() {
    let plain = proven_sector(&finished(2)).unwrap();
    assert_eq!(
        (plain.upgrade, plain.accesses.sealed_file.as_str()),
        (false, "store://remote/sealed/s-t010000-2")
    );
    let upgrade =
        Upgrade { comm_r: [7; 32], comm_d: [8; 32], store: "other".into(), pieces: vec![] };
    let upgraded = proven_sector(&SectorRecord { upgrade: Some(upgrade), ..finished(2) }).unwrap();
    assert_eq!((upgraded.upgrade, upgraded.comm_r), (true, [7; 32]));
    assert_eq!(upgraded.accesses.sealed_file, "store://other/update/s-t010000-2");
    assert_eq!(upgraded.accesses.cache_dir, "store://other/update-cache/s-t010000-2");
}

#[test]
fn a_seed_is_a_field_element_of_its_own_job() {
    for _ in 0..100 {
        let (one, other) = (Id::generate(), Id::generate());
        assert!(seed(one)[31] < 0x40 && seed(one) == seed(one) && seed(one) != seed(other));
    }
}

#[test]
fn a_job_ends_once_and_only_while_somebody_has_it() {
    let mut record = job();
    let done = finish(Some(WdpostOutput { proofs: vec![], faults: vec![3] }), "");
    assert!(record.finish("w1", "j", &done, 0).is_err());
    record.hand_out(Id::NIL, "w1", 2_000);
    assert!(record.is_held_by(Id::NIL) && record.heard("w1") && !record.heard("w2"));
    record.finish("w1", "j", &done, 3_500).unwrap();
    record.finish("w1", "j", &done, 9_000).unwrap();
    assert!(record.finish("w1", "j", &finish(None, "late"), 9_000).is_err() && !record.heard("w1"));
    let view = record.view("j", 10_000);
    assert_eq!(
        (view.status, view.worker.as_deref(), view.age_ms, view.elapsed_ms),
        (JobStatus::Finished, Some("w1"), 9_000, Some(1_500))
    );
    record.reset();
    assert_eq!(record, job());
}

#[test]
fn nothing_and_an_error_are_failures() {
    for (error, shown) in [("", "it yielded nothing"), ("no parameters", "no parameters")] {
        let mut record = job();
        record.hand_out(Id::NIL, "w1", 2_000);
        record.finish("w1", "j", &finish(None, error), 2_000).unwrap();
        let view = record.view("j", 0);
        assert_eq!(
            (view.status, view.error.as_deref(), view.age_ms),
            (JobStatus::Failed, Some(shown), 0)
        );
    }
}
