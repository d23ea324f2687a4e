use redb::backends::InMemoryBackend;
use shared_msgs::{
    command::{CommandReply, CommandRequest, Outcome, Verb},
    event::EventKind,
    plan::Plan,
    sealer::{AllocatedSector, SealProofType, SectorId},
};

use super::*;
use crate::store::{
    record::Sector,
    results::{Asked, KEPT},
};

fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, Arc::default())
}

fn memory() -> Store {
    Store::in_memory(InMemoryBackend::new(), Arc::default()).unwrap()
}

fn sector() -> Sector {
    Sector::new(AllocatedSector { id: SectorId { miner: 10000, number: 2 }, proof_type: SealProofType(5) })
}

fn result(index: u32) -> StoredResult {
    StoredResult {
        asked: Asked::new(Verb::Pause, &CommandRequest::to(index)),
        answer: Ok(CommandReply { index, sector_id: None, revision: 1, outcome: Outcome::Paused }),
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
    assert_eq!(store.load().unwrap(), None);
    let record = Record { sector: Some(Sector { pc1_done: true, ..sector() }), ..Record::new(Plan::Sealer) };
    store.commit(Change { outputs: vec![(Blob::Pc1Out, b"{}".to_vec())], ..Change::to(&record) }).await.unwrap();
    drop(store);
    let store = open(&path).unwrap();
    assert_eq!(store.load().unwrap(), Some(record));
    assert_eq!(store.output(Blob::Pc1Out).await.unwrap(), b"{}");
}

#[tokio::test]
async fn an_output_goes_with_the_record_that_no_longer_speaks_of_it() {
    let store = memory();
    let mut record = Record { sector: Some(Sector { c1_done: true, ..sector() }), ..Record::new(Plan::Sealer) };
    store.commit(Change { outputs: vec![(Blob::C1Out, b"{}".to_vec())], ..Change::to(&record) }).await.unwrap();
    record.sector = None;
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
    assert!(matches!(store.load(), Err(StoreError::NewerFormat { format: 2, .. })));
}

#[test]
fn a_record_of_before_there_were_notes_of_ends_is_read_and_says_of_none() {
    let record = Record { sector: Some(sector()), ..Record::new(Plan::Sealer) };
    let written = serde_json::to_value(&record).unwrap();
    for (holder, fields) in [(&written, &["given_up_by", "let_go"][..]), (&written["sector"], &["removing"])] {
        assert!(fields.iter().all(|field| holder.get(field).is_none()), "an older version reads it too");
    }
    assert_eq!(serde_json::from_value::<Record>(written).unwrap(), record);
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
    let id = open(&path).unwrap().worker_id().await.unwrap();
    assert_eq!(open(&path).unwrap().worker_id().await.unwrap(), id);
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
    let seen: Vec<_> = waiting.iter().map(|waiting| (waiting.key, waiting.id.n, waiting.after)).collect();
    assert_eq!(seen, [(1, 2, 0), (2, 3, 0), (3, 4, 40)]);
    drop(store);
    let outgoing = Arc::<Outgoing>::default();
    let store = Store::open(&path, outgoing.clone()).unwrap();
    assert_eq!(outgoing.last_sequence.load(Ordering::SeqCst), 40);
    store.note(event(5)).await.unwrap();
    let last = store.event_ids().await.unwrap().pop().unwrap();
    assert_eq!((last.key, last.id.n), (4, 1));
    assert_ne!(last.id.store, waiting[0].id.store);
}

#[test]
fn a_full_outbox_keeps_its_first_and_its_last_events_and_says_how_many_are_missing() {
    let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
    let mut numbers = Numbers::new();
    for at in 1..=20 {
        let transaction = database.begin_write().unwrap();
        numbers = numbers.add(&transaction, vec![event(at)], 0, 5).unwrap();
        transaction.commit().unwrap();
    }
    let transaction = database.begin_read().unwrap();
    let table = transaction.open_table(OUTBOX).unwrap();
    let rows: Vec<Waiting> = table.iter().unwrap().map(|row| serde_json::from_slice(row.unwrap().1.value()).unwrap()).collect();
    let seen: Vec<_> = rows.iter().map(|row| (row.event.id.n, row.event.dropped)).collect();
    assert_eq!(seen, [(1, None), (2, Some(16)), (18, None), (19, None), (20, None)]);
    assert_eq!(rows[1].event.kind, EventKind::EventsDropped);
}
