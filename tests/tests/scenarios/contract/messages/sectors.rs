//! What operators ask of the mock sector manager.

use shared_msgs::{
    sector_manager::{Base64Bytes, SectorId, WdpostOutput},
    sectors::{
        AbortSector, DealView, FinalizeSector, JobStatus, JobView, ListSectors, ListWdpostJobs,
        RebuildSector, RemoveWdpostJobs, ResetWdpostJobs, RestoreSector, SectorPage, SectorView,
        SimulateWdpost, UnsealPiece, UnsealQueued, WdpostJobView, WdpostPage, WdpostQueued,
    },
};

use super::{ID, Samples, every, sector_manager::PROOF_TYPE};

const SECTOR: SectorId = SectorId { miner: 10000, number: 3 };

pub(crate) fn sector() -> SectorView {
    let deal = DealView { deal_id: 7, piece_cid: "baga1".into(), size: 2048, payload_size: 1000 };
    let job = JobView {
        plan: "unseal".into(),
        status: JobStatus::Failed,
        state: Some("Allocated".into()),
        worker: Some("w1".into()),
        piece_cid: Some("baga1".into()),
        error: Some("disk full".into()),
    };
    SectorView {
        id: SECTOR.to_string(),
        proof_type: PROOF_TYPE,
        plan: "sealer".into(),
        state: "Finished".into(),
        deals: vec![deal],
        store: Some("remote".into()),
        comm_r: Some("bagb1".into()),
        comm_d: Some("baga2".into()),
        upgraded: true,
        finalized: true,
        abort_reason: Some("bad disk".into()),
        abort_requested: true,
        jobs: vec![job],
    }
}

pub(crate) fn window_post() -> WdpostJobView {
    WdpostJobView {
        id: "j1".into(),
        miner: 10000,
        proof_type: "StackedDrgWindow2KiBV1_2".into(),
        seed: [1; 32],
        sectors: 2,
        status: JobStatus::Finished,
        worker: Some("w1".into()),
        age_ms: 9000,
        elapsed_ms: Some(4000),
        output: Some(WdpostOutput { proofs: vec![Base64Bytes(vec![1, 2, 3])], faults: vec![3] }),
        error: Some("aborted".into()),
    }
}

fn job_statuses() -> [JobStatus; 5] {
    every! {
        JobStatus::Ready => JobStatus::Ready,
        JobStatus::Running => JobStatus::Running,
        JobStatus::Finished => JobStatus::Finished,
        JobStatus::Failed => JobStatus::Failed,
        JobStatus::Other => JobStatus::Other,
    }
}

#[test]
fn what_operators_ask_of_sectors_is_as_it_was() {
    let mut samples = Samples::default();
    samples.method(
        ListSectors { after: Some(SECTOR), limit: Some(100) },
        SectorPage { sectors: vec![sector()], next: Some(SECTOR) },
    );
    samples.method(RebuildSector { sector: SECTOR }, ());
    samples.method(
        UnsealPiece {
            sector: SECTOR,
            piece_cid: Some("baga1".into()),
            dest: Some("file:///tmp/piece".into()),
        },
        UnsealQueued { piece_cid: "baga1".into() },
    );
    samples
        .method(AbortSector { sector: SECTOR, reason: "bad disk".into(), unexplained: true }, ());
    samples.method(RestoreSector { sector: SECTOR }, ());
    samples.method(FinalizeSector { sector: SECTOR }, ());
    samples.method(
        SimulateWdpost { id: ID, miner: 10000, sectors: vec![1, 2] },
        WdpostQueued { job: "j1".into(), sectors: 2, left_out: 1 },
    );
    samples.method(
        ListWdpostJobs { after: Some("j0".into()), limit: Some(100) },
        WdpostPage { jobs: vec![window_post()], next: Some("j1".into()) },
    );
    samples.method(ResetWdpostJobs { jobs: Some(vec!["j1".into()]) }, vec!["j1".into()]);
    samples.method(RemoveWdpostJobs { jobs: Some(vec!["j1".into()]) }, vec!["j1".into()]);
    samples.variants(job_statuses());
    samples.have_all_methods_of("sectors.rs");
    samples.assert_are("sectors.txt");
}
