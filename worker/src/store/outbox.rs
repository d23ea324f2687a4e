//! What has happened and is not published yet: events, written in the transaction that makes them
//! true.
//!
//! At most [`CAPACITY`] are kept; when the bus is away for longer, the oldest go, and one
//! `events_dropped` in their place says how many. The first one stays, for it may be on its way.
//!
//! Decisions 007, 008 in `docs/decisions`.

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use shared_msgs::{
    event::{Event, EventId, EventKind},
    id::Id,
};

use super::results::corrupted;

/// How many events a store keeps.
pub const CAPACITY: u64 = 10_000;

pub(super) const OUTBOX: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox");

/// An event in the outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// The last sequence of the stream that the worker knew of when the event was written: it is
    /// not stored at or before that.
    pub after: u64,
    /// Its epoch and instance are filled in when it is published.
    pub event: Event,
}

/// Which event is in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingId {
    /// Its key in the outbox, which rises.
    pub key: u64,
    /// As in [`Waiting::after`]: it is not stored at or before this sequence.
    pub after: u64,
    /// Which opening of the store, and its number there.
    pub id: EventId,
}

impl WaitingId {
    // There may be many: what else they say is not read.
    pub(super) fn read(key: u64, row: &[u8]) -> Result<WaitingId, redb::Error> {
        #[derive(Deserialize)]
        struct Row {
            after: u64,
            event: Identified,
        }
        #[derive(Deserialize)]
        struct Identified {
            id: EventId,
        }
        let Row { after, event: Identified { id } } =
            serde_json::from_slice(row).map_err(corrupted)?;
        Ok(WaitingId { key, after, id })
    }
}

/// Numbers the events of one opening of a store.
#[derive(Debug)]
pub(super) struct Numbers {
    store: Id,
    last: u64,
}

impl Numbers {
    pub(super) fn new() -> Self {
        Numbers { store: Id::generate(), last: 0 }
    }

    /// Adds events. The numbers count only once the transaction is committed: until then the caller
    /// keeps them.
    pub(super) fn add(
        &self,
        transaction: &WriteTransaction,
        events: Vec<Event>,
        after: u64,
        capacity: u64,
    ) -> Result<Numbers, redb::Error> {
        let mut numbers = Numbers { store: self.store, last: self.last };
        if events.is_empty() {
            return Ok(numbers);
        }
        let mut outbox = transaction.open_table(OUTBOX)?;
        for event in events {
            numbers.last += 1;
            let id = EventId { store: numbers.store, n: numbers.last };
            let key = outbox.last()?.map_or(0, |(key, _)| key.value() + 1);
            insert(&mut outbox, key, &Waiting { after, event: Event { id, ..event } })?;
            if outbox.len()? > capacity {
                make_room(&mut outbox)?;
            }
        }
        Ok(numbers)
    }
}

fn insert(
    outbox: &mut redb::Table<u64, &[u8]>,
    key: u64,
    waiting: &Waiting,
) -> Result<(), redb::Error> {
    outbox.insert(key, serde_json::to_vec(waiting).map_err(corrupted)?.as_slice())?;
    Ok(())
}

// The second row becomes, or is, what says how many are missing.
fn make_room(outbox: &mut redb::Table<u64, &[u8]>) -> Result<(), redb::Error> {
    let second = outbox
        .range(0..)?
        .nth(1)
        .transpose()?
        .map(|(key, row)| (key.value(), row.value().to_vec()));
    let third = outbox.range(0..)?.nth(2).transpose()?.map(|(key, _)| key.value());
    let (Some((second, row)), Some(third)) = (second, third) else { return Ok(()) };
    let mut waiting: Waiting = serde_json::from_slice(&row).map_err(corrupted)?;
    waiting.event = match waiting.event.dropped {
        Some(dropped) => Event { dropped: Some(dropped + 1), ..waiting.event },
        None => {
            let dropped = Event::new(EventKind::EventsDropped, waiting.event.at);
            Event { id: waiting.event.id, dropped: Some(2), ..dropped }
        }
    };
    outbox.remove(third)?;
    insert(outbox, second, &waiting)
}
