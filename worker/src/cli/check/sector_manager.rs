//! Whether somebody answers for the sector manager.

use async_nats::{Client, client::RequestErrorKind};
use damocles_client::connect::NatsSettings;
use damocles_terminal::checks::Checks;
use shared_msgs::{
    codec::Encoding,
    duration::human,
    name::WorkerName,
    sector_manager::{PollPreCommitState, SectorId, SectorManagerRequest},
};
use tokio::time::timeout;

// Asking for what became of a sector that nobody has changes nothing, whoever answers.
const NOBODYS: SectorId = SectorId { miner: 0, number: 0 };

pub(super) async fn check(
    checks: &mut Checks,
    client: &Client,
    settings: &NatsSettings,
    worker: &WorkerName,
) {
    let method = PollPreCommitState::METHOD;
    let subject = settings.prefix.sector_manager(worker, method);
    let check = format!("sector manager at {subject}");
    let request = match Encoding::Msgpack.encode(&PollPreCommitState { sector: NOBODYS }) {
        Ok(request) => request,
        Err(error) => return checks.failed(check, error, None),
    };
    let way_out = Some(
        "the worker seals on nothing without it: start one, for a trial `damocles-manager mock`",
    );
    match timeout(settings.timeout, client.request(subject, request.into())).await {
        // A refusal is an answer.
        Ok(Ok(_)) => checks.fine(check, "answers"),
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
            checks.failed(check, "nobody answers for it", way_out);
        }
        Ok(Err(error)) => checks.failed(check, error, None),
        Err(_) => {
            let waited = format!("no answer within {}", human(settings.timeout));
            checks.failed(check, waited, way_out);
        }
    }
}
