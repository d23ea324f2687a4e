//! The worker's commands: the endpoints of one NATS service (ADR-32), the only subscriptions on `cmd.<w>.*`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_nats::{
    Client, HeaderMap,
    service::{Request, Service, ServiceExt, endpoint::Endpoint},
};
use futures::{StreamExt, stream::select_all};
use serde::{Serialize, de::DeserializeOwned};
use shared_msgs::{
    codec::{Encoding, decode},
    command::{CommandReply, CommandRequest, Verb, verb},
    connect::Link,
    error::{ERROR_CODE_HEADER, ERROR_HEADER, ErrorKind, ErrorReply},
    snapshot::cut_text,
    subject::INBOX_PREFIX,
};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::sleep,
};
use tracing::{debug, info, warn};

use super::role::{self, Role};
use crate::{
    identity::Worker,
    thread::owner::{Message, Reply},
};

const SERVICE_NAME: &str = "damocles-worker";
const VERBS: [&str; 3] = [verb::LIST, verb::PAUSE, verb::RESUME];
// A command is a few hundred bytes.
const MAX_REQUEST_BYTES: usize = 64 << 10;
const MAX_TEXT_BYTES: usize = 1 << 10;
const AT_ONCE: usize = 64;

/// Settles the role, then serves the worker's commands until `stop`. The role is [`Role::Acting`] only once they are
/// served, so that whoever sees the worker can command it.
pub async fn serve(
    worker: Arc<Worker>,
    client: Client,
    mut link: watch::Receiver<Link>,
    role: watch::Sender<Role>,
    stop: oneshot::Receiver<()>,
) {
    let serving = async {
        if !role::settle(&worker, &client, &mut link, &role).await {
            return None;
        }
        while super::connected(&mut link).await {
            match start(&worker, &client).await {
                Ok(started) => return Some(started),
                Err(error) => warn!(%error, "commands cannot be served yet"),
            }
            sleep(Duration::from_secs(1)).await;
        }
        None
    };
    tokio::pin!(stop);
    let (service, endpoints) = tokio::select! {
        started = serving => match started { Some(started) => started, None => return },
        _ = &mut stop => return,
    };
    role.send_replace(Role::Acting);
    info!(worker = %worker.name, dest = worker.dest(), "serving commands");
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut requests = select_all(endpoints.into_iter().map(|(verb, endpoint)| endpoint.map(move |request| (verb, request))));
    loop {
        let (verb, request) = tokio::select! {
            next = requests.next() => match next { Some(next) => next, None => break },
            _ = &mut stop => break,
        };
        // The semaphore is never closed.
        let Ok(slot) = slots.clone().acquire_owned().await else { break };
        let worker = worker.clone();
        tokio::spawn(async move {
            answer(&worker, verb, &request).await;
            drop(slot);
        });
    }
    if let Err(error) = service.stop().await {
        debug!(%error, "stopping the service");
    }
}

async fn start(worker: &Arc<Worker>, client: &Client) -> Result<(Service, Vec<(&'static str, Endpoint)>), async_nats::Error> {
    let metadata = HashMap::from([
        ("name".to_owned(), worker.name.to_string()),
        ("dest".to_owned(), worker.dest()),
        ("instance_id".to_owned(), worker.instance_id.to_string()),
    ]);
    let shown = worker.clone();
    let service = client
        .service_builder()
        .description(format!("sealing worker {}", worker.name))
        .metadata(metadata)
        .stats_handler(move |_, _| serde_json::json!(shown.snapshot().summary))
        .start(SERVICE_NAME, env!("CARGO_PKG_VERSION"))
        .await?;
    let mut endpoints = Vec::with_capacity(VERBS.len());
    for verb in VERBS {
        // A group of its own, or two instances would share the requests between them.
        let builder = service.endpoint_builder().name(verb).queue_group(worker.instance_id);
        endpoints.push((verb, builder.add(worker.command_subject(verb)).await?));
    }
    Ok((service, endpoints))
}

async fn answer(worker: &Worker, verb: &'static str, request: &Request) {
    let message = &request.message;
    if !message.reply.as_ref().is_some_and(|reply| reply.starts_with(INBOX_PREFIX)) {
        warn!(verb, reply = ?message.reply, "a request that wants its answer somewhere else than an inbox is ignored");
        return;
    }
    let encoding = Encoding::of(&message.payload).unwrap_or(Encoding::Json);
    let answered = match verb {
        verb::LIST => Ok(worker.snapshot()).and_then(|snapshot| encode(encoding, &snapshot)),
        verb::PAUSE => command(worker, Verb::Pause, &message.payload).await.and_then(|reply| encode(encoding, &reply)),
        _ => command(worker, Verb::Resume, &message.payload).await.and_then(|reply| encode(encoding, &reply)),
    };
    let mut headers = HeaderMap::new();
    let body = answered.or_else(|refusal| {
        headers.insert(ERROR_HEADER, refusal.to_string().replace(['\r', '\n'], " ").as_str());
        headers.insert(ERROR_CODE_HEADER, refusal.code().to_string().as_str());
        encode(encoding, &ErrorReply::from(refusal))
    });
    let sent = match body {
        Ok(body) => request.respond_with_headers(Ok(body.into()), headers).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = sent {
        warn!(verb, error, "an answer could not be sent");
    }
}

async fn command(worker: &Worker, verb: Verb, payload: &[u8]) -> Result<CommandReply, ErrorKind> {
    let mut request: CommandRequest = read(payload)?;
    request.check(verb)?;
    bound(&mut request.by, &mut request.reason);
    let index = request.index.ok_or_else(|| ErrorKind::bad_request("no index"))?;
    tell(worker, index, |reply| Message::Command(verb, request, reply)).await
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ErrorKind> {
    if payload.len() > MAX_REQUEST_BYTES {
        return Err(ErrorKind::bad_request(format!("{} bytes; a command has at most {MAX_REQUEST_BYTES}", payload.len())));
    }
    decode(payload).map_err(ErrorKind::bad_request)
}

fn bound(by: &mut Option<String>, reason: &mut Option<String>) {
    for text in [by, reason] {
        *text = text.take().map(|text| cut_text(&text, MAX_TEXT_BYTES));
    }
}

async fn tell(worker: &Worker, index: u32, message: impl FnOnce(Reply) -> Message) -> Result<CommandReply, ErrorKind> {
    let threads = worker.threads.len() as u32;
    let thread = worker.threads.get(index as usize).ok_or(ErrorKind::ThreadNotFound { index, threads })?;
    let (reply, answer) = oneshot::channel();
    let stopping = || ErrorKind::internal("the worker is stopping");
    thread.mailbox.send(message(reply)).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?
}

fn encode<T: Serialize>(encoding: Encoding, message: &T) -> Result<Vec<u8>, ErrorKind> {
    encoding.encode(message).map_err(ErrorKind::internal)
}
