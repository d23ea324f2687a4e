//! A worker's commands, whatever brings them: requests in, answers out. For one thread its owner decides; for many, the
//! threads that fit are written down under the request's id before the first of them acts, and each owner asks again.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use serde::{Serialize, de::DeserializeOwned};
use shared_msgs::{
    codec::{Encoding, decode},
    command::{BulkReply, CommandReply, CommandRequest, ThreadResult, Verb, verb},
    error::{ErrorKind, ErrorReply},
    selector::{Selection, Selector},
    snapshot::cut_text,
};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout},
};

use crate::{
    identity::Worker,
    store::{
        own::OwnStore,
        results::{Asked, StoredBulk},
    },
    tenure::Tenure,
    thread::owner::{Command, Message, ThreadHandle},
};

// A command is a few hundred bytes.
const MAX_REQUEST_BYTES: usize = 64 << 10;
const MAX_TEXT_BYTES: usize = 1 << 10;
// After a reconnect the lease is confirmed within a few milliseconds; so long a command waits for that.
const CONFIRMATION: Duration = Duration::from_secs(1);

/// A worker's commands.
pub struct Commands {
    /// The worker.
    pub worker: Arc<Worker>,
    /// Where commands for many threads are written down.
    pub store: Arc<OwnStore>,
    /// Whether commands may be carried out.
    pub tenure: watch::Receiver<Tenure>,
}

/// An answer as it is sent.
pub struct Answer {
    /// Its bytes, in the request's encoding.
    pub body: Vec<u8>,
    /// Why the request was refused.
    pub refusal: Option<ErrorKind>,
}

impl Commands {
    /// Answers one request that is for this worker.
    pub async fn answer(&self, verb: &str, payload: &[u8]) -> Answer {
        let encoding = Encoding::of(payload).unwrap_or(Encoding::Json);
        let answered = match Verb::named(verb) {
            Some(verb) => self.command(verb, payload, encoding).await,
            None if verb == verb::LIST => encode(encoding, &self.worker.snapshot()),
            None => Err(ErrorKind::bad_request(format!("a worker has no verb {verb:?}"))),
        };
        Answer::new(encoding, answered)
    }

    /// Answers one request that every worker hears; `None` when it is for others.
    pub async fn answer_all(&self, verb: &str, payload: &[u8]) -> Option<Answer> {
        let encoding = Encoding::of(payload).unwrap_or(Encoding::Json);
        let verb = Verb::named(verb)?;
        let answered = match read_bulk(verb, payload) {
            Ok((_, selection)) if !selection.fits_worker(self.worker.name.as_str()) => return None,
            Ok((request, selection)) => self.bulk(verb, request, selection).await.and_then(|reply| encode(encoding, &reply)),
            Err(refusal) => Err(refusal),
        };
        Some(Answer::new(encoding, answered))
    }

    async fn command(&self, verb: Verb, payload: &[u8], encoding: Encoding) -> Result<Vec<u8>, ErrorKind> {
        let request = read_request(verb, payload)?;
        if let Some(index) = request.index {
            let threads = self.worker.threads.len() as u32;
            let thread = self.worker.threads.get(index as usize).ok_or(ErrorKind::ThreadNotFound { index, threads })?;
            let epoch = self.confirmed().await?;
            return tell(thread, verb, request, None, epoch).await.and_then(|reply| encode(encoding, &reply));
        }
        let (request, selection) = with_selection(request)?;
        self.bulk(verb, request, selection).await.and_then(|reply| encode(encoding, &reply))
    }

    async fn bulk(&self, verb: Verb, request: CommandRequest, selection: Selection) -> Result<BulkReply, ErrorKind> {
        let epoch = self.confirmed().await?;
        let fits = |thread: &ThreadHandle| {
            let shown = thread.view.borrow().snapshot();
            selection.fits(&shown).then_some(shown.index)
        };
        let fits_worker = selection.fits_worker(self.worker.name.as_str());
        let mut threads: Vec<u32> = self.worker.threads.iter().filter(|_| fits_worker).filter_map(fits).collect();
        if let (Some(request_id), false) = (request.request_id, request.dry_run) {
            let asked = Asked::new(verb, &request);
            let kept = self.store.keep_bulk(request_id, StoredBulk { asked: asked.clone(), threads }).await;
            let kept = kept.map_err(ErrorKind::internal)?;
            if kept.asked != asked {
                return Err(ErrorKind::RequestIdReused { request_id });
            }
            threads = kept.threads;
        }
        let selection = Arc::new(selection);
        let handles = threads.iter().filter_map(|index| self.worker.threads.get(*index as usize));
        let asking = handles.map(async |thread| {
            let shown = thread.view.borrow().snapshot();
            let told = tell(thread, verb, request.clone(), Some(selection.clone()), epoch).await;
            result(shown.index, shown.sector_id, told)
        });
        Ok(BulkReply {
            worker: self.worker.name.to_string(),
            instance_id: self.worker.instance_id,
            dry_run: request.dry_run,
            threads: join_all(asking).await,
        })
    }

    // The epoch under which a command is heard, once that is confirmed. One that was held up while another process had the
    // name is for nobody any more, even if the name comes back. The owner of each thread looks again when it acts.
    async fn confirmed(&self) -> Result<Option<u64>, ErrorKind> {
        let mut tenure = self.tenure.clone();
        let heard_under = *tenure.borrow();
        let same = |tenure: &Tenure| tenure.has_name() && tenure.epoch() == heard_under.epoch();
        let settled = timeout(CONFIRMATION, tenure.wait_for(|tenure| !same(tenure) || tenure.may_act(Instant::now()))).await;
        match settled {
            Ok(Ok(tenure)) if same(&tenure) => Ok(heard_under.epoch()),
            _ => Err(ErrorKind::LeaseUnconfirmed),
        }
    }
}

impl Answer {
    fn new(encoding: Encoding, answered: Result<Vec<u8>, ErrorKind>) -> Answer {
        match answered {
            Ok(body) => Answer { body, refusal: None },
            // A refusal holds texts and numbers only: it can be written.
            Err(refusal) => {
                Answer { body: encoding.encode(&ErrorReply::from(refusal.clone())).unwrap_or_default(), refusal: Some(refusal) }
            }
        }
    }
}

fn result(index: u32, sector_id: Option<String>, told: Result<CommandReply, ErrorKind>) -> ThreadResult {
    match told {
        Ok(CommandReply { index, sector_id, revision, outcome }) => {
            ThreadResult { index, sector_id, revision: Some(revision), outcome: Some(outcome), error: None }
        }
        Err(refusal) => ThreadResult { index, sector_id, error: Some(refusal.into()), ..ThreadResult::default() },
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
    let selector = request.selector.as_ref().ok_or_else(|| ErrorKind::bad_request("a command to every worker needs a selector"));
    let selection = selector.and_then(|selector: &Selector| selector.compile().map_err(ErrorKind::bad_request))?;
    Ok((request, selection))
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ErrorKind> {
    if payload.len() > MAX_REQUEST_BYTES {
        return Err(ErrorKind::bad_request(format!("{} bytes; a command has at most {MAX_REQUEST_BYTES}", payload.len())));
    }
    decode(payload).map_err(ErrorKind::bad_request)
}

async fn tell(
    thread: &ThreadHandle,
    verb: Verb,
    request: CommandRequest,
    selection: Option<Arc<Selection>>,
    epoch: Option<u64>,
) -> Result<CommandReply, ErrorKind> {
    let (reply, answer) = oneshot::channel();
    let stopping = || ErrorKind::internal("the worker is stopping: nothing was done");
    let command = Command { verb, request, selection, epoch, reply };
    thread.mailbox.send(Message::Command(Box::new(command))).await.map_err(|_| stopping())?;
    match answer.await {
        Ok(answer) => answer,
        // The process ends, and nobody knows how far the command came: silence says so. A repeat after the next start is
        // answered with what was done.
        Err(_) => std::future::pending().await,
    }
}

fn encode<T: Serialize>(encoding: Encoding, message: &T) -> Result<Vec<u8>, ErrorKind> {
    encoding.encode(message).map_err(ErrorKind::internal)
}
