//! Asks all workers at once, then by name those that said nothing; again all of them where their
//! names are not known.

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use damocles_client::{
    call::{CallError, answer_in, over_a_living_server},
    worker_client::attempts::patience_of_one,
};
use damocles_terminal::{CliError, Exit};
use futures::StreamExt;
use shared_msgs::{
    codec::Encoding,
    command::{CommandRequest, Verb},
    name::WorkerName,
};
use tokio::time::{Instant, sleep_until};

use super::{
    super::session::Session,
    gather::{Answer, Gather, Gathered},
};

// Who has not answered after this part of the time is asked by name.
const PARTS: u32 = 3;
const ALL: &str = "all";

/// Sends the request to all workers and returns their answers: when all that are expected have
/// answered, or the time is up. Whoever is asked again is asked with the same id, and acts once.
pub(super) async fn scatter(
    session: &Session,
    verb: Verb,
    request: &CommandRequest,
    expected: Option<Vec<WorkerName>>,
) -> Result<Gathered, CliError> {
    over_a_living_server(&session.client, ask_and_gather(session, verb, request, expected)).await
}

async fn ask_and_gather(
    session: &Session,
    verb: Verb,
    request: &CommandRequest,
    expected: Option<Vec<WorkerName>>,
) -> Result<Gathered, CliError> {
    let (client, prefix, patience) =
        (&session.client, &session.settings.prefix, session.settings.timeout);
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        CliError::new(Exit::Failed, format!("cannot {what}: {error}"))
    };
    // JSON, so that `nats sub` shows what operators do.
    let body = Bytes::from(
        Encoding::Json.encode(request).map_err(|error| failed("write the request", &error))?,
    );
    let inbox = client.new_inbox();
    let mut answers = client
        .subscribe(format!("{inbox}.*"))
        .await
        .map_err(|error| failed("subscribe an inbox", &error))?;
    let ask = async |subject: String, inbox: String| {
        let sent =
            tokio::time::timeout(patience, client.publish_with_reply(subject, inbox, body.clone()))
                .await;
        match sent {
            Ok(sent) => sent.map_err(|error| failed("send the request", &error)),
            Err(_) => Err(CliError::new(
                Exit::NoAnswer,
                "the request could not be sent in time: the connection to NATS is lost",
            )),
        }
    };
    let names: Vec<_> = expected.clone().unwrap_or_default();
    let mut gather = Gather::new(expected);
    let began = Instant::now();
    let deadline = began + patience;
    let (mut again_at, mut hurried) = (began + patience / PARTS, false);
    ask(prefix.command_of_all(verb.name()), format!("{inbox}.{ALL}")).await?;
    while !gather.is_complete() {
        let message = tokio::select! {
            message = answers.next() => message,
            () = sleep_until(deadline) => break,
            () = sleep_until(again_at) => {
                again_at += patience_of_one(patience);
                if names.is_empty() {
                    // Whom to ask by name is not known.
                    ask(prefix.command_of_all(verb.name()), format!("{inbox}.{ALL}")).await?;
                }
                let missing: Vec<_> = gather.missing().cloned().collect();
                for worker in missing {
                    // Sorted by name, and so found fast.
                    let Ok(place) = names.binary_search(&worker) else { continue };
                    ask(prefix.command(&worker, verb.name()), format!("{inbox}.{place}")).await?;
                }
                continue;
            }
        };
        let Some(message) = message else { break };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            continue;
        }
        let asked = message
            .subject
            .rsplit('.')
            .next()
            .and_then(|place| names.get(place.parse::<usize>().ok()?));
        gather.take(asked, read(&message));
        // Once: who is asked by name has time to answer.
        if !hurried && gather.needs_names() {
            hurried = true;
            again_at = again_at.min(Instant::now());
        }
    }
    Ok(gather.finish())
}

fn read(message: &Message) -> Answer {
    match answer_in(&message.subject, &message.payload) {
        Ok(reply) => Answer::Reply(reply),
        Err(CallError::Refused(body)) => Answer::Refused(body),
        Err(_) => Answer::Unreadable,
    }
}
