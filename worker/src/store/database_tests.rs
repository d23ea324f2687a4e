use redb::backends::InMemoryBackend;
use rustix::io::Errno;
use shared_msgs::{
    command::{CommandReply, CommandRequest, Outcome, Verb},
    event::EventKind,
    plan::{Plan, State},
    sector_manager::{AllocatedSector, SealVersion, SectorId, SectorSize},
};

use super::*;
use crate::{
    failure::Level,
    store::{
        failing_disk::FailingDisk,
        record::{FORMAT, Sector},
        results::{Asked, KEPT},
    },
};

fn open(path: &Path) -> Result<Store, StoreError> {
    open_with(path, Arc::default())
}

fn open_with(path: &Path, outgoing: Arc<Outgoing>) -> Result<Store, StoreError> {
    let store = Store::file(path, outgoing);
    store.make().map(|()| store)
}

fn memory() -> Store {
    Store::in_memory(InMemoryBackend::new, Arc::default()).unwrap()
}

fn sector() -> Sector {
    Sector::new(AllocatedSector {
        id: SectorId { miner: 10000, number: 2 },
        proof_type: SealVersion::V1_1.of(SectorSize::S2KiB),
    })
}

fn record_of(sector: Sector) -> Record {
    let state = State::Allocated;
    Record { state, job: Some(sector.into()), ..Record::new(Plan::Sealer) }
}

fn result(index: u32) -> StoredResult {
    StoredResult {
        asked: Asked::new(Verb::Pause, &CommandRequest::to(index)),
        answer: Ok(CommandReply {
            index,
            sector_id: None,
            revision: 1,
            outcome: Outcome::Paused,
            dry_run: false,
        }),
    }
}

fn event(at: u64) -> Event {
    Event::new(EventKind::Transition, at)
}

#[tokio::test]
async fn a_record_and_its_outputs_are_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = open(&path).unwrap();
    assert_eq!(store.load().await.unwrap(), None);
    let record = record_of(Sector { pc1_done: true, ..sector() });
    store
        .commit(Change {
            outputs: vec![(Blob::Pc1Out, b"{}".to_vec())].into(),
            ..Change::to(&record)
        })
        .await
        .unwrap();
    drop(store);
    let store = open(&path).unwrap();
    assert_eq!(store.load().await.unwrap(), Some(record));
    assert_eq!(store.output(Blob::Pc1Out).await.unwrap(), b"{}");
}

#[tokio::test]
async fn an_output_goes_with_the_record_that_no_longer_speaks_of_it() {
    let store = memory();
    let mut record = record_of(Sector { c1_done: true, ..sector() });
    store
        .commit(Change {
            outputs: vec![(Blob::C1Out, b"{}".to_vec())].into(),
            ..Change::to(&record)
        })
        .await
        .unwrap();
    (record.state, record.job) = (State::Empty, None);
    store.commit(Change::to(&record)).await.unwrap();
    assert!(store.output(Blob::C1Out).await.is_err());
}

#[test]
fn a_second_opener_is_told_that_the_location_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let _first = open(&path).unwrap();
    assert!(matches!(open(&path), Err(StoreError::InUse(_))));
}

#[tokio::test]
async fn a_record_of_a_newer_version_is_refused() {
    let store = memory();
    let newer = Record { format: FORMAT + 1, ..Record::new(Plan::Sealer) };
    store.commit(Change::to(&newer)).await.unwrap();
    assert!(matches!(store.load().await, Err(StoreError::NewerFormat { format: 3, .. })));
}

#[tokio::test]
async fn results_are_found_by_their_id_and_the_oldest_go() {
    let store = memory();
    let record = Record::new(Plan::Sealer);
    let first = Id::generate();
    assert_eq!(store.result(first).await.unwrap(), None);
    store.commit(Change { result: Some((first, result(0))), ..Change::to(&record) }).await.unwrap();
    assert_eq!(store.result(first).await.unwrap(), Some(result(0)));
    store.keep_result(first, result(7)).await.unwrap();
    assert_eq!(store.result(first).await.unwrap(), Some(result(7)), "the last word under an id");
    for _ in 1..KEPT {
        store.keep_result(Id::generate(), result(1)).await.unwrap();
    }
    assert!(store.result(first).await.unwrap().is_some());
    store.keep_result(Id::generate(), result(1)).await.unwrap();
    assert_eq!(store.result(first).await.unwrap(), None);
}

#[tokio::test]
async fn a_bulk_stays_what_it_was_first_resolved_to() {
    let store = memory();
    let (id, asked) = (Id::generate(), Asked::new(Verb::Resume, &CommandRequest::default()));
    let bulk = |threads: &[u32]| StoredBulk { asked: asked.clone(), threads: threads.to_vec() };
    assert_eq!(store.keep_bulk(id, bulk(&[0, 2])).await.unwrap(), bulk(&[0, 2]));
    assert_eq!(store.keep_bulk(id, bulk(&[1])).await.unwrap(), bulk(&[0, 2]));
}

#[tokio::test]
async fn a_worker_keeps_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    assert_eq!(open(&path).unwrap().worker_id().await.unwrap(), None);
    let id = Id::generate();
    open(&path).unwrap().keep_worker_id(id).await.unwrap();
    assert_eq!(open(&path).unwrap().worker_id().await.unwrap(), Some(id));
}

#[tokio::test]
async fn events_wait_in_order_until_they_are_published_and_are_numbered_from_1_in_each_opening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = open(&path).unwrap();
    let record = Record::new(Plan::Sealer);
    store.commit(Change { events: vec![event(1), event(2)], ..Change::to(&record) }).await.unwrap();
    store.note(event(3)).await.unwrap();
    let (key, first) = store.first_event().await.unwrap().unwrap();
    assert_eq!((first.event.at, first.event.id.n, first.after), (1, 1, 0));
    store.published(key, 40).await.unwrap();
    store.note(event(4)).await.unwrap();
    let waiting = store.event_ids().await.unwrap();
    let seen: Vec<_> =
        waiting.iter().map(|waiting| (waiting.key, waiting.id.n, waiting.after)).collect();
    assert_eq!(seen, [(1, 2, 0), (2, 3, 0), (3, 4, 40)]);
    drop(store);
    let outgoing = Arc::<Outgoing>::default();
    let store = open_with(&path, outgoing.clone()).unwrap();
    assert_eq!(outgoing.last_sequence.load(Ordering::SeqCst), 40);
    store.note(event(5)).await.unwrap();
    let last = store.event_ids().await.unwrap().pop().unwrap();
    assert_eq!((last.key, last.id.n), (4, 1));
    assert_ne!(last.id.store, waiting[0].id.store);
}

#[test]
fn a_full_outbox_keeps_its_first_and_its_last_events_and_says_how_many_are_missing() {
    let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
    let mut numbers = super::super::outbox::Numbers::new();
    for at in 1..=20 {
        let transaction = database.begin_write().unwrap();
        numbers = numbers.add(&transaction, vec![event(at)], 0, 5).unwrap();
        transaction.commit().unwrap();
    }
    let transaction = database.begin_read().unwrap();
    let table = transaction.open_table(OUTBOX).unwrap();
    let rows: Vec<Waiting> = table
        .iter()
        .unwrap()
        .map(|row| serde_json::from_slice(row.unwrap().1.value()).unwrap())
        .collect();
    let seen: Vec<_> = rows.iter().map(|row| (row.event.id.n, row.event.dropped)).collect();
    assert_eq!(seen, [(1, None), (2, Some(16)), (18, None), (19, None), (20, None)]);
    assert_eq!(rows[1].event.kind, EventKind::EventsDropped);
}

async fn events_of(store: &Store) -> usize {
    store.event_ids().await.unwrap().len()
}

#[tokio::test]
async fn a_change_is_written_once_whenever_the_disk_fails_and_for_how_long() {
    let before = record_of(sector());
    let after = Record {
        revision: 1,
        job: Some(Sector { pc1_done: true, ..sector() }.into()),
        ..before.clone()
    };
    let (mut kept_at_once, mut in_doubt) = (0, [0, 0]);
    for (times, done_all_the_same) in [(1, false), (1, true), (1_000, false), (1_000, true)] {
        for works in 0..20 {
            let disk = FailingDisk::default();
            disk.do_what_fails(done_all_the_same);
            let backend = disk.clone();
            let store = Store::in_memory(move || backend.clone(), Arc::default()).unwrap();
            store.commit(Change::to(&before)).await.unwrap();
            let change = || Change {
                events: vec![event(1)],
                outputs: vec![(Blob::Pc1Out, b"{}".to_vec())].into(),
                ..Change::to(&after)
            };
            disk.fail(works, times);
            let written = store.commit(change()).await;
            disk.work();
            let settled = store.settle().await.unwrap();
            match (&written, &settled) {
                (Ok(()), None) => kept_at_once += 1,
                (Err(StoreError::Io { .. }), Some(record)) => {
                    assert!(*record == before || *record == after);
                    in_doubt[usize::from(*record == after)] += 1;
                }
                (Err(StoreError::Io { .. }), None) => {}
                other => panic!("{works}: {other:?}"),
            }
            let is_written = written.is_ok() || settled.as_ref() == Some(&after);
            assert_eq!(
                store.load().await.unwrap().as_ref(),
                Some(if is_written { &after } else { &before }),
                "{works}, {times}"
            );
            assert_eq!(events_of(&store).await, usize::from(is_written));
            if !is_written {
                store.commit(change()).await.unwrap();
            }
            assert_eq!(
                (store.output(Blob::Pc1Out).await.unwrap(), events_of(&store).await),
                (b"{}".to_vec(), 1)
            );
        }
    }
    // Each way to end was seen.
    assert!(kept_at_once > 40 && in_doubt[0] > 0 && in_doubt[1] > 0, "{kept_at_once} {in_doubt:?}");
}

#[tokio::test]
async fn a_change_of_a_record_that_may_be_another_one_is_refused() {
    let disk = FailingDisk::default();
    let backend = disk.clone();
    let store = Store::in_memory(move || backend.clone(), Arc::default()).unwrap();
    let record = Record::new(Plan::Sealer);
    store.commit(Change::to(&record)).await.unwrap();
    let mut works = 0;
    while !store.is_in_doubt() {
        disk.fail(works, 1_000);
        works += 1;
        drop(store.commit(Change::to(&record)).await);
    }
    disk.work();
    assert!(store.commit(Change::to(&record)).await.is_err());
    assert_eq!(store.settle().await.unwrap(), Some(record.clone()));
    store.commit(Change::to(&record)).await.unwrap();
}

#[tokio::test]
async fn a_store_is_not_touched_before_it_was_opened_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = Store::file(&path, Arc::default());
    assert!(
        store.note(event(1)).await.is_err()
            && store.first_event().await.is_err()
            && store.open().is_err()
    );
    assert!(!path.exists());
    store.make().unwrap();
    store.note(event(1)).await.unwrap();
    store.close();
    assert!(store.first_event().await.is_err());
    store.open().unwrap();
    assert!(store.first_event().await.unwrap().is_some());
}

#[tokio::test]
async fn a_flipped_bit_never_makes_another_record() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = open(&path).unwrap();
    let record = Record { revision: 17, ..record_of(Sector { pc1_done: true, ..sector() }) };
    for revision in 0..17 {
        let events = vec![event(revision)];
        store
            .commit(Change {
                events,
                result: Some((Id::generate(), result(0))),
                ..Change::to(&Record { revision, ..record.clone() })
            })
            .await
            .unwrap();
    }
    let outputs = vec![(Blob::Pc1Out, vec![b'x'; 3000])].into();
    store.commit(Change { outputs, ..Change::to(&record) }).await.unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    // Most of a file is empty: bits are flipped where something is written.
    let written: Vec<_> = (0..whole.len())
        .filter(|at| whole[at / 4096 * 4096..].iter().take(4096).any(|byte| *byte != 0))
        .collect();
    let mut random = fastrand::Rng::with_seed(10);
    let (mut kept, mut refused) = (0, 0);
    for _ in 0..120 {
        let (at, bit) = (written[random.usize(..written.len())], random.u8(..8));
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << bit;
        fs::write(&path, &flipped).unwrap();
        let opened = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || open(&path)).await
        };
        // One that panics is refused by whoever opens it.
        let Ok(Ok(store)) = opened else {
            refused += 1;
            continue;
        };
        match (store.load().await, store.output(Blob::Pc1Out).await) {
            (Ok(Some(loaded)), Ok(output)) if loaded == record && output == [b'x'; 3000] => {
                kept += 1
            }
            (Err(_), _) | (_, Err(_)) => refused += 1,
            (loaded, _) => panic!("bit {bit} of byte {at}: {loaded:?}"),
        }
    }
    assert!(kept > 0 && refused > 0, "{kept} {refused}");
}

#[test]
fn a_reserve_takes_its_space_and_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let (path, reserve) =
        (directory.path().join("store.redb"), directory.path().join("store.reserve"));
    let taken = || std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&reserve).unwrap()) * 512;
    for _ in 0..2 {
        drop(open(&path).unwrap());
        assert!(taken() >= 1 << 20);
        fs::remove_file(&reserve).unwrap();
    }
}

#[test]
fn a_store_that_lacks_what_others_give_back_is_tried_again_and_a_damaged_one_is_not() {
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN] {
        let words = io::Error::from(errno).to_string();
        let error = StoreError::Io { path: "store.redb".into(), error: words };
        assert_eq!(Failure::from(error).level, Level::Temporary);
    }
    let corrupted = StoreError::Io { path: "store.redb".into(), error: "corrupted".into() };
    assert_eq!(Failure::from(corrupted).level, Level::Critical);
}
