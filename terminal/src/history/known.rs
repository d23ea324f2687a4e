//! Whether there is, or was, what no event is shown of: a name that was typed wrongly is no empty
//! history.

use std::time::Duration;

use async_nats::Client;
use damocles_client::{
    bus::{Bus, Stored},
    call::asked_again,
    history::{History, Query, Read},
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
    client: &Client,
    prefix: &Prefix,
    query: &Query,
    patience: Duration,
) {
    match check(client, prefix, query, patience).await {
        Err(error) if error.exit == Exit::NotFound => {
            note(&format!("{}; this waits for the first one", error.message))
        }
        _ => {}
    }
}

/// An error if the worker, its thread or the sector that was asked for is in no event that is kept,
/// nor in any worker's last state.
pub(super) async fn check(
    client: &Client,
    prefix: &Prefix,
    query: &Query,
    patience: Duration,
) -> Result<(), CliError> {
    let Query { worker, index, sector, .. } = query;
    if worker.is_none() && sector.is_none() {
        return Ok(());
    }
    let of = worker.as_ref().filter(|_| sector.is_none());
    let asked = asked_again(client, patience, || async { client.stored(prefix, of).await });
    let states = asked.await.unwrap_or_else(|| Err("JetStream does not answer".into()));
    let states = states.map_err(|why| {
        let message = format!("no such event is kept; whether there is such a worker, thread or sector is unknown: {why}");
        CliError::new(Exit::NoAnswer, message)
    })?;
    let states: Vec<_> = states.into_iter().filter_map(read).collect();
    let recorded = async |query| recorded(client, prefix, query, patience).await;
    if let Some(worker) = worker {
        let threads = states.iter().find(|(name, _)| name == worker).map(|(_, threads)| threads);
        let of_worker = Query { worker: Some(worker.clone()), ..Query::default() };
        if threads.is_none() && !recorded(of_worker.clone()).await? {
            return Err(unknown(format!(
                "no such worker: {worker} never reported, and no event of it is kept"
            )));
        }
        let has = |index| threads.is_some_and(|all| all.iter().any(|one| one.index == index));
        if let Some(index) = *index
            && !has(index)
            && !recorded(Query { index: Some(index), ..of_worker }).await?
        {
            return Err(unknown(format!(
                "worker {worker}: there is no thread {index}, and no event of one is kept"
            )));
        }
    }
    if let Some(sector) = sector {
        let mut threads = states.iter().flat_map(|(_, threads)| threads);
        let in_hand = threads.any(|thread| thread.sector_id.as_ref() == Some(sector));
        if !in_hand && !recorded(Query { sector: Some(sector.clone()), ..Query::default() }).await?
        {
            return Err(unknown(format!(
                "sector {sector} is in no event that is kept, and no worker has it in hand"
            )));
        }
    }
    Ok(())
}

fn read((worker, stored): (WorkerName, Stored)) -> Option<(WorkerName, Vec<ThreadSnapshot>)> {
    decode::<WorkerSnapshot>(&stored.body).ok().map(|snapshot| (worker, snapshot.threads))
}

// Whether such an event is kept, of whatever time.
async fn recorded(
    client: &Client,
    prefix: &Prefix,
    query: Query,
    patience: Duration,
) -> Result<bool, CliError> {
    let history = History::open(client, prefix, query, patience).await;
    let mut history = history.map_err(unreadable)?;
    while let Some(read) = history.next().await.map_err(unreadable)? {
        // What cannot be read may be one.
        if matches!(read, Read::Event(_) | Read::Unreadable { .. }) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn unknown(message: String) -> CliError {
    CliError::new(Exit::NotFound, message)
        .hint("`damocles-manager util worker list` shows the workers there are")
}
