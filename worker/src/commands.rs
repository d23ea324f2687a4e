//! A worker's commands, whatever brings them: requests in, answers out. For one thread its owner
//! decides; for many, the threads that fit are written down under the request's id before the first
//! of them acts, and each owner asks again. [`serve`]: taking them as they come.
//!
//! ```text
//!  request --too large, unreadable, no such thread--> refused
//!     |
//!     +--> the lease, confirmed or waited for --> one thread --> its mailbox --> its answer
//!                                             +--> many: those that fit, kept under the id
//!                                                    --> each mailbox --> a line for each
//! ```
//! What always holds:
//! - A payload comes from anybody: it is bounded and read strictly before anything else is done.
//! - An answer waits for what it says to be durable, and never for a stage.
//! - A request id that was answered is answered the same again, also after a crash.
//! - A worker that none of a selector's threads fits says nothing.
//!
//! Tests: the scenarios `commands::requests`, `once::*`, `bulk::*`, and the simulation.

pub mod serve;

use std::{sync::Arc, time::Duration};

use damocles_client::server_clock::ServerClock;
use futures::future::join_all;
use serde::de::DeserializeOwned;
use shared_msgs::{
    codec::{Encoding, Texts, decode_request},
    command::{BulkReply, CommandReply, CommandRequest, ThreadResult, Verb, verb},
    error::{ErrorKind, ErrorReply},
    selector::{Selection, Selector},
    text::cut_text,
};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout},
};

use crate::{
    failpoint,
    identity::Worker,
    lease::LeaseState,
    store::{
        own::OwnStore,
        results::{Asked, StoredBulk},
    },
    thread::mailbox::{Command, Commanded},
};

// A command is a few hundred bytes.
const MAX_REQUEST_BYTES: usize = 64 << 10;
const MAX_TEXT_BYTES: usize = 1 << 10;
// A lease that has run out is confirmed within a few milliseconds of a reconnect; so long a command
// waits for that.
const CONFIRMATION: Duration = Duration::from_secs(1);

/// Requests in, answers out: what is asked of the worker's threads.
pub struct Commands {
    /// Its threads carry the commands out.
    pub worker: Arc<Worker>,
    /// Where commands for many threads are written down.
    pub store: Arc<OwnStore>,
    /// Whether commands may be carried out.
    pub lease: watch::Receiver<LeaseState>,
    /// The server's clock, by which a command says until when it is waited for.
    pub server_clock: watch::Receiver<Option<ServerClock>>,
}

/// An answer as it is sent.
pub struct Answer {
    /// Its bytes, in the request's encoding.
    pub body: Vec<u8>,
    /// Why the request was refused.
    pub refusal: Option<ErrorKind>,
}

impl Commands {
    /// Answers one request that is for this worker, in at most so many bytes.
    pub async fn answer(&self, verb: &str, payload: &[u8], max_bytes: usize) -> Answer {
        failpoint::reach("answer", verb);
        let form = Form::of(payload, max_bytes);
        let answered = match Verb::named(verb) {
            Some(verb) => self.command(verb, payload, form).await,
            None if verb == verb::LIST => form.write(&self.worker.snapshot()),
            None => Err(ErrorKind::bad_request(format!("a worker has no verb {verb:?}"))),
        };
        self.answer_of(form, answered)
    }

    /// Answers one request that every worker hears, in at most so many bytes; `None` when it is for
    /// others.
    pub async fn answer_all(&self, verb: &str, payload: &[u8], max_bytes: usize) -> Option<Answer> {
        let form = Form::of(payload, max_bytes);
        let verb = Verb::named(verb)?;
        let answered = match read_bulk(verb, payload) {
            Ok((_, selection)) if !selection.fits_worker(self.worker.name.as_str()) => return None,
            Ok((request, selection)) => {
                self.bulk(verb, request, selection).await.and_then(|reply| form.write(&reply))
            }
            Err(refusal) => Err(refusal),
        };
        Some(self.answer_of(form, answered))
    }

    fn answer_of(&self, form: Form, answered: Result<Vec<u8>, ErrorKind>) -> Answer {
        match answered {
            Ok(body) => Answer { body, refusal: None },
            Err(refusal) => self.refused(form, refusal),
        }
    }

    /// The answer that a request is refused.
    pub fn refused(&self, form: Form, refusal: ErrorKind) -> Answer {
        let reply = ErrorReply {
            worker: Some(self.worker.name.to_string()),
            instance_id: Some(self.worker.instance_id),
            ..ErrorReply::from(refusal.clone())
        };
        // A refusal holds texts and numbers only, and the texts can be cut: it can be written.
        Answer { body: form.write(&reply).unwrap_or_default(), refusal: Some(refusal) }
    }

    async fn command(&self, verb: Verb, payload: &[u8], form: Form) -> Result<Vec<u8>, ErrorKind> {
        let request = read_request(verb, payload)?;
        let own = self.worker.name.as_str();
        if let Some(other) = request.worker.as_deref().filter(|worker| *worker != own) {
            return Err(ErrorKind::bad_request(format!(
                "it is for worker {other:?}, and this one is {own:?}: managers give commands on, on api.{}",
                verb.name()
            )));
        }
        if let Some(index) = request.index {
            let threads = self.worker.threads.len() as u32;
            let thread = self
                .worker
                .threads
                .get(index as usize)
                .ok_or(ErrorKind::ThreadNotFound { index, threads })?;
            let epoch = self.confirmed(&request).await?;
            return tell(&**thread, verb, request, None, epoch)
                .await
                .and_then(|reply| form.write(&reply));
        }
        let (request, selection) = with_selection(request)?;
        self.bulk(verb, request, selection).await.and_then(|reply| form.write(&reply))
    }

    async fn bulk(
        &self,
        verb: Verb,
        request: CommandRequest,
        selection: Selection,
    ) -> Result<BulkReply, ErrorKind> {
        let epoch = self.confirmed(&request).await?;
        let fits = |thread: &Arc<dyn Commanded>| {
            let shown = thread.snapshot();
            selection.fits(&shown).then_some(shown.index)
        };
        let fits_worker = selection.fits_worker(self.worker.name.as_str());
        let mut threads: Vec<u32> =
            self.worker.threads.iter().filter(|_| fits_worker).filter_map(fits).collect();
        if let (Some(request_id), false) = (request.request_id, request.dry_run) {
            let asked = Asked::new(verb, &request);
            let kept = self
                .store
                .keep_bulk(request_id, StoredBulk { asked: asked.clone(), threads })
                .await;
            let kept = kept.map_err(ErrorKind::internal)?;
            if kept.asked != asked {
                return Err(ErrorKind::RequestIdReused { request_id });
            }
            threads = kept.threads;
        }
        let selection = Arc::new(selection);
        let handles = threads.iter().filter_map(|index| self.worker.threads.get(*index as usize));
        let asking = handles.map(async |thread| {
            let shown = thread.snapshot();
            let told = tell(&**thread, verb, request.clone(), Some(selection.clone()), epoch).await;
            result(shown.index, shown.sector_id, told)
        });
        Ok(BulkReply {
            worker: self.worker.name.to_string(),
            instance_id: self.worker.instance_id,
            dry_run: request.dry_run,
            threads: join_all(asking).await,
        })
    }

    // The epoch under which a command is heard, once that is confirmed. One that was held up while
    // another process held the lease is for nobody any more, even if it comes back. The owner
    // of each thread looks again when it acts.
    async fn confirmed(&self, request: &CommandRequest) -> Result<Option<u64>, ErrorKind> {
        let patience = patience(request.until_ms, *self.server_clock.borrow(), Instant::now());
        let mut lease = self.lease.clone();
        let heard_under = *lease.borrow();
        let same = |lease: &LeaseState| lease.is_holder() && lease.epoch() == heard_under.epoch();
        let settled = timeout(
            patience,
            lease.wait_for(|lease| !same(lease) || lease.may_act(Instant::now())),
        )
        .await;
        match settled {
            Ok(Ok(lease)) if same(&lease) => Ok(heard_under.epoch()),
            _ => Err(ErrorKind::LeaseUnconfirmed),
        }
    }
}

// How long a command waits for the lease to be confirmed: whoever gave it has to hear that it was
// not, before he gives the command up.
fn patience(until_ms: Option<i64>, clock: Option<ServerClock>, now: Instant) -> Duration {
    let left = until_ms.zip(clock).map(|(until_ms, clock)| {
        let left_ms = until_ms.saturating_sub(clock.at_most(now));
        Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
    });
    left.map_or(CONFIRMATION, |left| CONFIRMATION.min(left / 2))
}

/// How an answer is written: as the request was, and no larger than a message may be.
#[derive(Clone, Copy)]
pub struct Form {
    encoding: Encoding,
    max_bytes: usize,
}

impl Form {
    /// The form of the answer to a request, of at most so many bytes.
    pub fn of(request: &[u8], max_bytes: usize) -> Form {
        Form { encoding: Encoding::of(request).unwrap_or(Encoding::Json), max_bytes }
    }

    fn write<T: Texts>(self, message: &T) -> Result<Vec<u8>, ErrorKind> {
        Ok(self.encoding.encode_within(message, self.max_bytes)?)
    }
}

fn result(
    index: u32,
    sector_id: Option<String>,
    told: Result<CommandReply, ErrorKind>,
) -> ThreadResult {
    match told {
        Ok(CommandReply { index, sector_id, revision, outcome, .. }) => ThreadResult {
            index,
            sector_id,
            revision: Some(revision),
            outcome: Some(outcome),
            error: None,
        },
        Err(refusal) => ThreadResult {
            index,
            sector_id,
            error: Some(refusal.into()),
            ..ThreadResult::default()
        },
    }
}

fn read_request(verb: Verb, payload: &[u8]) -> Result<CommandRequest, ErrorKind> {
    let mut request: CommandRequest = read(payload)?;
    request.check(verb)?;
    for text in [&mut request.by, &mut request.reason] {
        *text = text.take().map(|text| cut_text(&text, MAX_TEXT_BYTES));
    }
    Ok(request)
}

fn read_bulk(verb: Verb, payload: &[u8]) -> Result<(CommandRequest, Selection), ErrorKind> {
    with_selection(read_request(verb, payload)?)
}

fn with_selection(request: CommandRequest) -> Result<(CommandRequest, Selection), ErrorKind> {
    let selector = request
        .selector
        .as_ref()
        .ok_or_else(|| ErrorKind::bad_request("a command to every worker needs a selector"));
    let selection = selector
        .and_then(|selector: &Selector| selector.compile().map_err(ErrorKind::bad_request))?;
    Ok((request, selection))
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ErrorKind> {
    if payload.len() > MAX_REQUEST_BYTES {
        return Err(ErrorKind::bad_request(format!(
            "{} bytes; a command has at most {MAX_REQUEST_BYTES}",
            payload.len()
        )));
    }
    decode_request(payload).map_err(ErrorKind::bad_request)
}

async fn tell(
    thread: &dyn Commanded,
    verb: Verb,
    request: CommandRequest,
    selection: Option<Arc<Selection>>,
    epoch: Option<u64>,
) -> Result<CommandReply, ErrorKind> {
    let (reply, answer) = oneshot::channel();
    let command = Command { verb, request, selection, epoch, reply };
    if !thread.give(command).await {
        let why = ended(thread).await.unwrap_or_else(|| "the worker is stopping".into());
        return Err(ErrorKind::internal(format!("{why}: nothing was done")));
    }
    match answer.await {
        Ok(answer) => answer,
        Err(_) => match ended(thread).await {
            Some(why) => {
                Err(ErrorKind::internal(format!("{why}: nobody knows how far the command came")))
            }
            // The process ends, and nobody knows how far the command came: silence says so. A
            // repeat after the next start is answered with what was done.
            None => std::future::pending().await,
        },
    }
}

// Why a thread that takes no commands has ended; `None` if it has stopped with the worker.
async fn ended(thread: &dyn Commanded) -> Option<String> {
    let why = thread.ended().await?;
    Some(format!("thread #{}: {why}", thread.snapshot().index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_comes_while_somebody_waits_for_it() {
        let now = Instant::now();
        let clock = Some(ServerClock::new(now, now, 10_000));
        let waits = |until_ms, clock| patience(until_ms, clock, now).as_millis();
        assert_eq!(waits(Some(10_800), clock), 400);
        assert_eq!(waits(Some(15_000), clock), 1_000);
        assert_eq!(waits(Some(9_000), clock), 0, "nobody waits any more");
        assert_eq!((waits(None, clock), waits(Some(10_800), None)), (1_000, 1_000));
    }
}
