//! Asks all workers at once, then by name those that said nothing; again all of them where their
//! names are not known.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use shared_msgs::{
    codec::{Encoding, decode},
    command::{CommandRequest, Verb},
    id::Id,
    name::WorkerName,
    subject::Prefix,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    ScatterError,
    gather::{Answer, Gather, Gathered},
};
use crate::{
    bus::Bus,
    call::{CallError, answer_in},
    server_clock::ServerClock,
    worker_client::{attempts::patience_of_one, until},
};

// Who has not answered after this part of the time is asked by name.
const PARTS: u32 = 3;
// The leases of so many workers that nobody expected are looked at; who makes up more is not heard.
const MAX_STRANGERS: usize = 64;

/// One command on its way to many.
pub(super) struct Scatter<'a> {
    pub(super) bus: &'a dyn Bus,
    pub(super) prefix: &'a Prefix,
    /// For all of it.
    pub(super) patience: Duration,
    pub(super) verb: Verb,
}

impl Scatter<'_> {
    /// Sends the request to all workers and returns their answers: when all that are expected have
    /// answered, or the time is up. Whoever is asked again is asked with the same id, and acts
    /// once.
    pub(super) async fn gather(
        &self,
        request: &CommandRequest,
        expected: Option<BTreeMap<WorkerName, Id>>,
    ) -> Result<Gathered, ScatterError> {
        let failed = |what, why: String| ScatterError::Failed { what, why };
        let began = Instant::now();
        let deadline = began + self.patience;
        let clock = ServerClock::read(self.bus, self.prefix).await;
        let request = &until(request.clone(), clock, deadline);
        // JSON, so that `nats sub` shows what operators do.
        let body = Encoding::Json.encode(request);
        let body = body.map_err(|error| failed("write the request", error.to_string()))?;
        let body = Bytes::from(body);
        let inbox = self.bus.inbox();
        let answers = self.bus.listen(inbox.clone()).await;
        let mut answers = answers.map_err(|error| failed("subscribe an inbox", error))?;
        let ask_all = || self.ask(self.prefix.command_of_all(self.verb.name()), &inbox, &body);
        let names: BTreeSet<_> = expected.iter().flatten().map(|(name, _)| name.clone()).collect();
        let mut gather = Gather::new(expected);
        let (mut again_at, mut strangers) = (began + self.patience / PARTS, 0);
        let of_all = self.prefix.command_of_all(self.verb.name());
        let mut denied = self.bus.denied(&of_all);
        ask_all().await?;
        while !gather.is_complete() {
            let message = tokio::select! {
                biased;
                message = answers.next() => message,
                denial = &mut denied => return Err(ScatterError::Denied(denial)),
                () = sleep_until(deadline) => break,
                () = sleep_until(again_at) => {
                    again_at += patience_of_one(self.patience);
                    if names.is_empty() {
                        // Whom to ask by name is not known.
                        ask_all().await?;
                    }
                    let missing: Vec<_> = gather.missing().cloned().collect();
                    for worker in missing {
                        let subject = self.prefix.command(&worker, self.verb.name());
                        self.ask(subject, &inbox, &body).await?;
                    }
                    continue;
                }
            };
            let Some(message) = message else { break };
            // Nobody listens there.
            let Some(body) = message.body else { continue };
            let (from, answer) = read(&message.subject, &body);
            let Some(doubted) = gather.take(from, answer) else { continue };
            let is_stranger = !names.contains(&doubted);
            strangers += usize::from(is_stranger);
            let holder = if is_stranger && strangers > MAX_STRANGERS {
                Ok(None)
            } else {
                let asking = self.bus.holder(self.prefix, &doubted);
                let silent = |_| Err("the leases cannot be read".into());
                timeout(self.patience / PARTS, asking).await.unwrap_or_else(silent)
            };
            gather.owned_by(&doubted, holder);
        }
        Ok(gather.finish())
    }

    async fn ask(&self, subject: String, inbox: &str, body: &Bytes) -> Result<(), ScatterError> {
        let sending = self.bus.send(subject, inbox.to_owned(), body.clone());
        match timeout(self.patience, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(ScatterError::Failed { what: "send the request", why }),
            Err(_) => Err(ScatterError::NotSentInTime),
        }
    }
}

// What was answered, and who says to have done that.
fn read(subject: &str, answer: &[u8]) -> (Option<(WorkerName, Id)>, Answer) {
    #[derive(Deserialize)]
    struct From {
        worker: Option<String>,
        instance_id: Option<Id>,
    }
    let from = decode::<From>(answer)
        .ok()
        .and_then(|From { worker, instance_id }| Some((worker?.parse().ok()?, instance_id?)));
    let answer = match answer_in(subject, answer) {
        Ok(reply) => Answer::Reply(reply),
        Err(CallError::Refused(body)) => Answer::Refused(body),
        Err(_) => Answer::Unreadable,
    };
    (from, answer)
}
