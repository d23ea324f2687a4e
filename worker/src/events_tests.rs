use std::sync::Mutex;

use redb::backends::InMemoryBackend;
use shared_msgs::event::EventKind;

use super::*;
use crate::store::failing_disk::FailingDisk;

/// A stream in memory that loses as many answers as it is told to, after it has stored what it was
/// given.
#[derive(Default)]
struct Stream {
    events: Mutex<Vec<Event>>,
    lose: Mutex<u32>,
}

impl EventStream for Stream {
    fn last(&self) -> BoxFuture<'_, Result<u64, String>> {
        let last = self.events.lock().unwrap().len() as u64;
        Box::pin(async move { Ok(last) })
    }

    fn after(&self, sequence: u64) -> BoxFuture<'_, Result<Option<(u64, EventId)>, String>> {
        let next = self
            .events
            .lock()
            .unwrap()
            .get(sequence as usize)
            .map(|event| (sequence + 1, event.id));
        Box::pin(async move { Ok(next) })
    }

    fn append<'a>(&'a self, last: u64, event: &'a Event) -> BoxFuture<'a, Result<u64, String>> {
        let mut events = self.events.lock().unwrap();
        let mut lose = self.lose.lock().unwrap();
        let answer = match events.len() as u64 == last {
            true => {
                events.push(event.clone());
                Ok(events.len() as u64)
            }
            false => Err("wrong last sequence".to_owned()),
        };
        let lost = *lose > 0;
        *lose = lose.saturating_sub(1);
        Box::pin(async move { if lost { Err("no answer".into()) } else { answer } })
    }
}

fn publisher(
    stores: Vec<Store>,
    outgoing: Arc<Outgoing>,
    lease: &watch::Sender<LeaseState>,
) -> EventPublisher {
    EventPublisher {
        stores,
        outgoing,
        lease: lease.subscribe(),
        instance_id: Id::NIL,
        progress: watch::Sender::default(),
    }
}

fn held() -> watch::Sender<LeaseState> {
    watch::Sender::new(LeaseState::Held {
        epoch: 7,
        until: Some(Instant::now() + Duration::from_secs(3600)),
    })
}

fn store(outgoing: &Arc<Outgoing>) -> Store {
    Store::in_memory(InMemoryBackend::new, outgoing.clone()).unwrap()
}

async fn note(store: &Store, at: std::ops::RangeInclusive<u64>) {
    for at in at {
        store.note(Event::new(EventKind::Transition, at)).await.unwrap();
    }
}

async fn publish(publisher: &EventPublisher, stream: &Stream) {
    tokio::select! {
        () = publisher.run(stream) => {}
        () = publisher.all_published() => {}
    }
}

fn stored(stream: &Stream) -> Vec<u64> {
    stream.events.lock().unwrap().iter().map(|event| event.at).collect()
}

#[tokio::test(start_paused = true)]
async fn each_event_is_stored_once_however_many_answers_are_lost() {
    let (stream, outgoing, lease) =
        (Stream { lose: Mutex::new(3), ..Stream::default() }, Arc::default(), held());
    let one = store(&outgoing);
    note(&one, 1..=5).await;
    let publisher = publisher(vec![one.clone()], outgoing, &lease);
    publish(&publisher, &stream).await;
    assert_eq!(stored(&stream), [1, 2, 3, 4, 5]);
    assert!(stream.events.lock().unwrap().iter().all(|event| event.epoch == Some(7)));
    note(&one, 6..=6).await;
    publish(&publisher, &stream).await;
    assert_eq!(stored(&stream), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_brought_back_into_the_outbox_is_found_in_the_stream() {
    let (stream, outgoing, lease) = (Stream::default(), Arc::default(), held());
    let (one, two) = (store(&outgoing), store(&outgoing));
    note(&one, 1..=2).await;
    note(&two, 11..=12).await;
    // Both stores have lost that some were published, as unsynced writes are.
    for (store, events) in [(&one, 2), (&two, 1)] {
        for id in store.event_ids().await.unwrap().into_iter().take(events) {
            let event = Event { id: id.id, ..Event::new(EventKind::Transition, id.key) };
            stream.events.lock().unwrap().push(event);
        }
    }
    publish(&publisher(vec![one, two], outgoing, &lease), &stream).await;
    assert_eq!(stored(&stream), [0, 1, 0, 12]);
}

/// A stream into which a copy of the worker's disk stores an event while it is asked for its last
/// one.
struct Shared<'a> {
    stream: &'a Stream,
    store: &'a Store,
}

impl EventStream for Shared<'_> {
    fn last(&self) -> BoxFuture<'_, Result<u64, String>> {
        Box::pin(async {
            if self.stream.events.lock().unwrap().is_empty() {
                note(self.store, 1..=1).await;
                let (_, waiting) = self.store.first_event().await.unwrap().unwrap();
                self.stream.events.lock().unwrap().push(waiting.event);
            }
            self.stream.last().await
        })
    }

    fn after(&self, sequence: u64) -> BoxFuture<'_, Result<Option<(u64, EventId)>, String>> {
        self.stream.after(sequence)
    }

    fn append<'a>(&'a self, last: u64, event: &'a Event) -> BoxFuture<'a, Result<u64, String>> {
        self.stream.append(last, event)
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_copy_of_the_disk_has_stored_meanwhile_is_not_stored_again() {
    let (stream, outgoing, lease) = (Stream::default(), Arc::default(), held());
    let one = store(&outgoing);
    let publisher = publisher(vec![one.clone()], outgoing, &lease);
    let shared = Shared { stream: &stream, store: &one };
    tokio::select! {
        () = publisher.run(&shared) => {}
        () = sleep(Duration::from_secs(1)) => {}
    }
    assert_eq!(stored(&stream), [1]);
    assert!(one.first_event().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_made_anew_is_filled_from_where_the_outbox_stands() {
    let (outgoing, lease) = (Arc::<Outgoing>::default(), held());
    let one = store(&outgoing);
    note(&one, 1..=3).await;
    let publisher = publisher(vec![one.clone()], outgoing, &lease);
    publish(&publisher, &Stream::default()).await;
    note(&one, 4..=5).await;
    let anew = Stream::default();
    publish(&publisher, &anew).await;
    assert_eq!(stored(&anew), [4, 5]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_without_the_lease() {
    let (stream, outgoing) = (Stream::default(), Arc::default());
    let lease = watch::Sender::new(LeaseState::StandingBy);
    let one = store(&outgoing);
    note(&one, 1..=1).await;
    let publisher = publisher(vec![one], outgoing, &lease);
    tokio::select! {
        () = publisher.run(&stream) => panic!("it ends"),
        () = sleep(Duration::from_secs(60)) => {}
    }
    assert_eq!(stored(&stream), [0u64; 0]);
    lease.send_replace(*held().borrow());
    publish(&publisher, &stream).await;
    assert_eq!(stored(&stream), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_work_holds_up_no_other_and_its_events_are_published_once_it_does() {
    let (stream, outgoing, lease, disk) =
        (Stream::default(), Arc::default(), held(), FailingDisk::default());
    let backend = disk.clone();
    let failing = Store::in_memory(move || backend.clone(), Arc::clone(&outgoing)).unwrap();
    let other = store(&outgoing);
    note(&failing, 1..=2).await;
    note(&other, 11..=12).await;
    failing.close();
    let publisher = publisher(vec![failing.clone(), other.clone()], outgoing, &lease);
    let told = async {
        publisher.all_published().await;
        assert_eq!(stored(&stream), [11, 12]);
        failing.open().unwrap();
        publisher.all_published().await;
        assert_eq!(stored(&stream), [11, 12, 1, 2]);
        // What was taken out of the outbox was not synced, and is in it again.
        disk.fail(0, 1);
        note(&failing, 3..=3).await;
        publisher.all_published().await;
        assert_eq!(stored(&stream), [11, 12, 1, 2, 3]);
    };
    tokio::select! {
        () = publisher.run(&stream) => {}
        () = told => {}
    }
}
