//! The bus as operators and workers have it: messages are lost, doubled, late and out of order, and
//! a process can be cut off. Its server alone is one thing: what it does, it does in one order.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use damocles_client::bus::Message;
use damocles_worker::commands::serve::Request;
use shared_msgs::{
    codec::decode,
    command::{BulkReply, CommandReply},
    error::{ErrorKind, ErrorReply},
    snapshot::WorkerSnapshot,
};
use tokio::{
    sync::{mpsc::UnboundedSender, oneshot},
    time::sleep,
};

use super::{
    line::Line,
    world::{Subscriber, World},
};

// How long somebody waits for the server's answer that will not come.
const PATIENCE: Duration = Duration::from_millis(800);

/// A request on its way to workers.
#[derive(Clone)]
pub struct Sent {
    /// As in its subject.
    pub verb: String,
    /// Every worker hears it.
    pub to_all: bool,
    /// The request, in either encoding.
    pub payload: Bytes,
    /// Where the answers go.
    pub inbox: Inbox,
}

/// Where answers go, as long as somebody listens.
#[derive(Clone)]
pub struct Inbox {
    /// The subject that the answers are published on.
    pub subject: String,
    /// The listener; answers to one that has gone are lost.
    pub messages: UnboundedSender<Message>,
}

/// An answer as an operator reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// What one thread's owner answered.
    One(CommandReply),
    /// What a worker answered for those that fit.
    Many(BulkReply),
    /// Why nothing was done.
    Refused(ErrorKind),
}

impl Reply {
    /// Reads an answer to a command.
    pub fn read(body: &[u8]) -> Reply {
        let (refusal, many, one) =
            (decode::<ErrorReply>(body), decode::<BulkReply>(body), decode::<CommandReply>(body));
        match (refusal, many, one) {
            (Ok(refusal), ..) => Reply::Refused(refusal.error.kind),
            (_, Ok(many), _) => Reply::Many(many),
            (.., Ok(one)) => Reply::One(one),
            (.., Err(error)) => panic!("an answer that nobody can read: {error}"),
        }
    }

    /// In a few words.
    pub fn describe(&self) -> String {
        match self {
            Reply::One(one) => format!("#{} r{} {:?}", one.index, one.revision, one.outcome),
            Reply::Many(many) => {
                let each =
                    many.threads.iter().map(|thread| match (&thread.outcome, &thread.error) {
                        (Some(outcome), _) => format!("#{} {outcome:?}", thread.index),
                        (None, error) => {
                            format!(
                                "#{} {:?}",
                                thread.index,
                                error.as_ref().map(|error| &error.kind)
                            )
                        }
                    });
                format!("[{}]", each.collect::<Vec<_>>().join(", "))
            }
            Reply::Refused(refusal) => format!("{refusal:?}"),
        }
    }

    /// Whether it says what happened, and that nothing else will.
    pub fn is_definite(&self) -> bool {
        match self {
            Reply::One(_) => true,
            Reply::Many(many) => many
                .threads
                .iter()
                .all(|thread| thread.error.as_ref().is_none_or(|error| is_definite(&error.kind))),
            Reply::Refused(refusal) => is_definite(refusal),
        }
    }
}

/// Whether a refusal says that nothing happened, and will not.
pub fn is_definite(refusal: &ErrorKind) -> bool {
    !matches!(
        refusal,
        ErrorKind::LeaseUnconfirmed | ErrorKind::TooLate { .. } | ErrorKind::Internal { .. }
    )
}

/// Sends a request to workers, by their names: whoever has subscribed gets it, or does not; where
/// nobody has, the server says so.
pub fn send(world: &Arc<World>, names: Vec<usize>, sent: Sent) {
    let (here, fate) = (world.clone(), world.fate());
    world.spawn(async move {
        sleep(fate.there).await;
        if fate.lost_there {
            return;
        }
        let subscribers: Vec<_> =
            names.into_iter().flat_map(|name| here.server().subscribers(name)).collect();
        for subscriber in &subscribers {
            for _ in 0..here.copies() {
                deliver(&here, subscriber.clone(), &sent);
            }
        }
        sleep(fate.back).await;
        if subscribers.is_empty() && !fate.lost_back {
            sent.inbox.put(None);
        }
    });
}

fn deliver(world: &Arc<World>, subscriber: Subscriber, sent: &Sent) {
    let Subscriber { line, inbox } = subscriber;
    let (request, fate) = (request(world, &line, sent.clone()), world.fate());
    // What waits in a buffer is delivered when nobody expects it any more.
    let waits = line.is_cut() && world.chance(50);
    world.spawn(async move {
        sleep(fate.there).await;
        if waits {
            line.whole().await;
        }
        if !line.is_cut() && !fate.lost_there {
            // Whoever had subscribed may be gone.
            inbox.send(request).ok();
        }
    });
}

// As the process gets it.
fn request(world: &Arc<World>, line: &Arc<Line>, sent: Sent) -> Request {
    let (world, line) = (world.clone(), line.clone());
    Request {
        verb: sent.verb,
        to_all: sent.to_all,
        payload: sent.payload.to_vec(),
        room: usize::MAX,
        reply: Box::new(move |answer| {
            Box::pin(async move {
                let (process, body) = (line.process, Bytes::from(answer.body));
                let order = world.history().order_of(&sent.payload);
                if let Some(order) = order {
                    let reply = Reply::read(&body);
                    world.say(|| format!("p{process} answers o{order}: {}", reply.describe()));
                    world.history().answers.push((process, order, reply));
                }
                let fate = world.fate();
                sleep(fate.back).await;
                if !fate.lost_back && !line.is_cut() {
                    sent.inbox.put(Some(body));
                }
            })
        }),
    }
}

impl Inbox {
    // Whoever has listened may have given up.
    fn put(&self, body: Option<Bytes>) {
        self.messages.send(Message { subject: self.subject.clone(), body }).ok();
    }
}

/// Has the server do something for a process. Whoever asks may be gone when it is done, or never
/// learn of it.
pub async fn ask_server<T: Send + 'static>(
    world: &Arc<World>,
    line: &Arc<Line>,
    work: impl FnOnce(&World) -> T + Send + 'static,
) -> Result<T, String> {
    let (answer, answered) = oneshot::channel();
    let (here, line, fate) = (world.clone(), line.clone(), world.fate());
    if line.is_cut() && world.chance(50) {
        return Err("not connected".into());
    }
    world.spawn(async move {
        sleep(fate.there).await;
        if fate.lost_there || line.is_cut() {
            return;
        }
        let done = work(&here);
        sleep(fate.back).await;
        if !fate.lost_back && !line.is_cut() {
            answer.send(done).ok();
        }
    });
    match answered.await {
        Ok(done) => Ok(done),
        Err(_) => {
            sleep(PATIENCE).await;
            Err("no answer".into())
        }
    }
}

/// Publishes a snapshot: each manager gets it, and the operators do, sooner or later, once or more
/// often, or not at all.
pub fn spread(world: &Arc<World>, line: &Line, snapshot: WorkerSnapshot) {
    if line.is_cut() {
        return;
    }
    let snapshot = Arc::new(snapshot);
    for reader in 0..=world.managers.len() {
        for _ in 0..world.copies() {
            let (here, snapshot, fate, name) =
                (world.clone(), snapshot.clone(), world.fate(), line.name);
            if fate.lost_there {
                continue;
            }
            world.spawn(async move {
                sleep(fate.there).await;
                match here.managers.get(reader) {
                    Some(manager) => manager.hear(&here, name, &snapshot),
                    None => here.show(name, snapshot),
                }
            });
        }
    }
}
