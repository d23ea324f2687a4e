//! The relay: answers `sector_manager.*.*` by a damocles sector manager that already runs.
//!
//! ```text
//!  a worker's request ──▶ [`joined`] one call for all repeats ──▶ [`memory`] asked before? what came of it?
//!                                                             ──▶ [`mapping`] ──▶ Venus.* ──▶ the same way back
//!  a call that nobody knows the end of ──▶ [`doubt`]
//! ```
//! A worker asks again after a few seconds, with the same request id, for as long as it takes; a
//! sector manager takes minutes, and does again what it is asked again.
//!
//! What always holds:
//! - A request that uses something up is written down before it is asked, and is not asked again
//!   while it may have been carried out.
//! - A result that was had is given to every repeat, by whichever relay is asked. That there was
//!   nothing is never remembered.
//! - No sector is given to two requests.
//! - A sector manager that does not answer is silence, and no failure of the worker's.
//!
//! Tests: the files' own, and the scenarios `damocles::relay`. Decision 048 in `docs/decisions`.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, SubscribeError, client::RequestErrorKind};
use bytes::Bytes;
use damocles_client::backoff::Backoff;
use damocles_daemon::answering;
use damocles_wire::{
    address::Address,
    json_rpc::{CallError, JsonRpc, METHOD_NOT_FOUND, NoClient, SECTOR_STATE_NOT_FOUND},
    sector_manager::{self as venus, Method},
};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::Value;
use shared_msgs::{
    codec::{Encoding, decode_request},
    error::ErrorKind,
    id::Id,
    name::WorkerName,
    sector_manager::*,
    subject::Prefix,
    text::printable,
};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::bus::kv::{Bucket, Created, Stored};

mod doubt;
mod joined;
mod mapping;
mod memory;
mod performed;
mod version;

use joined::{Joined, Outcome};
use mapping::{Mapped, Repeat};
use memory::{Call, Given, Memory, State};
pub(crate) use version::TooOld;

/// Requests in hand at once: most of them wait for a sector manager that takes its time, and are
/// asked again meanwhile.
pub(crate) const PLACES: usize = 4_096;

const REACH_AGAIN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
// For another relay to say that it runs.
const ALIVE_WITHIN: Duration = Duration::from_secs(1);

/// Nobody waits for an answer for longer: a worker has asked again by then.
const WAITED_FOR: Duration = Duration::from_secs(20);

/// Which sector manager is asked, and how.
#[derive(Clone, Debug)]
pub(crate) struct RelayTo {
    /// Where it is.
    pub(crate) address: Address,
    /// After how long a sector that was allocated for a request whose answer was lost, and of which
    /// nobody has reported a state, is given to that request.
    pub(crate) adopt_after: Duration,
}

/// Why a worker gets no reply.
#[derive(Clone, Debug, PartialEq)]
enum Trouble {
    /// It is told why; nothing was done.
    Refused(ErrorKind),
    /// It is told nothing and asks again; nothing was done.
    Unheard(String),
    /// It is told nothing and asks again; nobody knows what was done.
    InDoubt(String),
}

impl From<ErrorKind> for Trouble {
    fn from(kind: ErrorKind) -> Trouble {
        Trouble::Refused(kind)
    }
}

/// Answers workers by a damocles sector manager.
pub(crate) struct Relay {
    shared: Arc<Shared>,
    joined: Joined,
}

struct Shared {
    // Of this process: what it asks is nobody else's to ask meanwhile.
    id: Id,
    client: Client,
    rpc: JsonRpc,
    to: RelayTo,
    prefix: Prefix,
    memory: Memory,
}

// A request, and whose it is.
#[derive(Clone)]
struct Asked<Q> {
    worker: WorkerName,
    request: Q,
}

impl Relay {
    pub(crate) fn new(client: Client, prefix: Prefix, to: RelayTo) -> Result<Relay, NoClient> {
        let rpc = JsonRpc::new(to.address.url(venus::PATH), venus::NAMESPACE)?;
        let memory = Memory::new(client.clone(), prefix.clone());
        let shared = Arc::new(Shared { id: Id::generate(), client, rpc, to, prefix, memory });
        Ok(Relay { shared, joined: Joined::default() })
    }

    /// Waits until the sector manager has said that this relay can speak to it.
    pub(crate) async fn reached(&self) -> Result<(), TooOld> {
        let mut backoff = REACH_AGAIN;
        let mut before = None;
        loop {
            let why = match self.shared.venus::<venus::Version>(&[]).await {
                Ok(version) => {
                    info!(sector_manager = %self.shared.to.address, version = printable(&version), "reached");
                    return version::check(&version);
                }
                Err(error) if error.code() == Some(METHOD_NOT_FOUND) => {
                    return version::check("older than v0.7");
                }
                Err(error) => error.to_string(),
            };
            if before.as_ref() != Some(&why) {
                warn!(sector_manager = %self.shared.to.address, why, "the sector manager is not reached: workers wait for it");
                before = Some(why);
            }
            sleep(backoff.pause()).await;
        }
    }

    /// Answers other relays for as long as this one runs.
    pub(crate) async fn stay_known(&self) -> Result<(), SubscribeError> {
        let Shared { client, prefix, id, .. } = &*self.shared;
        let mut asked = client.subscribe(prefix.relay(*id)).await?;
        while let Some(message) = asked.next().await {
            let Some(inbox) = answering::inbox(&message) else { continue };
            if let Err(error) = answering::send(client, inbox, Bytes::new(), None).await {
                debug!(%error, "could not answer another relay");
            }
        }
        Ok(())
    }

    /// Answers one request of the worker that the subject names; `None` is silence.
    pub(crate) async fn handle_worker(
        &self,
        subject: &str,
        body: Bytes,
    ) -> Result<Vec<u8>, Option<ErrorKind>> {
        let (worker, method) = self
            .shared
            .prefix
            .asked_of_sector_manager(subject)
            .ok_or_else(|| ErrorKind::bad_request(format!("{subject:?} names no worker")))?;
        let answering = self.answer(worker, method, &body);
        timeout(WAITED_FOR, answering).await.unwrap_or(Err(None))
    }

    async fn answer(
        &self,
        worker: WorkerName,
        method: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, Option<ErrorKind>> {
        match method {
            AllocateSector::METHOD => self.relay::<AllocateSector>(worker, body).await,
            AcquireDeals::METHOD => self.relay::<AcquireDeals>(worker, body).await,
            AssignTicket::METHOD => self.relay::<AssignTicket>(worker, body).await,
            SubmitPreCommit::METHOD => self.relay::<SubmitPreCommit>(worker, body).await,
            PollPreCommitState::METHOD => self.relay::<PollPreCommitState>(worker, body).await,
            SubmitPersisted::METHOD => self.relay::<SubmitPersisted>(worker, body).await,
            WaitSeed::METHOD => self.relay::<WaitSeed>(worker, body).await,
            SubmitProof::METHOD => self.relay::<SubmitProof>(worker, body).await,
            PollProofState::METHOD => self.relay::<PollProofState>(worker, body).await,
            ReportState::METHOD => self.relay::<ReportState>(worker, body).await,
            ReportFinalized::METHOD => self.relay::<ReportFinalized>(worker, body).await,
            ReportAborted::METHOD => self.relay::<ReportAborted>(worker, body).await,
            AllocateSnapupSector::METHOD => self.relay::<AllocateSnapupSector>(worker, body).await,
            SubmitSnapupProof::METHOD => self.relay::<SubmitSnapupProof>(worker, body).await,
            AllocateRebuildSector::METHOD => {
                self.relay::<AllocateRebuildSector>(worker, body).await
            }
            AllocateUnsealSector::METHOD => self.relay::<AllocateUnsealSector>(worker, body).await,
            AchieveUnsealSector::METHOD => self.relay::<AchieveUnsealSector>(worker, body).await,
            AcquireUnsealDest::METHOD => self.relay::<AcquireUnsealDest>(worker, body).await,
            AllocateWdpostJob::METHOD => self.relay::<AllocateWdpostJob>(worker, body).await,
            WdpostHeartbeat::METHOD => self.relay::<WdpostHeartbeat>(worker, body).await,
            WdpostFinish::METHOD => self.relay::<WdpostFinish>(worker, body).await,
            StoreReserveSpace::METHOD => self.relay::<StoreReserveSpace>(worker, body).await,
            GetStoreBasicInfo::METHOD => self.relay::<GetStoreBasicInfo>(worker, body).await,
            unknown => Err(Some(ErrorKind::bad_request(format!(
                "a sector manager has no method {unknown:?}"
            )))),
        }
    }

    async fn relay<Q: Performed>(
        &self,
        worker: WorkerName,
        body: &[u8],
    ) -> Result<Vec<u8>, Option<ErrorKind>> {
        let encoding = Encoding::of(body).map_err(ErrorKind::bad_request)?;
        let request: Q = decode_request(body).map_err(ErrorKind::bad_request)?;
        if request.worker().is_some_and(|named| named != worker.as_str()) {
            let detail = format!("worker {worker} asks as another one");
            return Err(Some(ErrorKind::bad_request(detail)));
        }
        let key = match request.request_id() {
            Some(id) => format!("{worker} {} {id}", Q::METHOD),
            None => {
                let content = serde_json::to_string(&request).map_err(ErrorKind::internal)?;
                format!("{worker} {} {content}", Q::METHOD)
            }
        };
        let (shared, asked) = (self.shared.clone(), Asked { worker, request });
        let outcome = self.joined.call(key, async move { shared.reply_to(asked).await }).await;
        let reply = match outcome {
            Ok(reply) => reply,
            Err(Trouble::Refused(kind)) => return Err(Some(kind)),
            Err(Trouble::Unheard(why) | Trouble::InDoubt(why)) => {
                debug!(method = Q::METHOD, why, "no answer for the worker");
                return Err(None);
            }
        };
        let result = Q::Reply::deserialize(&*reply).map_err(ErrorKind::internal)?;
        Ok(encoding.encode(&SectorManagerReply { result }).map_err(ErrorKind::internal)?)
    }
}

/// What is done at the sector manager for a request: one call, unless it says otherwise.
trait Performed: Mapped {
    fn perform(
        &self,
        shared: &Shared,
        worker: &WorkerName,
    ) -> impl Future<Output = Result<Self::Reply, Trouble>> + Send {
        shared.call(self, worker)
    }

    /// Finds out what became of a request whose answer was lost. Of most nothing can be found out.
    fn look_for_answer(
        &self,
        _: &Shared,
        _: &WorkerName,
        _: &Stored<Call>,
    ) -> impl Future<Output = Result<Found<Self::Reply>, Trouble>> + Send {
        async {
            warn!(
                method = Self::METHOD,
                "the answer to a request was lost, and it is asked again: what the sector manager may have handed out for it is nobody's, see `damocles-manager util sealer sectors list`"
            );
            Ok(Found::Nothing)
        }
    }
}

/// What became of a request whose answer was lost.
enum Found<R> {
    /// Nothing did: it can be asked again.
    Nothing,
    /// This.
    Reply(R),
    /// It is not known yet; one of these may be the answer.
    Candidates(Vec<SectorId>),
}

impl Shared {
    async fn reply_to<Q: Performed>(self: Arc<Self>, asked: Asked<Q>) -> Outcome {
        let reply = match (asked.request.request_id(), asked.request.repeat()) {
            (None, _) => asked.request.perform(&self, &asked.worker).await?,
            (Some(id), Repeat::Freely) => self.freely(id, &asked).await?,
            (Some(id), Repeat::Never) => self.once(id, &asked).await?,
        };
        Ok(Arc::new(serde_json::to_value(reply).map_err(ErrorKind::internal)?))
    }

    // May be called again; what it yielded before is given again all the same.
    async fn freely<Q: Performed>(&self, id: Id, asked: &Asked<Q>) -> Result<Q::Reply, Trouble> {
        let (calls, key) = (self.memory.calls().await.map_err(unheard)?, key::<Q>(id));
        if let Some(stored) = calls.read::<Call>(&key).await.map_err(unheard)?
            && let State::Answered { reply } = &stored.value.state
        {
            return asked.read(&stored.value, reply);
        }
        let reply = asked.request.perform(self, &asked.worker).await?;
        if !Q::is_nothing(&reply) {
            // Without it another relay would call again, which does no harm.
            if let Err(error) = calls.create(&key, &asked.answered(&reply)?).await {
                debug!(%error, method = Q::METHOD, "a result is not kept");
            }
        }
        Ok(reply)
    }

    // Written down before it is asked, and taken back where nothing was done.
    async fn once<Q: Performed>(&self, id: Id, asked: &Asked<Q>) -> Result<Q::Reply, Trouble> {
        let (calls, key) = (self.memory.calls().await.map_err(unheard)?, key::<Q>(id));
        let state = State::Asked { relay: self.id };
        let ours = Call { worker: asked.worker.to_string(), state };
        let before = match calls.create(&key, &ours).await.map_err(unheard)? {
            Created::New(revision) => return self.ask_once(&calls, id, asked, revision).await,
            Created::Exists(before) => before,
        };
        match &before.value.state {
            State::Answered { reply } => return asked.read(&before.value, reply),
            State::Asked { relay } if *relay != self.id && self.runs(*relay).await => {
                return Err(Trouble::Unheard("another relay is asking".into()));
            }
            State::Asked { .. } | State::Doubtful { .. } => {}
        }
        // Whoever writes down first what was found goes on with it.
        let revision = before.revision;
        match asked.request.look_for_answer(self, &asked.worker, &before).await? {
            Found::Reply(reply) => {
                calls.replace(&key, &asked.answered(&reply)?, revision).await.map_err(unheard)?;
                Ok(reply)
            }
            Found::Candidates(candidates) => {
                let doubtful = Call { state: State::Doubtful { candidates }, ..before.value };
                calls.replace(&key, &doubtful, revision).await.map_err(unheard)?;
                Err(Trouble::InDoubt("the answer to an earlier question is looked for".into()))
            }
            Found::Nothing => {
                let replaced = calls.replace_at(&key, &ours, revision).await.map_err(unheard)?;
                let Some(revision) = replaced else {
                    return Err(Trouble::Unheard("another relay is asking".into()));
                };
                let request = asked.request.asked_in_doubt();
                let in_doubt = Asked { worker: asked.worker.clone(), request };
                self.ask_once(&calls, id, &in_doubt, revision).await
            }
        }
    }

    async fn ask_once<Q: Performed>(
        &self,
        calls: &Bucket,
        id: Id,
        asked: &Asked<Q>,
        revision: u64,
    ) -> Result<Q::Reply, Trouble> {
        let key = key::<Q>(id);
        let performed = asked.request.perform(self, &asked.worker).await;
        let reply = match performed {
            Ok(reply) if !Q::is_nothing(&reply) => reply,
            Err(Trouble::InDoubt(why)) => {
                warn!(method = Q::METHOD, worker = %asked.worker, why, "nobody knows whether the sector manager has done what it was asked");
                return Err(Trouble::InDoubt(why));
            }
            did_nothing => {
                if let Err(error) = calls.remove(&key, revision).await {
                    warn!(%error, method = Q::METHOD, "a request that did nothing stays written down as asked");
                }
                return did_nothing;
            }
        };
        if let Some(sector) = Q::given(&reply) {
            let given = Given { worker: asked.worker.to_string(), request_id: id };
            if !self.memory.give(sector, &given).await.map_err(in_doubt)? {
                return Err(Trouble::InDoubt(format!("{sector} was given to another request")));
            }
            info!(%sector, worker = %asked.worker, method = Q::METHOD, "given");
        }
        calls.replace(&key, &asked.answered(&reply)?, revision).await.map_err(in_doubt)?;
        Ok(reply)
    }

    // One that cannot be heard may ask still: what it gets is found all the same.
    async fn runs(&self, relay: Id) -> bool {
        let asked = self.client.request(self.prefix.relay(relay), Bytes::new());
        match timeout(ALIVE_WITHIN, asked).await {
            Ok(Err(error)) => error.kind() != RequestErrorKind::NoResponders,
            Ok(Ok(_)) | Err(_) => true,
        }
    }

    /// One call for a request. A sector that is not open any more has ended, or was never known.
    async fn call<Q: Mapped>(&self, request: &Q, worker: &WorkerName) -> Result<Q::Reply, Trouble> {
        let error = match self.venus::<Q::Method>(&request.params(worker.as_str())).await {
            Ok(result) => return Ok(request.reply(result, &self.to.address)?),
            Err(error) => error,
        };
        let CallError::Refused { code, message } = error else { return Err(trouble(error)) };
        match request.refused(code, &message) {
            Err(ErrorKind::SectorNotFound { sector }) if let Some(id) = request.sector() => {
                Err(self.ended(id).await?.unwrap_or(ErrorKind::SectorNotFound { sector }).into())
            }
            refused => Ok(refused?),
        }
    }

    async fn venus<M: Method>(&self, params: &M::Params) -> Result<M::Result, CallError> {
        self.rpc.call(M::NAME, params, M::WITHIN).await
    }

    /// How a sector has ended that is not open any more.
    async fn ended(&self, sector: SectorId) -> Result<Option<ErrorKind>, Trouble> {
        let found = self.find(OFFLINE, sector).await?.filter(|found| found.finalized);
        Ok(found.map(|found| {
            let given_up = found.abort_reason.is_some_and(|reason| !reason.is_empty());
            let state = if given_up { "Aborted" } else { "Finished" };
            ErrorKind::SectorEnded { sector: sector.to_string(), state: state.into() }
        }))
    }

    // `None` as well from a sector manager that has no such method.
    async fn find(
        &self,
        store: &str,
        sector: SectorId,
    ) -> Result<Option<venus::SectorState>, Trouble> {
        match self.venus::<venus::FindSector>(&(store.to_owned(), sector.into())).await {
            Ok(found) => Ok(Some(found)),
            Err(CallError::Refused { code, message })
                if code == SECTOR_STATE_NOT_FOUND
                    || code == METHOD_NOT_FOUND
                    || message.contains("not found") =>
            {
                Ok(None)
            }
            Err(error) => Err(trouble(error)),
        }
    }
}

const ONLINE: &str = "online";
const OFFLINE: &str = "offline";

impl<Q: Mapped> Asked<Q> {
    fn answered(&self, reply: &Q::Reply) -> Result<Call, Trouble> {
        let reply = serde_json::to_value(reply).map_err(ErrorKind::internal)?;
        Ok(Call { worker: self.worker.to_string(), state: State::Answered { reply } })
    }

    // Of the same worker only.
    fn read(&self, before: &Call, reply: &Value) -> Result<Q::Reply, Trouble> {
        if before.worker != self.worker.as_str() {
            return Err(ErrorKind::bad_request("the request id is another worker's").into());
        }
        Ok(Q::Reply::deserialize(reply).map_err(ErrorKind::internal)?)
    }
}

fn key<Q: Mapped>(id: Id) -> String {
    format!("{}.{id}", Q::METHOD)
}

fn trouble(error: CallError) -> Trouble {
    match (error.may_have_acted(), error) {
        (_, CallError::Refused { code, message }) => {
            Trouble::Refused(ErrorKind::internal(format!("{message} (code {code})")))
        }
        (true, error) => Trouble::InDoubt(format!("the sector manager: {error}")),
        (false, error) => Trouble::Unheard(format!("the sector manager: {error}")),
    }
}

fn unheard(error: ErrorKind) -> Trouble {
    Trouble::Unheard(error.to_string())
}

fn in_doubt(error: ErrorKind) -> Trouble {
    Trouble::InDoubt(error.to_string())
}
