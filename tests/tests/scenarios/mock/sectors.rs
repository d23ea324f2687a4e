//! The mock gives each sector and deal once, the same request the same one, over restarts.

use std::{collections::BTreeSet, fs};

use damocles_worker::processor::{builtin, task::PieceCommitment};
use e2e::{
    bus::refused,
    played_worker::{PlayedWorker, bytes, comm_r, deal_cids, http_get},
    testbed::{Testbed, sector},
};
use shared_msgs::{error::ErrorKind, id::Id, sector_manager::*, sectors::*};

#[tokio::test]
async fn files_are_deals_with_the_commitments_of_the_proofs_library_and_come_by_http() {
    let bed = Testbed::start().await;
    let directory = bed.scratch.directory("pieces");
    for length in [300, 127, 1000] {
        fs::write(directory.join(format!("file-{length}")), bytes(length)).unwrap();
    }
    fs::write(directory.join(".half-made"), bytes(99)).unwrap();
    fs::write(directory.join("empty"), b"").unwrap();
    fs::create_dir(directory.join("subdirectory")).unwrap();
    let _manager = bed.mock_manager_with(&["--pieces", directory.to_str().unwrap()]).await;
    let worker = PlayedWorker::new(&bed.bus, "w1");

    let allocated = worker.allocate().await;
    let pieces = worker.deals(allocated.id).await.unwrap();
    let shape: Vec<_> = pieces
        .iter()
        .map(|piece| (piece.piece.size, piece.deal_info.as_ref().map(|deal| deal.payload_size)))
        .collect();
    assert_eq!(
        shape,
        [(1024, Some(1000)), (512, Some(300)), (128, Some(127)), (128, None), (256, None)]
    );
    let ids: BTreeSet<_> = pieces
        .iter()
        .filter_map(|piece| piece.deal_info.as_ref())
        .map(|deal| deal.deal_id)
        .collect();
    assert_eq!(ids.len(), 3);
    for piece in &pieces[..3] {
        let length = piece.deal_info.as_ref().unwrap().payload_size as usize;
        let unpadded = piece.piece.size / 128 * 127;
        let mut whole = bytes(length);
        whole.resize(unpadded as usize, 0);
        let copy = bed.scratch.path().join("whole");
        fs::write(&copy, whole).unwrap();
        let expected = builtin::piece_commitment(PieceCommitment {
            registered_proof: "StackedDrg2KiBV1_1".into(),
            piece_file: copy,
            piece_size: unpadded,
        })
        .unwrap();
        assert_eq!(piece.piece.piece_cid, piece_cid(&expected));
        assert_eq!(http_get(piece.url.as_deref().unwrap()).await, (200, bytes(length)));
    }
    let base = pieces[0].url.as_deref().unwrap().rsplit_once("/pieces/").unwrap().0.to_owned();
    for (path, status) in [
        ("/pieces/..%2Ffile-300", 400),
        ("/pieces/../file-300", 404),
        ("/pieces/file-300", 400),
        (&format!("/pieces/{}", pieces[3].piece.piece_cid), 404),
        ("/", 404),
    ] {
        assert_eq!(http_get(&format!("{base}{path}")).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn a_deal_is_given_once_over_restarts_and_again_when_its_sector_is_given_up() {
    let mut bed = Testbed::start().await;
    let directory = bed.scratch.directory("pieces");
    fs::write(directory.join("one"), bytes(1000)).unwrap();
    let mut manager = bed.mock_manager_with(&["--pieces", directory.to_str().unwrap()]).await;
    let worker = PlayedWorker::new(&bed.bus, "w1");
    let (first, second) = (worker.allocate().await.id, worker.allocate().await.id);
    let request = AcquireDeals {
        request_id: Id::generate(),
        sector: first,
        spec: AcquireDealsSpec::default(),
    };
    let given = worker.ask(&request).await.unwrap();

    manager.kill9().await;
    bed.nats.kill9().await;
    bed.nats.restart().await;
    manager.restart();
    manager.answers(&bed.bus).await;
    let again = worker.ask(&request).await.unwrap();
    assert_eq!(deal_cids(&again), deal_cids(&given));
    assert_eq!(
        http_get(again[0].url.as_deref().unwrap()).await,
        (200, bytes(1000)),
        "where it is served now"
    );
    assert_eq!(worker.deals(second).await, None);

    // The same bytes in another file are the same deal; other bytes are offered as soon as they are
    // there.
    fs::write(directory.join("copy"), bytes(1000)).unwrap();
    assert_eq!(worker.deals(second).await, None);
    fs::write(directory.join("other"), bytes(100)).unwrap();
    let spec = |max_deals, min_used_space| AcquireDealsSpec { max_deals, min_used_space };
    let ask = |spec| AcquireDeals { request_id: Id::generate(), sector: second, spec };
    assert_eq!(
        worker.ask(&ask(spec(None, Some(129)))).await,
        None,
        "not enough, and nothing is taken"
    );
    worker.give_up(first, "test").await;
    let both = worker.ask(&ask(spec(None, Some(1100)))).await.unwrap();
    assert_eq!(deal_cids(&both).len(), 2);
    assert!(deal_cids(&both).is_superset(&deal_cids(&given)));
    let third = worker.allocate().await.id;
    assert_eq!(worker.deals(third).await, None);
}

#[tokio::test]
async fn two_managers_never_give_a_deal_twice() {
    let bed = Testbed::start().await;
    let directory = bed.scratch.directory("pieces");
    for length in 1..=24 {
        fs::write(directory.join(length.to_string()), bytes(length)).unwrap();
    }
    let options = ["--pieces", directory.to_str().unwrap()];
    let _managers = [
        bed.mock_manager_with(&options).await,
        bed.start_mock_manager_with("second-manager", &options),
    ];
    let worker = PlayedWorker::new(&bed.bus, "w1");
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (worker, sector) = (worker.clone(), worker.allocate().await.id);
        asking.spawn(async move {
            let spec = AcquireDealsSpec { max_deals: Some(3), min_used_space: None };
            let request = AcquireDeals { request_id: Id::generate(), sector, spec };
            // Asked twice at once, as when an answer was late.
            let (one, other) = tokio::join!(worker.ask(&request), worker.ask(&request));
            if let (Some(one), Some(other)) = (&one, &other) {
                assert_eq!(deal_cids(one), deal_cids(other));
            }
            one.or(other).map(|pieces| deal_cids(&pieces)).unwrap_or_default()
        });
    }
    let given: Vec<_> = asking.join_all().await.into_iter().flatten().collect();
    let distinct: BTreeSet<_> = given.iter().collect();
    assert_eq!((given.len(), distinct.len()), (24, 24));
}

#[tokio::test]
async fn a_sectors_way_shows_in_the_list_and_survives_restarts() {
    let mut bed = Testbed::start().await;
    let mut manager = bed.mock_manager().await;
    let worker = PlayedWorker::new(&bed.bus, "w1");
    let (done, under_way) = (worker.seal_one().await, worker.allocate().await.id);
    worker.step(under_way, "TicketAssigned", "PC1Done", "PC1").await;
    // Late reports change nothing that is finished.
    assert_eq!(worker.step(done, "C2Done", "ProofSubmitted", "SubmitProof").await, None);

    manager.kill9().await;
    bed.nats.kill9().await;
    bed.nats.restart().await;
    manager.restart();
    manager.answers(&bed.bus).await;
    let list = bed.util_sealer(&["sectors", "list"]).await.expect(0);
    assert_eq!(list.header(), ["Sector", "Plan", "State", "Deals", "Store", "CommR"]);
    let comm_r = replica_cid(&comm_r(done));
    assert_eq!(list.rows()[0], ["s-t010000-1", "sealer", "Finished", "0", "remote", &comm_r]);
    assert_eq!(list.rows()[1], ["s-t010000-2", "sealer", "PC1Done", "0", "-", "-"]);
    let json = bed.util_sealer(&["sectors", "list", "-o", "json"]).await.expect(0).json();
    assert_eq!((&json[0]["finalized"], &json[1]["finalized"]), (&true.into(), &false.into()));
    assert_eq!(
        bed.util_sealer(&["sectors", "list", "-o", "jsonl"]).await.expect(0).stdout.lines().count(),
        2
    );

    let first = ListSectors { after: None, limit: Some(1) };
    let page: SectorPage = bed.bus.ask_sectors(&first).await.unwrap();
    assert_eq!((page.sectors.len(), page.next), (1, Some(done)));
    let unknown = refused(worker.try_ask(&AssignTicket { sector: sector(99) }).await);
    assert_eq!(unknown, ErrorKind::SectorNotFound { sector: "s-t010000-99".into() });
}

#[tokio::test]
async fn proofs_are_chosen_by_what_a_thread_takes() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager_with(&["--synthetic"]).await;
    let worker = PlayedWorker::new(&bed.bus, "w1");
    let numbered = |number| SealProofType::try_from(number).unwrap();
    for (allowed, expected) in
        [(None, 10), (Some(vec![5]), 5), (Some(vec![5, 10]), 10), (Some(vec![15]), 15)]
    {
        let allowed_proof_types =
            allowed.map(|allowed| allowed.into_iter().map(numbered).collect());
        let spec = AllocateSectorSpec { allowed_miners: None, allowed_proof_types };
        let allocated =
            worker.ask(&AllocateSector { request_id: Id::generate(), spec }).await.unwrap();
        assert_eq!(allocated.proof_type, numbered(expected));
    }
    let list = bed.util_sealer(&["sectors", "list"]).await.expect(0);
    assert_eq!(list.rows()[3][1], "niporep");
}

#[tokio::test]
async fn an_operator_gives_a_sector_up_and_its_worker_hears_of_it() {
    let bed = Testbed::start().await;
    let directory = bed.scratch.directory("pieces");
    fs::write(directory.join("deal"), bytes(100)).unwrap();
    let _manager = bed.mock_manager_with(&["--pieces", directory.to_str().unwrap()]).await;
    let worker = PlayedWorker::new(&bed.bus, "w1");
    let id = worker.allocate().await.id;
    let given = worker.deals(id).await.unwrap();
    assert_eq!(worker.step(id, "Empty", "Allocated", "Allocate").await, None);
    let why = ["--by", "carol@bastion", "--reason", "bad disk"];
    let abort = [&["sectors", "abort", "s-t010000-1"], &why[..]].concat();
    bed.util_sealer(&abort).await.expect(0);
    let reason = worker.step(id, "Allocated", "DealsAcquired", "AcquireDeals").await.unwrap();
    assert!(reason.contains("by carol@bastion: bad disk"), "{reason}");
    worker.give_up(id, &reason).await;
    let list = bed.util_sealer(&["sectors", "list", "-o", "wide"]).await.expect(0);
    assert_eq!((list.rows()[0][2], list.rows()[0][3]), ("Aborted", "0"));
    assert!(list.rows()[0][9].contains("bad disk"), "{}", list.stdout);
    bed.util_sealer(&["sectors", "abort", "s-t010000-1"]).await.expect(5);
    bed.util_sealer(&["sectors", "rebuild", "s-t010000-1"]).await.expect(5);

    let done = worker.allocate().await;
    assert_eq!(
        deal_cids(&worker.deals(done.id).await.unwrap()),
        deal_cids(&given),
        "its deal is free"
    );
    worker.seal(done, [1; 32]).await;
    bed.util_sealer(&["sectors", "abort", "s-t010000-2"]).await.expect(5);

    // What is done with a finished sector can be given up; the sector stays.
    bed.util_sealer(&["sectors", "rebuild", "s-t010000-2"]).await.expect(0);
    bed.util_sealer(&["sectors", "abort", "s-t010000-2"]).await.expect(0);
    let rebuild = AllocateRebuildSector { request_id: Id::generate(), spec: Default::default() };
    assert_eq!(worker.ask(&rebuild).await, None);
    bed.util_sealer(&["sectors", "rebuild", "s-t010000-2"]).await.expect(0);
    worker.ask(&rebuild).await.unwrap();
    assert_eq!(worker.step(done.id, "Empty", "Allocated", "AllocatedRebuildSector").await, None);
    bed.util_sealer(&["sectors", "abort", "s-t010000-2"]).await.expect(0);
    let reason = worker.heartbeat(done.id, "Allocated").await.unwrap();
    worker.give_up(done.id, &reason).await;
    let list = bed.util_sealer(&["sectors", "list"]).await.expect(0);
    assert_eq!(list.rows()[1][1..5], ["sealer", "Finished", "1", "remote"]);
}

#[tokio::test]
async fn without_a_sector_manager_the_operator_is_told_what_to_do() {
    let bed = Testbed::start().await;
    for args in [&["sectors", "list"][..], &["sectors", "rebuild", "s-t010000-1"]] {
        let silent = bed.util_sealer(args).await.expect(4);
        assert!(
            silent.stderr.contains("no sector manager is running")
                && silent.stderr.contains("damocles-manager mock"),
            "{}",
            silent.stderr
        );
    }
    bed.util_worker(&["wdpost", "list"]).await.expect(4);
    // Whoever listens and does not answer is not nobody.
    let _silent = bed.bus.client.subscribe(bed.bus.prefix.sectors("*")).await.unwrap();
    bed.bus.client.flush().await.unwrap();
    let late = bed
        .util_sealer(&["sectors", "rebuild", "s-t010000-1", "--timeout", "100ms"])
        .await
        .expect(4);
    assert!(late.stderr.contains("the outcome is unknown"), "{}", late.stderr);
}

#[tokio::test]
async fn stores_are_known_by_the_names_that_workers_told() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = PlayedWorker::new(&bed.bus, "w1");
    let id = worker.seal_one().await;
    let info = |name: &str| StoreBasicInfo { name: name.into(), path: String::new(), meta: None };
    assert_eq!(
        worker.ask(&GetStoreBasicInfo { name: "remote".into() }).await,
        Some(info("remote"))
    );
    assert_eq!(worker.ask(&GetStoreBasicInfo { name: "elsewhere".into() }).await, None);
    let reserve = |candidates: &[&str]| StoreReserveSpace {
        request_id: Id::generate(),
        sector: id,
        size: 1,
        candidates: candidates.iter().map(|name| name.to_string()).collect(),
    };
    assert_eq!(worker.ask(&reserve(&["a", "b"])).await, Some(info("a")));
    assert_eq!(worker.ask(&reserve(&[])).await, None);
    let odd = SubmitPersisted {
        request_id: Id::generate(),
        sector: id,
        store: "a\nb".into(),
        is_upgrade: false,
    };
    assert!(matches!(refused(worker.try_ask(&odd).await), ErrorKind::BadRequest { .. }));
}

#[tokio::test]
async fn operators_of_damocles_find_their_commands_and_their_forms() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = PlayedWorker::new(&bed.bus, "w1");
    for _ in 0..2 {
        worker.allocate().await;
    }
    let sealer = async |line: &str| {
        let args: Vec<_> = line.split(' ').collect();
        bed.util_sealer(&args).await
    };
    let shown = sealer("sectors state 10000 1").await.expect(0).stdout;
    assert!(
        shown.contains("Sector: s-t010000-1\n") && shown.contains("State: Allocated\n"),
        "{shown}"
    );
    sealer("sectors state 10000 9").await.expect(3);
    sealer("sectors abort --really-do-it t010000 1").await.expect(0);
    sealer("sectors restore 10000 1").await.expect(0);
    sealer("sectors restore 10000 1").await.expect(5);
    sealer("sectors finalize 10000 1").await.expect(0);
    let listed = sealer("sectors list --sealing --miner 10000 -o jsonl").await.expect(0).stdout;
    assert!(listed.lines().count() == 1 && listed.contains("s-t010000-2"), "{listed}");
    let offline = sealer("sectors list --offline").await.expect(0).stdout;
    assert!(offline.contains("s-t010000-1") && !offline.contains("s-t010000-2"), "{offline}");
    sealer("sectors rebuild 10000 1").await.expect(0);
    let listed = sealer("sectors list --rebuild --sealing=false").await.expect(0).stdout;
    assert!(listed.contains("s-t010000-1") && !listed.contains("s-t010000-2"), "{listed}");

    sealer("proving simulate-wdpost").await.expect(2);
    let simulate = "proving --miner t010000 simulate-wdpost --ddl-idx 3 --partition-idx 0";
    let said = sealer(simulate).await;
    assert!(said.stderr.contains("no deadlines and partitions"), "{}", said.stderr);
    let wdpost = async |line: &str| {
        let args: Vec<_> = line.split(' ').collect();
        bed.util_worker(&args).await
    };
    wdpost("wdpost list --all --detail").await.expect(0);
    wdpost("wdpost remove-all").await.expect(2);
}
