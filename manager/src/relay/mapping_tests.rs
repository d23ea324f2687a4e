//! A test for each place in which a worker's request is not simply a call of the sector manager.

use serde_json::{Value, json};

use super::*;

const SECTOR: SectorId = SectorId { miner: 10000, number: 7 };

fn at() -> Address {
    "/ip4/10.0.0.1/tcp/1789".parse().unwrap()
}

// What the worker is given for what the sector manager answers.
fn given<Q: Mapped>(request: &Q, result: Value) -> Result<Q::Reply, ErrorKind> {
    request.reply(serde_json::from_value(result).unwrap(), &at())
}

fn params<Q: Mapped>(request: &Q) -> Value {
    serde_json::to_value(request.params("w1")).unwrap()
}

fn piece(deal_id: u64, allocation_id: u64, is_builtin: bool) -> Value {
    json!({
        "Piece": {"Size": 1024, "PieceCID": {"/": "baga1"}},
        "DealInfo": {
            "DealID": deal_id, "AllocationID": allocation_id, "PayloadSize": 900,
            "IsBuiltinMarket": is_builtin, "PieceCID": {"/": "baga1"}, "Client": "f01001",
        },
    })
}

fn report(level: &str) -> ReportState {
    ReportState {
        sector: SECTOR,
        worker: WorkerPlace { instance: "w1".into(), location: "/mnt/nvme1".into() },
        state_change: StateChange {
            prev: "PC1Done".into(),
            next: "PC1Done".into(),
            event: "PC2".into(),
        },
        failure: Some(ReportedFailure { level: level.into(), desc: "x".into() }),
    }
}

#[test]
fn an_ended_sector_is_one_that_is_finalized_and_an_empty_reason_is_none() {
    let said = |finalized: bool, reason: Value| {
        let result = json!({"Id": {"Miner": 10000, "Number": 7}, "Finalized": finalized, "AbortReason": reason});
        let reply = given(&report("temporary"), result).unwrap();
        (reply.finalized, reply.abort_reason)
    };
    assert_eq!(said(false, json!("")), (false, None));
    assert_eq!(said(false, json!("left over from before it was restored")), (false, None));
    assert_eq!(said(true, json!("")), (true, None));
    assert_eq!(said(true, Value::Null), (true, None));
    assert_eq!(said(true, json!("bad disk")), (true, Some("bad disk".into())));
    // Before v0.9 there is no answer.
    assert!(!given(&report("temporary"), Value::Null).unwrap().finalized);
}

#[test]
fn filler_keeps_its_deal_and_only_data_has_an_address() {
    let request = AcquireDeals {
        request_id: Id::NIL,
        sector: SECTOR,
        spec: AcquireDealsSpec { max_deals: Some(3), min_used_space: Some(8 << 30) },
    };
    let expected =
        json!([{"Miner": 10000, "Number": 7}, {"MaxDeals": 3, "MinUsedSpace": 8589934592u64}]);
    assert_eq!(params(&request), expected);
    let all = [piece(0, 42, false), piece(0, 0, false), piece(9, 0, true), piece(0, 42, true)];
    let pieces = given(&request, json!(all)).unwrap().unwrap();
    let data: Vec<_> = pieces.iter().map(|piece| (piece.has_data(), piece.url.is_some())).collect();
    assert_eq!(data, [(true, true), (false, false), (true, true), (false, false)]);
    assert!(pieces.iter().all(|piece| piece.deal_info.is_some()));
    assert_eq!(pieces[0].url.as_deref(), Some("http://10.0.0.1:1789/piecestore/baga1"));
    for nothing in [Value::Null, json!([])] {
        let reply = given(&request, nothing).unwrap();
        assert!(reply.is_none() && AcquireDeals::is_nothing(&reply));
    }
}

#[test]
fn every_piece_that_was_handed_out_goes_back_in_order() {
    let request = SubmitSnapupProof {
        request_id: Id::NIL,
        sector: SECTOR,
        comm_r: [1; 32],
        comm_d: [2; 32],
        access_instance: "store1".into(),
        pieces: vec!["baga2".into(), "baga1".into()],
        proof: Base64Bytes(vec![1, 2, 3]),
    };
    let sent = params(&request);
    assert_eq!(sent[1]["Pieces"], json!([{"/": "baga2"}, {"/": "baga1"}]));
    assert_eq!(sent[1]["Proof"], json!("AQID"));
    let again = request.refused(1, "x: duplicate commit job for s-t010000-7").unwrap();
    assert_eq!(again.res, SubmitResult::DuplicateSubmit);
    assert!(matches!(request.refused(1, "no space left"), Err(ErrorKind::Internal { .. })));
}

#[test]
fn accesses_of_a_window_post_job_are_names_of_stores() {
    let request = AllocateWdpostJob {
        request_id: Id::NIL,
        allowed_miners: None,
        allowed_proof_types: Some(vec!["StackedDrgWindow2KiBV1_2".into()]),
        count: 1,
        worker: "w1".into(),
    };
    let expected = json!([{"AllowedMiners": null, "AllowedProofTypes": ["StackedDrgWindow2KiBV1_2"]}, 1, "w1"]);
    assert_eq!(params(&request), expected);
    let sector = |number: u64, upgrade: bool| json!({"SectorId": number, "CommR": vec![1; 32], "Upgrade": upgrade, "Accesses": {"SealedFile": "/mnt/s 1", "CacheDir": "store2"}});
    let input = json!({"Sectors": [sector(7, false), sector(8, true)], "MinerId": 10000, "ProofType": "x", "Seed": vec![1; 32]});
    let jobs = given(&request, json!([{"Id": "3FgfEnvrub1", "Input": input}])).unwrap();
    let accesses: Vec<_> = jobs[0].input.sectors.iter().map(|sector| &sector.accesses).collect();
    let expected = [
        ("store:///mnt/s 1/sealed/s-t010000-7", "store://store2/cache/s-t010000-7"),
        ("store:///mnt/s 1/update/s-t010000-8", "store://store2/update-cache/s-t010000-8"),
    ];
    let accesses: Vec<_> =
        accesses.iter().map(|at| (at.sealed_file.as_str(), at.cache_dir.as_str())).collect();
    assert_eq!(accesses, expected);
    assert!(given(&request, Value::Null).unwrap().is_empty());
}

#[test]
fn faults_are_a_success_without_a_text_and_what_failed_has_one() {
    let finish = |output: Option<WdpostOutput>, error: &str| WdpostFinish {
        request_id: Id::NIL,
        job: "3FgfEnvrub1".into(),
        worker: Some("w1".into()),
        output,
        error: error.into(),
    };
    let output = WdpostOutput { proofs: vec![Base64Bytes(vec![1, 2, 3])], faults: vec![7] };
    let expected = json!(["3FgfEnvrub1", {"proofs": ["AQID"], "faults": [7]}, ""]);
    assert_eq!(params(&finish(Some(output), "sectors whose files are missing: [7]")), expected);
    let failed = json!(["3FgfEnvrub1", null, "no parameters"]);
    assert_eq!(params(&finish(None, "no parameters")), failed);
    let gone = finish(None, "x").refused(1, "key not found").unwrap_err();
    assert!(matches!(gone, ErrorKind::JobNotFound { job } if job == "3FgfEnvrub1"));
}

#[test]
fn destinations_are_rewritten_and_a_token_stays_off_the_bus() {
    let request = AcquireUnsealDest { sector: SECTOR, piece_cid: "baga1".into() };
    let to = |destination: &str| given(&request, json!([destination])).map(|all| all[0].clone());
    assert_eq!(to("store:///baga1").unwrap(), "http://10.0.0.1:1789/piecestore/baga1");
    for same in ["http://h/x", "https://h/x", "file:///srv/x", "store://store1/x"] {
        assert_eq!(to(same).unwrap(), same);
    }
    let refused = to("market://store1/baga1?host=h:1&token=secret").unwrap_err().to_string();
    assert!(refused.contains("market://") && !refused.contains("secret"), "{refused}");
    assert!(to("baga1").is_err());
    assert!(given(&request, Value::Null).unwrap().is_empty());
}

#[test]
fn what_is_not_open_any_more_is_done_where_its_end_was_told() {
    const GONE: &str = "error code 11001: sector state not found";
    assert_eq!(ReportFinalized { sector: SECTOR }.refused(11_001, GONE), Ok(()));
    let aborted = ReportAborted { sector: SECTOR, reason: "bad disk".into() };
    assert_eq!(params(&aborted), json!([{"Miner": 10000, "Number": 7}, "bad disk"]));
    assert_eq!(aborted.refused(11_001, GONE), Ok(()));
    assert!(aborted.refused(1, "disk").is_err());
    let polled = PollProofState { sector: SECTOR }.refused(11_001, GONE).unwrap_err();
    assert!(matches!(polled, ErrorKind::SectorNotFound { sector } if sector == "s-t010000-7"));
    let other = PollProofState { sector: SECTOR }.refused(1, "chain down").unwrap_err();
    assert!(matches!(other, ErrorKind::Internal { .. }), "tried again, as damocles's worker does");
    let unsealed =
        AchieveUnsealSector { sector: SECTOR, piece_cid: "x".into(), error: String::new() };
    assert_eq!(unsealed.refused(1, "achieve unseal info(x): task not found"), Ok(()));
}

#[test]
fn a_refused_allocation_is_nothing_to_do() {
    const DOWN: &str = "dial tcp 192.0.2.1:3453: connect: connection refused";
    let (request_id, spec) = (Id::NIL, AllocateSectorSpec::default());
    assert_eq!(AllocateSector { request_id, spec: spec.clone() }.refused(1, DOWN), Ok(None));
    assert_eq!(AllocateRebuildSector { request_id, spec: spec.clone() }.refused(1, DOWN), Ok(None));
    assert_eq!(AllocateUnsealSector { request_id, spec: spec.clone() }.refused(1, DOWN), Ok(None));
    let snapup =
        AllocateSnapupSector { request_id, sector: spec, deals: AcquireDealsSpec::default() };
    assert_eq!(snapup.refused(1, DOWN), Ok(None));
    let wdpost = AllocateWdpostJob {
        request_id,
        allowed_miners: None,
        allowed_proof_types: None,
        count: 1,
        worker: "w1".into(),
    };
    assert_eq!(wdpost.refused(-32_601, "method not found"), Ok(vec![]));
}

#[test]
fn levels_of_failures_are_capitalised() {
    for (ours, theirs) in [
        ("temporary", "Temporary"),
        ("permanent", "Permanent"),
        ("abort", "Abort"),
        ("critical", "Critical"),
    ] {
        let sent = params(&report(ours));
        let expected = json!({
            "Worker": {"Instance": "w1", "Location": "/mnt/nvme1"},
            "StateChange": {"Prev": "PC1Done", "Next": "PC1Done", "Event": "PC2"},
            "Failure": {"Level": theirs, "Desc": "x"},
        });
        assert_eq!(sent, json!([{"Miner": 10000, "Number": 7}, expected]));
    }
}

#[test]
fn a_rebuild_takes_the_old_pieces_if_there_are_any_and_is_an_upgrade_if_the_chain_knows_one() {
    let request = AllocateRebuildSector { request_id: Id::NIL, spec: Default::default() };
    let ticket = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let job = |old: Value, new: Value, public: Value| {
        let result = json!({
            "Sector": {"ID": {"Miner": 10000, "Number": 7}, "ProofType": 5},
            "Ticket": {"Ticket": ticket, "Epoch": 120}, "Pieces": old, "PiecesV2": new,
            "IsSnapUp": true, "UpgradePublic": public,
        });
        given(&request, result).unwrap().unwrap()
    };
    let old = |id: u64| json!({"ID": id, "PayloadSize": 900, "Piece": {"Size": 1024, "Offset": 0, "Cid": {"/": "baga9"}}, "Proposal": {}});
    let pieces = job(json!([old(5), old(0)]), json!([piece(0, 42, false)]), Value::Null);
    let cids: Vec<_> = pieces
        .pieces
        .iter()
        .flatten()
        .map(|piece| (piece.has_data(), piece.piece.piece_cid.as_str()))
        .collect();
    assert_eq!((cids, pieces.is_snap_up), (vec![(true, "baga9"), (false, "baga9")], false));
    for none in [Value::Null, json!([])] {
        let taken = job(none, json!([piece(0, 42, false)]), json!({"CommR": vec![3; 32]}));
        assert_eq!(taken.pieces.unwrap()[0].piece.piece_cid, "baga1");
        assert!(taken.is_snap_up && taken.upgrade_public.unwrap().comm_r == [3; 32]);
    }
}

#[test]
fn numbers_are_results_and_states_and_what_is_not_known_is_no_success() {
    let submit = SubmitProof {
        request_id: Id::NIL,
        sector: SECTOR,
        proof: Base64Bytes(vec![1]),
        reset: true,
    };
    let results = [
        SubmitResult::Accepted,
        SubmitResult::DuplicateSubmit,
        SubmitResult::MismatchedSubmission,
        SubmitResult::Rejected,
        SubmitResult::FilesMissed,
    ];
    for (number, expected) in (1..).zip(results) {
        assert_eq!(given(&submit, json!({"Res": number, "Desc": ""})).unwrap().res, expected);
    }
    for unknown in [0, 6] {
        let refused = given(&submit, json!({"Res": unknown, "Desc": null})).unwrap_err();
        assert!(matches!(refused, ErrorKind::Internal { .. }), "tried again");
    }
    let states = [
        OnChainState::Pending,
        OnChainState::Pending,
        OnChainState::Packed,
        OnChainState::Landed,
        OnChainState::NotFound,
        OnChainState::Failed,
        OnChainState::PermFailed,
        OnChainState::ShouldAbort,
        OnChainState::Pending,
    ];
    let poll = PollPreCommitState { sector: SECTOR };
    for (number, expected) in (0..).zip(states) {
        assert_eq!(given(&poll, json!({"State": number, "Desc": null})).unwrap().state, expected);
    }
    let allocated = json!({"ID": {"Miner": 10000, "Number": 7}, "ProofType": 99});
    let request = AllocateSector { request_id: Id::NIL, spec: Default::default() };
    assert!(given(&request, allocated).is_err());
}

#[test]
fn a_message_that_was_sent_anew_is_not_sent_again_in_doubt() {
    let submit = SubmitProof {
        request_id: Id::NIL,
        sector: SECTOR,
        proof: Base64Bytes(vec![1]),
        reset: true,
    };
    assert_eq!((submit.repeat(), params(&submit)[2].clone()), (Repeat::Never, json!(true)));
    let again = submit.asked_in_doubt();
    assert_eq!((again.repeat(), params(&again)[2].clone()), (Repeat::Freely, json!(false)));
}
