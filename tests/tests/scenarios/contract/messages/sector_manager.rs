//! What workers ask of the sector manager.

use shared_msgs::sector_manager::{
    AchieveUnsealSector, AcquireDeals, AcquireDealsSpec, AcquireUnsealDest, AllocateRebuildSector,
    AllocateSector, AllocateSectorSpec, AllocateSnapupSector, AllocateUnsealSector,
    AllocateWdpostJob, AllocatedRebuildSector, AllocatedSector, AllocatedSnapupSector,
    AllocatedUnsealSector, AssignTicket, Base64Bytes, DealInfo, GetStoreBasicInfo, OnChainState,
    PieceInfo, PollPreCommitState, PollProofState, PollReply, PreCommitOnChainInfo, PrivateReplica,
    PublicReplica, Randomness, ReportAborted, ReportFinalized, ReportState, ReportStateReply,
    ReportedFailure, SealProofType, SealVersion, SectorId, SectorPiece, SectorSize, Seed,
    StateChange, StoreBasicInfo, StoreReserveSpace, SubmitPersisted, SubmitPreCommit, SubmitProof,
    SubmitReply, SubmitResult, SubmitSnapupProof, Ticket, WaitSeed, WaitSeedReply, WdpostAccesses,
    WdpostFinish, WdpostHeartbeat, WdpostInput, WdpostJob, WdpostOutput, WdpostSector, WorkerPlace,
};

use super::{ID, Samples, every};

const SECTOR: SectorId = SectorId { miner: 10000, number: 3 };
pub(super) const PROOF_TYPE: SealProofType =
    SealProofType { version: SealVersion::V1_1, size: SectorSize::S2KiB };
const ALLOCATED: AllocatedSector = AllocatedSector { id: SECTOR, proof_type: PROOF_TYPE };
const TICKET: Ticket = Ticket { ticket: Randomness([1; 32]), epoch: 900 };

fn spec() -> AllocateSectorSpec {
    AllocateSectorSpec {
        allowed_miners: Some(vec![10000]),
        allowed_proof_types: Some(vec![PROOF_TYPE]),
    }
}

fn deals_spec() -> AcquireDealsSpec {
    AcquireDealsSpec { max_deals: Some(3), min_used_space: Some(1024) }
}

fn piece() -> SectorPiece {
    SectorPiece {
        piece: PieceInfo { size: 2048, piece_cid: "baga1".into() },
        deal_info: Some(DealInfo {
            deal_id: 7,
            allocation_id: 8,
            payload_size: 1000,
            is_builtin_market: true,
        }),
        url: Some("http://127.0.0.1/baga1".into()),
    }
}

fn submitted() -> SubmitReply {
    SubmitReply { res: SubmitResult::Accepted, desc: Some("in time".into()) }
}

fn polled() -> PollReply {
    PollReply { state: OnChainState::Landed, desc: Some("epoch 950".into()) }
}

fn proof() -> Base64Bytes {
    Base64Bytes(vec![1, 2, 3])
}

fn store() -> StoreBasicInfo {
    StoreBasicInfo {
        name: "remote".into(),
        path: "/mnt/remote".into(),
        meta: Some([("rack".to_owned(), "1".to_owned())].into()),
    }
}

fn window_post() -> WdpostJob {
    let sector = WdpostSector {
        sector_id: 3,
        comm_r: [2; 32],
        upgrade: true,
        accesses: WdpostAccesses { sealed_file: "/r/sealed".into(), cache_dir: "/r/cache".into() },
    };
    let input = WdpostInput {
        sectors: vec![sector],
        miner_id: 10000,
        proof_type: "StackedDrgWindow2KiBV1_2".into(),
        seed: [1; 32],
    };
    WdpostJob { id: "j1".into(), input }
}

fn submit_results() -> [SubmitResult; 5] {
    every! {
        SubmitResult::Accepted => SubmitResult::Accepted,
        SubmitResult::DuplicateSubmit => SubmitResult::DuplicateSubmit,
        SubmitResult::MismatchedSubmission => SubmitResult::MismatchedSubmission,
        SubmitResult::Rejected => SubmitResult::Rejected,
        SubmitResult::FilesMissed => SubmitResult::FilesMissed,
    }
}

fn on_chain_states() -> [OnChainState; 7] {
    every! {
        OnChainState::Pending => OnChainState::Pending,
        OnChainState::Packed => OnChainState::Packed,
        OnChainState::Landed => OnChainState::Landed,
        OnChainState::NotFound => OnChainState::NotFound,
        OnChainState::Failed => OnChainState::Failed,
        OnChainState::PermFailed => OnChainState::PermFailed,
        OnChainState::ShouldAbort => OnChainState::ShouldAbort,
    }
}

fn seal_a_sector(samples: &mut Samples) {
    samples.method(AllocateSector { request_id: ID, spec: spec() }, Some(ALLOCATED));
    samples.method(
        AcquireDeals { request_id: ID, sector: SECTOR, spec: deals_spec() },
        Some(vec![piece()]),
    );
    samples.method(AssignTicket { sector: SECTOR }, TICKET);
    let info = PreCommitOnChainInfo { comm_r: [2; 32], comm_d: [3; 32], ticket: TICKET };
    samples.method(
        SubmitPreCommit { request_id: ID, sector: ALLOCATED, info, reset: true },
        submitted(),
    );
    samples.method(PollPreCommitState { sector: SECTOR }, polled());
    samples.method(
        SubmitPersisted {
            request_id: ID,
            sector: SECTOR,
            store: "remote".into(),
            is_upgrade: true,
        },
        true,
    );
    let seed = Some(Seed { seed: Randomness([4; 32]), epoch: 1050 });
    samples.method(
        WaitSeed { sector: SECTOR, proof_type: PROOF_TYPE },
        WaitSeedReply { should_wait: true, delay: 30, seed },
    );
    samples.method(
        SubmitProof { request_id: ID, sector: SECTOR, proof: proof(), reset: true },
        submitted(),
    );
    samples.method(PollProofState { sector: SECTOR }, polled());
}

fn report(samples: &mut Samples) {
    samples.method(
        ReportState {
            sector: SECTOR,
            worker: WorkerPlace { instance: "w1".into(), location: "/mnt/nvme1/store".into() },
            state_change: StateChange {
                prev: "C1Done".into(),
                next: "C2Done".into(),
                event: "C2".into(),
            },
            failure: Some(ReportedFailure { level: "critical".into(), desc: "no GPU".into() }),
        },
        ReportStateReply { id: SECTOR, finalized: true, abort_reason: Some("bad disk".into()) },
    );
    samples.method(ReportFinalized { sector: SECTOR }, ());
    samples.method(ReportAborted { sector: SECTOR, reason: "bad disk".into() }, ());
}

fn work_on_a_finished_sector(samples: &mut Samples) {
    let public = PublicReplica { comm_r: [2; 32] };
    let private = PrivateReplica { access_instance: "remote".into() };
    samples.method(
        AllocateSnapupSector { request_id: ID, sector: spec(), deals: deals_spec() },
        Some(AllocatedSnapupSector {
            sector: ALLOCATED,
            pieces: vec![piece()],
            public: public.clone(),
            private: private.clone(),
        }),
    );
    samples.method(
        SubmitSnapupProof {
            request_id: ID,
            sector: SECTOR,
            comm_r: [2; 32],
            comm_d: [3; 32],
            access_instance: "remote".into(),
            pieces: vec!["baga1".into()],
            proof: proof(),
        },
        submitted(),
    );
    samples.method(
        AllocateRebuildSector { request_id: ID, spec: spec() },
        Some(AllocatedRebuildSector {
            sector: ALLOCATED,
            ticket: TICKET,
            pieces: Some(vec![piece()]),
            pieces_v2: Some(vec![piece()]),
            is_snap_up: true,
            upgrade_public: Some(public),
        }),
    );
    samples.method(
        AllocateUnsealSector { request_id: ID, spec: spec() },
        Some(AllocatedUnsealSector {
            sector: ALLOCATED,
            piece_cid: "baga1".into(),
            comm_d: [3; 32],
            ticket: TICKET,
            offset: 127,
            size: 1016,
            private_info: private,
        }),
    );
    let piece_cid = || "baga1".to_owned();
    samples.method(
        AchieveUnsealSector { sector: SECTOR, piece_cid: piece_cid(), error: "disk full".into() },
        (),
    );
    samples.method(
        AcquireUnsealDest { sector: SECTOR, piece_cid: piece_cid() },
        vec!["file:///tmp/piece".into()],
    );
}

fn prove(samples: &mut Samples) {
    samples.method(
        AllocateWdpostJob {
            request_id: ID,
            allowed_miners: Some(vec![10000]),
            allowed_proof_types: Some(vec!["StackedDrgWindow2KiBV1_2".into()]),
            count: 1,
            worker: "w1".into(),
        },
        vec![window_post()],
    );
    samples.method(WdpostHeartbeat { jobs: vec!["j1".into()], worker: "w1".into() }, ());
    samples.method(
        WdpostFinish {
            request_id: ID,
            job: "j1".into(),
            worker: Some("w1".into()),
            output: Some(WdpostOutput { proofs: vec![proof()], faults: vec![3] }),
            error: "aborted".into(),
        },
        (),
    );
}

#[test]
fn what_workers_ask_of_the_sector_manager_is_as_it_was() {
    let mut samples = Samples::default();
    seal_a_sector(&mut samples);
    report(&mut samples);
    work_on_a_finished_sector(&mut samples);
    prove(&mut samples);
    samples.method(
        StoreReserveSpace {
            request_id: ID,
            sector: SECTOR,
            size: 2048,
            candidates: vec!["remote".into()],
        },
        Some(store()),
    );
    samples.method(GetStoreBasicInfo { name: "remote".into() }, Some(store()));
    samples.variants(submit_results());
    samples.variants(on_chain_states());
    samples.have_all_methods_of("sector_manager.rs");
    samples.assert_are("sector_manager.txt");
}
