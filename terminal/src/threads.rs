//! Threads as a table, the same in both tools.

use std::time::Duration;

use shared_msgs::{duration::human_secs, snapshot::ThreadSnapshot};

use crate::{
    said::outlook,
    table::{Row, Table},
};

// A column: its title, and what it says of a thread.
type Column = (&'static str, fn(&ThreadSnapshot) -> String);

// Which thread it is.
const INDEX: Column = ("Index", |thread| thread.index.to_string());
// The directory that it works in, as the worker's machine calls it.
const LOCATION: Column = ("Loc", |thread| or_dash(Some(&thread.location)));
// The sector in hand.
const SECTOR: Column = ("SectorID", |thread| or_dash(thread.sector_id.as_deref()));
// What it seals by.
const PLAN: Column = ("Plan", |thread| or_dash(Some(&thread.plan)));
// Whether it is paused.
const PAUSED: Column = ("Paused", |thread| thread.status.paused_for().is_some().to_string());
// How long it has been paused; a dash if it is not.
const PAUSED_FOR: Column =
    ("PausedElapsed", |thread| or_dash(thread.status.paused_for().map(human_secs).as_deref()));
// How far its sector is.
const STATE: Column = ("State", |thread| or_dash(Some(&thread.state)));
// The stage that it does in its state; a dash where there is none.
const STAGE: Column = ("Stage", |thread| or_dash(thread.stage.as_deref()));
// What it does now, and what is to become of its job.
const OUTLOOK: Column = ("Status", |thread| outlook(thread, Duration::ZERO));
// How often its stage was tried again.
const RETRY: Column = ("Retry", |thread| thread.retry.to_string());
// What a command may name.
const REVISION: Column = ("Revision", |thread| thread.revision.to_string());
// Whether it takes no new sector.
const CORDONED: Column = ("Cordoned", |thread| thread.cordoned.to_string());
// What is to become of its job.
const END_PENDING: Column = ("EndPending", |thread| or_dash(thread.end_pending.as_deref()));
// What went wrong last.
const LAST_ERR: Column = ("LastErr", |thread| or_dash(thread.last_err.as_deref()));

// The columns that scripts know, first.
const FIRST: [Column; 6] = [INDEX, LOCATION, SECTOR, PAUSED, PAUSED_FOR, STATE];

const WIDE: [Column; 13] = [
    INDEX, LOCATION, SECTOR, PLAN, PAUSED, PAUSED_FOR, STATE, STAGE, OUTLOOK, RETRY, REVISION,
    CORDONED, LAST_ERR,
];

// The table of these columns.
fn threads_table(threads: &[ThreadSnapshot], columns: &[Column]) -> Table {
    let titles: Vec<_> = columns.iter().map(|(title, _)| *title).collect();
    let row = |thread: &ThreadSnapshot| {
        let cells = columns.iter().map(|(_, cell)| cell(thread)).collect();
        Row::new(cells).failing(thread.last_err.is_some())
    };
    Table::new(&titles, threads.iter().map(row).collect())
}

/// The plain form. What is rare has a column where there is any; all before the error, which is as
/// long as it likes.
pub fn plain(threads: &[ThreadSnapshot]) -> Table {
    let mut columns = FIRST.to_vec();
    columns.extend(threads.iter().any(|thread| thread.cordoned).then_some(CORDONED));
    columns.extend(some_end(threads));
    columns.push(LAST_ERR);
    threads_table(threads, &columns)
}

/// The wide form, with every column.
pub fn wide(threads: &[ThreadSnapshot]) -> Table {
    threads_table(threads, &WIDE)
}

// `END_PENDING`, where a thread has one.
fn some_end(threads: &[ThreadSnapshot]) -> Option<Column> {
    threads.iter().any(|thread| thread.end_pending.is_some()).then_some(END_PENDING)
}

// An empty cell would be lost between two columns.
fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}
