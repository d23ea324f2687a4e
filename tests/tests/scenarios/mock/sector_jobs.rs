//! The mock hands out jobs on finished sectors.

use std::fs;

use e2e::{
    bus::refused,
    played_worker::{PlayedWorker, bytes, comm_r, deal_cids},
    testbed::{Testbed, sector},
};
use shared_msgs::{error::ErrorKind, id::Id, sector_manager::*};

#[tokio::test]
async fn a_sealed_sector_without_deals_gets_them_by_snapup() {
    let bed = Testbed::start().await;
    let directory = bed.scratch.directory("pieces");
    let options = ["--pieces", directory.to_str().unwrap()];
    let _managers = [
        bed.mock_manager_with(&options).await,
        bed.start_mock_manager_with("second-manager", &options),
    ];
    let worker = PlayedWorker::new(&bed.bus, "w1");
    let snapup = |request_id| AllocateSnapupSector {
        request_id,
        sector: Default::default(),
        deals: Default::default(),
    };
    let request = snapup(Id::generate());
    assert_eq!(worker.ask(&request).await, None, "no sector");
    let old = worker.seal_one().await;
    assert_eq!(worker.ask(&request).await, None, "no deals");
    fs::write(directory.join("deal"), bytes(1500)).unwrap();

    let (one, other) = tokio::join!(worker.ask(&request), worker.ask(&request));
    let given = one.or(other).unwrap();
    assert_eq!(
        (given.sector.id, given.public.comm_r, given.private.access_instance.as_str()),
        (old, comm_r(old), "remote")
    );
    let again = worker.ask(&request).await.unwrap();
    // Each manager names its own address.
    assert_eq!(
        (again.sector, deal_cids(&again.pieces)),
        (given.sector, deal_cids(&given.pieces)),
        "the same request, the same answer"
    );
    assert_eq!(worker.ask(&snapup(Id::generate())).await, None, "given once");

    // Given up, both are free again; the sector is as it was.
    worker.step(old, "Empty", "Allocated", "AllocatedSnapUpSector").await;
    assert_eq!(
        bed.util_sealer(&["sectors", "list"]).await.expect(0).rows()[0][1..4],
        ["snapup", "Allocated", "1"]
    );
    worker.give_up(old, "test").await;
    assert_eq!(
        bed.util_sealer(&["sectors", "list"]).await.expect(0).rows()[0][1..4],
        ["sealer", "Finished", "0"]
    );
    let given = worker.ask(&snapup(Id::generate())).await.unwrap();

    let mut submit = SubmitSnapupProof {
        request_id: Id::generate(),
        sector: old,
        comm_r: [77; 32],
        comm_d: [78; 32],
        access_instance: "other".into(),
        pieces: vec![given.pieces[0].piece.piece_cid.clone()],
        proof: Base64Bytes(vec![1, 2, 3]),
    };
    assert_eq!(worker.ask(&submit).await.res, SubmitResult::Accepted);
    assert_eq!(worker.ask(&submit).await.res, SubmitResult::DuplicateSubmit);
    submit.comm_r = [1; 32];
    assert_eq!(worker.ask(&submit).await.res, SubmitResult::MismatchedSubmission);
    worker.ask(&ReportFinalized { sector: old }).await;
    let row = bed.util_sealer(&["sectors", "list"]).await.expect(0);
    assert_eq!(
        row.rows()[0],
        ["s-t010000-1", "sealer", "Finished", "1", "other", &replica_cid(&[77; 32])]
    );
    assert_eq!(worker.ask(&snapup(Id::generate())).await, None, "a sector is upgraded once");

    // Its rebuild is told both replicas.
    bed.util_sealer(&["sectors", "rebuild", "s-t010000-1"]).await.expect(0);
    let rebuild = worker
        .ask(&AllocateRebuildSector { request_id: Id::generate(), spec: Default::default() })
        .await
        .unwrap();
    assert!(
        rebuild.is_snap_up && rebuild.upgrade_public == Some(PublicReplica { comm_r: [77; 32] })
    );
    assert_eq!(deal_cids(&rebuild.pieces.unwrap()), deal_cids(&given.pieces));
}

#[tokio::test]
async fn a_rebuild_whose_worker_is_silent_goes_to_another_one_and_the_first_is_told() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager_with(&["--job-expiration", "500ms"]).await;
    let (first, second) = (PlayedWorker::new(&bed.bus, "w1"), PlayedWorker::new(&bed.bus, "w2"));
    let id = first.seal_one().await;
    let rebuild = || AllocateRebuildSector { request_id: Id::generate(), spec: Default::default() };
    assert_eq!(first.ask(&rebuild()).await, None);
    bed.util_sealer(&["sectors", "rebuild", "s-t010000-1"]).await.expect(0);
    let again = bed.util_sealer(&["sectors", "rebuild", "s-t010000-1"]).await.expect(5);
    assert!(
        again.stderr.contains("open job") && again.stderr.contains("hint: "),
        "{}",
        again.stderr
    );

    let given = first.ask(&rebuild()).await.unwrap();
    let ticket = first.ask(&AssignTicket { sector: id }).await;
    assert_eq!(
        (given.sector.id, given.ticket, given.pieces, given.is_snap_up),
        (id, ticket, None, false)
    );
    assert_eq!(first.step(id, "Empty", "Allocated", "AllocatedRebuildSector").await, None);
    assert_eq!(first.heartbeat(id, "TreeDBuilt").await, None);

    second.until_given(&rebuild()).await;
    assert_eq!(second.step(id, "Empty", "Allocated", "AllocatedRebuildSector").await, None);
    let reason = first.heartbeat(id, "TreeDBuilt").await.unwrap();
    first.give_up(id, &format!("ended by the sector manager: {reason}")).await;
    assert_eq!(second.heartbeat(id, "TreeDBuilt").await, None, "the job is still open");
    let list = bed.util_sealer(&["sectors", "list", "-o", "wide"]).await.expect(0);
    assert_eq!(
        (list.rows()[0][1], list.rows()[0][2], list.rows()[0][8]),
        ("rebuild", "TreeDBuilt", "rebuild running on w2")
    );

    second.persist(id, "new").await;
    second.ask(&ReportFinalized { sector: id }).await;
    let list = bed.util_sealer(&["sectors", "list", "-o", "wide"]).await.expect(0);
    assert_eq!(list.rows()[0][1..5], ["sealer", "Finished", "0", "new"]);
    assert_eq!(
        second.heartbeat(id, "Persisted").await,
        None,
        "a late heartbeat of the one who did it is no reason to give it up"
    );
    assert_eq!(first.ask(&rebuild()).await, None);
}

#[tokio::test]
async fn a_piece_is_unsealed_once_and_a_failure_is_shown() {
    let bed = Testbed::start().await;
    let directory = bed.scratch.directory("pieces");
    for length in [1000, 200] {
        fs::write(directory.join(length.to_string()), bytes(length)).unwrap();
    }
    let _manager = bed.mock_manager_with(&["--pieces", directory.to_str().unwrap()]).await;
    let worker = PlayedWorker::new(&bed.bus, "w1");
    let with_deals = worker.allocate().await;
    let pieces = worker.deals(with_deals.id).await.unwrap();
    bed.util_sealer(&["sectors", "unseal", "s-t010000-1"]).await.expect(5);
    worker.seal(with_deals, [42; 32]).await;
    worker.seal_one().await;

    let several = bed.util_sealer(&["sectors", "unseal", "s-t010000-1"]).await.expect(3);
    assert!(
        several.stderr.contains("name one") && several.stderr.contains(&pieces[1].piece.piece_cid),
        "{}",
        several.stderr
    );
    assert!(
        bed.util_sealer(&["sectors", "unseal", "s-t010000-2"])
            .await
            .expect(3)
            .stderr
            .contains("has no deal")
    );
    bed.util_sealer(&["sectors", "unseal", "s-t010000-9"]).await.expect(3);
    let cid = pieces[1].piece.piece_cid.as_str();
    let filler = pieces[2].piece.piece_cid.as_str();
    bed.util_sealer(&["sectors", "unseal", "s-t010000-1", "--piece", filler]).await.expect(3);
    bed.util_sealer(&["sectors", "unseal", "s-t010000-1", "--piece", cid, "--dest", "/tmp/x"])
        .await
        .expect(2);
    let queued = bed
        .util_sealer(&[
            "sectors",
            "unseal",
            "s-t010000-1",
            "--piece",
            cid,
            "--dest",
            "file:///tmp/x",
        ])
        .await
        .expect(0);
    assert!(queued.stdout.contains(cid), "{}", queued.stdout);
    // Another piece of it waits for its turn.
    bed.util_sealer(&["sectors", "unseal", "s-t010000-1", "--piece", &pieces[0].piece.piece_cid])
        .await
        .expect(0);

    let request = AllocateUnsealSector { request_id: Id::generate(), spec: Default::default() };
    let given = worker.ask(&request).await.unwrap();
    let place =
        (given.offset, given.size, given.comm_d, given.private_info.access_instance.as_str());
    assert_eq!(
        (given.piece_cid.as_str(), place),
        (cid, (1024 / 128 * 127, 254, [42; 32], "remote"))
    );
    assert_eq!(worker.ask(&request).await, Some(given));
    let dest = AcquireUnsealDest { sector: with_deals.id, piece_cid: cid.into() };
    assert_eq!(worker.ask(&dest).await, ["file:///tmp/x"]);
    let other = AllocateUnsealSector { request_id: Id::generate(), spec: Default::default() };
    assert_eq!(worker.ask(&other).await, None, "one at a time from a sector");
    worker
        .ask(&AchieveUnsealSector {
            sector: with_deals.id,
            piece_cid: cid.into(),
            error: "disk full".into(),
        })
        .await;

    let given = worker.ask(&other).await.unwrap();
    assert_eq!((given.piece_cid.as_str(), given.offset), (pieces[0].piece.piece_cid.as_str(), 0));
    let dest = AcquireUnsealDest { sector: with_deals.id, piece_cid: given.piece_cid.clone() };
    assert_eq!(worker.ask(&dest).await, Vec::<String>::new());
    worker
        .ask(&AchieveUnsealSector {
            sector: with_deals.id,
            piece_cid: given.piece_cid,
            error: String::new(),
        })
        .await;
    let list = bed.util_sealer(&["sectors", "list", "-o", "wide"]).await.expect(0);
    assert_eq!(list.rows()[0][8], "unseal failed: disk full; unseal finished");
}

#[tokio::test]
async fn a_window_post_job_is_proven_reset_and_removed() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager_with(&["--job-expiration", "500ms"]).await;
    let [worker, second, third] = ["w1", "w2", "w3"].map(|name| PlayedWorker::new(&bed.bus, name));
    let simulate = ["proving", "simulate-wdpost", "--miner", "10000"];
    bed.util_sealer(&simulate).await.expect(5);
    worker.seal_one().await;
    worker.seal_one().await;
    bed.util_sealer(&[&simulate[..], &["s-t010001-1"]].concat()).await.expect(2);
    bed.util_sealer(&[&simulate[..], &["s-t010000-9"]].concat()).await.expect(3);
    bed.util_sealer(&[&simulate[..], &["s-t010000-2"]].concat()).await.expect(0);
    let queued = bed.util_sealer(&[&simulate[..], &["-o", "json"]].concat()).await.expect(0).json();
    assert_eq!((&queued["sectors"], &queued["left_out"]), (&2.into(), &0.into()));

    let allocate = |count, worker: &str| AllocateWdpostJob {
        request_id: Id::generate(),
        allowed_miners: None,
        allowed_proof_types: Some(vec!["StackedDrgWindow2KiBV1_2".into()]),
        count,
        worker: worker.into(),
    };
    let request = allocate(1, "w1");
    let (one, other) = tokio::join!(worker.ask(&request), worker.ask(&request));
    assert_eq!((one.len(), &one), (1, &other));
    let job = one[0].clone();
    assert!(job.input.seed[31] < 0x40 && job.input.miner_id == 10000);
    let proven = &job.input.sectors[0];
    assert_eq!((proven.sector_id, proven.comm_r, proven.upgrade), (2, comm_r(sector(2)), false));
    assert_eq!(proven.accesses.sealed_file, "store://remote/sealed/s-t010000-2");
    assert_eq!(proven.accesses.cache_dir, "store://remote/cache/s-t010000-2");
    let heartbeat =
        |name: &str| WdpostHeartbeat { jobs: vec![job.id.clone()], worker: name.into() };
    worker.ask(&heartbeat("w1")).await;
    assert!(matches!(
        refused(second.try_ask(&heartbeat("w2")).await),
        ErrorKind::JobNotFound { .. }
    ));

    // Its worker falls silent; another one gets it, and the other job too.
    let mut others = Vec::new();
    while others.iter().all(|other: &WdpostJob| other.id != job.id) {
        others.extend(second.ask(&allocate(5, "w2")).await);
    }
    assert!(matches!(
        refused(worker.try_ask(&heartbeat("w1")).await),
        ErrorKind::JobNotFound { .. }
    ));
    second.ask(&heartbeat("w2")).await;
    assert!(
        matches!(refused(worker.try_ask(&heartbeat("w2")).await), ErrorKind::BadRequest { .. }),
        "w1 cannot ask as w2"
    );
    let output = WdpostOutput { proofs: vec![Base64Bytes(vec![0; 192])], faults: vec![] };
    let mut finish = WdpostFinish {
        request_id: Id::generate(),
        job: job.id.clone(),
        worker: Some("w1".into()),
        output: Some(output),
        error: String::new(),
    };
    assert!(
        matches!(refused(worker.try_ask(&finish).await), ErrorKind::JobNotFound { .. }),
        "w1 has lost it"
    );
    finish.worker = None;
    assert!(
        matches!(refused(worker.try_ask(&finish).await), ErrorKind::JobNotFound { .. }),
        "the subject names w1"
    );
    finish.worker = Some("w2".into());
    assert!(matches!(refused(worker.try_ask(&finish).await), ErrorKind::BadRequest { .. }));
    second.ask(&finish).await;
    second.ask(&finish).await;
    finish.request_id = Id::generate();
    assert!(matches!(refused(second.try_ask(&finish).await), ErrorKind::JobNotFound { .. }));

    let list = bed.util_worker(&["wdpost", "list"]).await.expect(0);
    assert_eq!(
        list.header(),
        ["Job", "Miner", "Sectors", "State", "Worker", "Age", "Elapsed", "Result"]
    );
    let rows = list.rows();
    let row = rows.iter().find(|row| row[0] == job.id).unwrap();
    assert_eq!((row[3], row[4], row[7]), ("finished", "w2", "192 bytes of proof"));

    bed.util_worker(&["wdpost", "reset", "nonsense"]).await.expect(3);
    bed.util_worker(&["wdpost", "reset", &job.id]).await.expect(0);
    assert!(
        matches!(refused(second.try_ask(&finish).await), ErrorKind::JobNotFound { .. }),
        "reset, it is nobody's"
    );
    assert_eq!(third.ask(&allocate(1, "w3")).await[0].id, job.id);
    bed.util_worker(&["wdpost", "remove", &job.id]).await.expect(0);
    assert_eq!(
        refused(second.try_ask(&finish).await),
        ErrorKind::JobNotFound { job: job.id.clone() }
    );
    bed.util_worker(&["wdpost", "remove", "--all"]).await.expect(0);
    assert_eq!(bed.util_worker(&["wdpost", "list"]).await.expect(0).rows().len(), 0);
    for verb in ["reset", "remove"] {
        bed.util_worker(&["wdpost", verb, "--all"]).await.expect(3);
    }
}
