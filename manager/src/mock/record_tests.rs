use shared_msgs::{
    codec::{Encoding, decode},
    sector_manager::{DealInfo, PieceInfo, Randomness, SectorSize, StateChange, WorkerPlace},
};

use super::*;

fn id() -> Id {
    Id::generate()
}

fn new() -> SectorRecord {
    SectorRecord::new(SectorId { miner: 10000, number: 2 }, SealVersion::V1_1.of(SectorSize::S2KiB))
}

fn info(comm_r: u8) -> PreCommitOnChainInfo {
    PreCommitOnChainInfo {
        comm_r: [comm_r; 32],
        comm_d: [1; 32],
        ticket: Ticket { ticket: Randomness([2; 32]), epoch: 3 },
    }
}

fn finished() -> SectorRecord {
    let mut record = new();
    record.pre_commit(&info(9));
    record.persisted("remote", false);
    record.finish();
    record
}

fn deal(cid: &str, size: u64) -> SectorPiece {
    let piece = PieceInfo { size, piece_cid: cid.into() };
    SectorPiece {
        piece,
        deal_info: Some(DealInfo { payload_size: size / 2, ..DealInfo::default() }),
        url: None,
    }
}

fn filler(size: u64) -> SectorPiece {
    SectorPiece { deal_info: None, ..deal("filler", size) }
}

fn report(worker: &str, prev: &str, next: &str, event: &str) -> ReportState {
    ReportState {
        sector: SectorId { miner: 10000, number: 2 },
        worker: WorkerPlace { instance: worker.into(), location: "/store".into() },
        state_change: StateChange { prev: prev.into(), next: next.into(), event: event.into() },
        failure: None,
    }
}

fn heartbeat(worker: &str) -> ReportState {
    report(worker, "PC1Done", "PC1Done", HEARTBEAT)
}

fn begins(worker: &str) -> ReportState {
    report(worker, "Empty", "Allocated", "AllocatedRebuildSector")
}

fn upgrade(comm_r: u8) -> Upgrade {
    Upgrade { comm_r: [comm_r; 32], comm_d: [4; 32], store: "other".into(), pieces: vec![] }
}

fn because(reason: &str) -> AbortSector {
    AbortSector {
        sector: SectorId { miner: 10000, number: 2 },
        reason: reason.into(),
        unexplained: false,
    }
}

fn unseal(piece_cid: &str) -> Work {
    Work::Unseal { piece_cid: piece_cid.into(), dest: None }
}

#[test]
fn a_record_survives_being_kept() {
    let mut record = finished();
    record.queue(Work::Snapup { pieces: vec![deal("a", 128)] }).unwrap();
    record.hand_out(Plan::Snapup, id(), false).unwrap();
    record.reported(&begins("w1"));
    record.queue(unseal("a")).unwrap_err();
    let kept = Encoding::Json.encode(&record).unwrap();
    assert_eq!(decode::<SectorRecord>(&kept).unwrap(), record);
}

#[test]
fn what_is_handed_in_is_kept_and_stays_when_the_sector_is_finished() {
    let mut record = finished();
    assert_eq!(
        (record.comm_r, record.store.as_deref(), record.shown_state()),
        (Some([9; 32]), Some("remote"), "Finished")
    );
    assert_eq!(record.pre_commit(&info(9)).res, SubmitResult::Accepted);
    assert_eq!(record.pre_commit(&info(8)).res, SubmitResult::MismatchedSubmission);
    record.persisted("elsewhere", false);
    record.reported(&report("w1", "PC1Done", "PC2Done", "PC2"));
    record.finish();
    assert_eq!(record, finished());
}

#[test]
fn a_sector_is_rebuilt_by_whoever_has_the_job_and_a_rebuild_that_is_given_up_changes_nothing() {
    let mut record = finished();
    record.queue(Work::Rebuild).unwrap();
    assert!(matches!(record.queue(Work::Rebuild), Err(ErrorKind::SectorBusy { .. })));
    let request = id();
    assert!(record.hand_out(Plan::Unseal, request, true).is_none());
    assert!(record.hand_out(Plan::Rebuild, request, false).unwrap().is_held_by(request));
    assert!(record.hand_out(Plan::Rebuild, id(), false).is_none(), "its worker is not silent");
    record.pre_commit(&info(7));
    assert!(!record.give_up("disk full"));
    assert_eq!(record.running(), None);
    let failed = std::mem::take(&mut record.jobs).remove(0);
    assert_eq!(failed.status, Status::Failed { error: "disk full".into() });
    assert_eq!(record, finished());

    record.queue(Work::Rebuild).unwrap();
    record.hand_out(Plan::Rebuild, id(), false).unwrap();
    record.persisted("new", false);
    assert_eq!((record.running(), record.store.as_deref()), (None, Some("new")));
}

#[test]
fn whoever_lost_a_job_is_told_and_what_it_says_then_does_not_end_the_job() {
    let mut record = finished();
    record.queue(Work::Rebuild).unwrap();
    record.hand_out(Plan::Rebuild, id(), false);
    assert_eq!(record.reported(&begins("first")), None);
    record.hand_out(Plan::Rebuild, id(), true).unwrap();
    let reason = record.reported(&heartbeat("first")).unwrap();
    assert_eq!(record.reported(&begins("second")), None);
    assert_eq!(record.reported(&heartbeat("first")), Some(reason.clone()));
    assert_eq!(
        record.reported(&heartbeat("third")),
        Some(reason.clone()),
        "nobody else sends heartbeats for it"
    );
    assert_eq!(
        record.reported(&report("sealer", "C2Done", "ProofSubmitted", "SubmitProof")),
        None,
        "a late report"
    );
    record.give_up(&format!("ended by the sector manager: {reason}"));
    assert_eq!(record.running().unwrap().place.as_ref().unwrap().instance, "second");

    // It may get it back.
    record.hand_out(Plan::Rebuild, id(), true).unwrap();
    assert_eq!(record.reported(&begins("first")), None);
    assert_eq!(record.reported(&heartbeat("first")), None);
    assert_eq!(record.reported(&heartbeat("second")), Some(reason.clone()));
    record.persisted("new", false);
    assert_eq!(record.reported(&heartbeat("first")), None, "it did it");
    assert_eq!(record.reported(&heartbeat("second")), Some(reason.clone()));
    assert_eq!(finished().reported(&heartbeat("first")), Some(reason), "there is no job");
}

#[test]
fn an_upgrade_is_taken_once_and_from_whoever_has_the_job() {
    let mut record = finished();
    assert_eq!(record.upgraded(upgrade(5), &[]).res, SubmitResult::Rejected);
    let pieces = vec![deal("a", 1024), filler(1024)];
    assert!(record.can_be_upgraded());
    record.queue(Work::Snapup { pieces: pieces.clone() }).unwrap();
    assert!(!record.can_be_upgraded());
    record.hand_out(Plan::Snapup, id(), false).unwrap();
    assert!(record.hand_out(Plan::Snapup, id(), true).is_none(), "an upgrade sends no heartbeats");
    assert_eq!(record.held_deals().count(), 1);
    assert_eq!(record.upgraded(upgrade(5), &["b".into()]).res, SubmitResult::MismatchedSubmission);
    assert_eq!(record.upgraded(upgrade(5), &["a".into()]).res, SubmitResult::Accepted);
    assert_eq!(record.upgraded(upgrade(5), &["a".into()]).res, SubmitResult::DuplicateSubmit);
    assert_eq!(record.upgraded(upgrade(6), &["a".into()]).res, SubmitResult::MismatchedSubmission);
    assert!(!record.give_up("too late") && !record.can_be_upgraded());
    assert_eq!(
        (record.comm_r, record.newest_comm_r(), record.newest_store()),
        (Some([9; 32]), Some([5; 32]), Some("other"))
    );
    assert_eq!((record.data_pieces(), record.held_deals().count()), (&pieces[..], 1));

    // A rebuild seals both replicas again.
    record.queue(Work::Rebuild).unwrap();
    record.hand_out(Plan::Rebuild, id(), false).unwrap();
    record.persisted("new", true);
    assert_eq!((record.store.as_deref(), record.newest_store()), (Some("new"), Some("new")));
}

#[test]
fn an_upgrade_that_is_given_up_frees_its_deals() {
    let mut record = finished();
    let request = id();
    for end in 0..2 {
        record.queue(Work::Snapup { pieces: vec![deal("a", 2048)] }).unwrap();
        record.hand_out(Plan::Snapup, request, false).unwrap();
        match end {
            0 => assert!(record.give_up("no parameters")),
            _ => record.take_back(request),
        }
        assert!(record.can_be_upgraded() && record.held_deals().next().is_none());
    }
}

#[test]
fn only_sealed_sectors_without_deals_can_be_upgraded() {
    let mut with_deals = new();
    with_deals.keep_pieces(&[deal("a", 2048)]);
    with_deals.pre_commit(&info(9));
    with_deals.persisted("remote", false);
    with_deals.finish();
    let mut without_commitment = new();
    without_commitment.persisted("remote", false);
    without_commitment.finish();
    let non_interactive = SectorRecord {
        proof_type: SealVersion::NonInteractive.of(SectorSize::S2KiB),
        ..finished()
    };
    for record in [new(), with_deals, without_commitment, non_interactive] {
        assert!(!record.can_be_upgraded(), "{record:?}");
    }
}

#[test]
fn pieces_are_unsealed_one_after_the_other() {
    let mut record = new();
    record.keep_pieces(&[deal("a", 512), deal("b", 512), filler(1024)]);
    assert_eq!(record.keep_pieces(&[deal("c", 2048)]).len(), 3, "they stay");
    let refused = record.queue(unseal("a"));
    assert!(matches!(refused, Err(ErrorKind::SectorNotFinished { .. })));
    record.finish();
    assert!(
        matches!(record.piece_to_unseal(None), Err(ErrorKind::PieceNotFound { deals, .. }) if deals == ["a", "b"])
    );
    assert!(record.piece_to_unseal(Some("filler")).is_err());
    assert_eq!(record.piece_to_unseal(Some("b")).unwrap().piece.piece_cid, "b");
    assert_eq!(
        (record.offset_of("a"), record.offset_of("b"), record.offset_of("filler")),
        (Some(0), Some(512), None)
    );

    record.queue(unseal("a")).unwrap();
    record.queue(unseal("b")).unwrap();
    assert!(record.queue(unseal("a")).is_err() && record.queue(Work::Rebuild).is_err());
    assert!(record.hand_out(Plan::Unseal, id(), false).unwrap().work.is_unseal_of("a"));
    assert!(record.hand_out(Plan::Unseal, id(), false).is_none());
    record.unsealed("b", "");
    assert!(record.running().unwrap().work.is_unseal_of("a"), "nobody has the other one yet");
    record.unsealed("a", "no such store");
    assert_eq!(record.jobs[0].status, Status::Failed { error: "no such store".into() });
    assert!(record.hand_out(Plan::Unseal, id(), false).unwrap().work.is_unseal_of("b"));
    record.unsealed("b", "");
    record.unsealed("b", "late");
    assert_eq!(record.jobs[1].status, Status::Finished);
    record.queue(unseal("a")).unwrap();
    assert_eq!(record.jobs.len(), 2, "a new one takes the place of the one that failed");
}

#[test]
fn an_abort_is_told_with_the_next_report() {
    let mut record = new();
    record.keep_pieces(&[deal("a", 2048)]);
    record.abort(&because("bad disk")).unwrap();
    assert_eq!(record.shown_state(), "Allocated");
    assert_eq!(
        record.reported(&report("w1", "Allocated", "DealsAcquired", "AcquireDeals")).as_deref(),
        Some("bad disk")
    );
    assert!(record.give_up("bad disk") && record.held_deals().next().is_none());
    record.finish();
    assert_eq!((record.shown_state(), record.finalized), ("Aborted", false));
    assert!(matches!(record.abort(&because("again")), Err(ErrorKind::SectorEnded { .. })));
    assert!(matches!(finished().abort(&because("x")), Err(ErrorKind::SectorEnded { .. })));
}

#[test]
fn what_was_or_is_to_be_given_up_is_taken_back() {
    let mut record = new();
    assert!(record.restore().unwrap_err().to_string().contains("was not given up"));
    record.abort(&because("bad disk")).unwrap();
    record.restore().unwrap();
    assert_eq!(record.to_be_given_up(), None);
    record.give_up("bad disk");
    record.restore().unwrap();
    assert_eq!(record.shown_state(), "Allocated");
}

#[test]
fn an_operator_finishes_a_sector_once_and_none_that_was_given_up() {
    let mut record = new();
    record.abort(&because("bad disk")).unwrap();
    record.finalize().unwrap();
    assert_eq!((record.shown_state(), record.to_be_given_up()), ("Finished", None));
    assert!(matches!(record.finalize(), Err(ErrorKind::SectorEnded { .. })));
    let mut record = new();
    record.give_up("bad disk");
    assert!(matches!(record.finalize(), Err(ErrorKind::SectorEnded { .. })));
}

#[test]
fn a_repeated_abort_without_a_reason_keeps_the_first_one() {
    let mut sealing = new();
    let mut rebuilt = finished();
    rebuilt.queue(Work::Rebuild).unwrap();
    rebuilt.hand_out(Plan::Rebuild, id(), false).unwrap();
    for record in [&mut sealing, &mut rebuilt] {
        let unexplained = |reason: &str| AbortSector { unexplained: true, ..because(reason) };
        assert_eq!(record.to_be_given_up(), None);
        for (request, expected) in [
            (unexplained("by alice@h"), "by alice@h"),
            (because("by alice@h: bad disk"), "by alice@h: bad disk"),
            (unexplained("by bob@h"), "by alice@h: bad disk"),
            (because(" "), "by alice@h: bad disk"),
            (because("by bob@h: worse disk"), "by bob@h: worse disk"),
        ] {
            record.abort(&request).unwrap();
            assert_eq!(record.to_be_given_up(), Some(expected));
        }
        record.give_up("x");
        assert_eq!(record.to_be_given_up(), None);
    }
    let mut silent = new();
    silent.abort(&because("")).unwrap();
    assert_eq!(silent.to_be_given_up(), Some("by an operator"), "an empty reason would be none");
}

#[test]
fn a_job_that_is_to_be_given_up_is_not_handed_out_again() {
    let mut record = finished();
    record.queue(Work::Rebuild).unwrap();
    record.abort(&because("not now")).unwrap();
    assert!(record.jobs.is_empty(), "nobody had it");
    record.queue(Work::Rebuild).unwrap();
    record.hand_out(Plan::Rebuild, id(), false).unwrap();
    record.reported(&begins("w1"));
    record.abort(&because("not now")).unwrap();
    assert_eq!(record.reported(&heartbeat("w1")).as_deref(), Some("not now"));
    assert!(record.hand_out(Plan::Rebuild, id(), true).is_none());
    assert_eq!(record.jobs[0].status, Status::Failed { error: "not now".into() });
}

#[test]
fn jobs_and_texts_are_bounded() {
    let mut record = finished();
    for piece in 0..40 {
        record.queue(unseal(&piece.to_string())).unwrap();
        record.hand_out(Plan::Unseal, id(), false).unwrap();
        record.unsealed(&piece.to_string(), &"x".repeat(100_000));
    }
    assert_eq!(record.jobs.len(), MAX_JOBS);
    record.reported(&report(&"w".repeat(10_000), "Empty", &"s".repeat(10_000), "x"));
    let mut open = finished();
    let refused =
        (0..40).map(|piece| open.queue(unseal(&piece.to_string()))).filter(Result::is_err).count();
    assert_eq!(refused, 40 - MAX_JOBS);
    let mut sealing = new();
    sealing.reported(&report("w1", "Empty", &"s".repeat(10_000), "x"));
    let size = |record: &SectorRecord| Encoding::Json.encode(record).unwrap().len();
    assert!(size(&record) < 64 * 1024 && size(&sealing) < 4 * 1024);
}
