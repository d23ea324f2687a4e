//! Whether there is, or was, what no event is shown of: a name that was typed wrongly is no empty
//! history.

use std::{collections::BTreeMap, time::Duration};

use damocles_client::{
    bus::{Bus, Stored},
    call::asked_again,
    history::{History, Query, Read},
    nats::Connection,
};
use shared_msgs::{
    codec::decode,
    name::WorkerName,
    snapshot::{ThreadSnapshot, WorkerSnapshot},
    subject::Prefix,
};

use super::unreadable;
use crate::{CliError, Exit, note};

/// Says that what is followed is not known so far, if so: a name that was typed wrongly is never
/// heard of.
pub(super) async fn note_unknown(
    connection: &Connection,
    prefix: &Prefix,
    query: &Query,
    patience: Duration,
) {
    match check(connection, prefix, query, patience).await {
        Err(error) if error.exit == Exit::NotFound => {
            note(&format!("{}; this waits for the first one", error.message))
        }
        _ => {}
    }
}

/// An error if the worker, its thread or the sector that was asked for is in no event that is kept,
/// nor in any worker's last state.
pub(super) async fn check(
    connection: &Connection,
    prefix: &Prefix,
    query: &Query,
    patience: Duration,
) -> Result<(), CliError> {
    let Query { worker, index, sector, .. } = query;
    if worker.is_none() && sector.is_none() {
        return Ok(());
    }
    let of = worker.as_ref().filter(|_| sector.is_none());
    let states = states(connection, prefix, of, patience).await?;
    let of_worker = worker.as_ref().map(|worker| {
        let known = states.contains_key(worker);
        let what = format!("no such worker: {worker} never reported, and no event of it is kept");
        (known, Query { worker: Some(worker.clone()), ..Query::default() }, what)
    });
    let of_thread = worker.as_ref().zip(*index).map(|(worker, index)| {
        let threads = states.get(worker).into_iter().flatten();
        let known = threads.into_iter().any(|thread| thread.index == index);
        let what =
            format!("worker {worker}: there is no thread {index}, and no event of one is kept");
        let worker = Some(worker.clone());
        (known, Query { worker, index: Some(index), ..Query::default() }, what)
    });
    let of_sector = sector.as_ref().map(|sector| {
        let mut threads = states.values().flatten();
        let known = threads.any(|thread| thread.sector_id.as_ref() == Some(sector));
        let what =
            format!("sector {sector} is in no event that is kept, and no worker has it in hand");
        (known, Query { sector: Some(sector.clone()), ..Query::default() }, what)
    });
    for (known, query, what) in [of_worker, of_thread, of_sector].into_iter().flatten() {
        if !known && !recorded(connection, prefix, query, patience).await? {
            return Err(CliError::new(Exit::NotFound, what)
                .hint("`damocles-manager util worker list` shows the workers there are"));
        }
    }
    Ok(())
}

// The threads of these workers as they were reported last.
async fn states(
    connection: &Connection,
    prefix: &Prefix,
    of: Option<&WorkerName>,
    patience: Duration,
) -> Result<BTreeMap<WorkerName, Vec<ThreadSnapshot>>, CliError> {
    let asked = asked_again(connection, patience, || async { connection.stored(prefix, of).await });
    let stored = asked.await.unwrap_or_else(|| Err("JetStream does not answer".into()));
    let stored = stored.map_err(|why| {
        let unknown = "whether there is such a worker, thread or sector is unknown";
        CliError::new(Exit::NoAnswer, format!("no such event is kept; {unknown}: {why}"))
    })?;
    let threads = |stored: &Stored| decode::<WorkerSnapshot>(&stored.body).ok();
    let read =
        stored.into_iter().filter_map(|(worker, stored)| Some((worker, threads(&stored)?.threads)));
    Ok(read.collect())
}

// Whether such an event is kept, of whatever time.
async fn recorded(
    connection: &Connection,
    prefix: &Prefix,
    query: Query,
    patience: Duration,
) -> Result<bool, CliError> {
    let history = History::open(connection, prefix, query, patience).await;
    let mut history = history.map_err(unreadable)?;
    while let Some(read) = history.next().await.map_err(unreadable)? {
        // What cannot be read may be one.
        if matches!(read, Read::Event(_) | Read::Unreadable { .. }) {
            return Ok(true);
        }
    }
    Ok(false)
}
