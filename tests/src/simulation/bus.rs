//! The bus as operators and workers have it: messages are lost, doubled, late and out of order, and
//! a process can be cut off. Its server alone is one thing: what it does, it does in one order.

use std::{sync::Arc, time::Duration};

use damocles_worker::commands::Answer;
use shared_msgs::{
    codec::decode,
    command::{BulkReply, CommandReply, Verb},
    error::ErrorKind,
    snapshot::WorkerSnapshot,
};
use tokio::{
    sync::{mpsc::UnboundedSender, oneshot},
    time::sleep,
};

use super::{process::Process, world::World};

// How long somebody waits for the server's answer that will not come.
const PATIENCE: Duration = Duration::from_millis(800);

/// A request of an operator on its way.
#[derive(Clone)]
pub struct Asked {
    /// Which order it is of.
    pub order: usize,
    /// The verb.
    pub verb: Verb,
    /// Every worker hears it.
    pub to_all: bool,
    /// The request.
    pub payload: Arc<[u8]>,
    /// The operator's inbox: who answers, by name, and what.
    pub inbox: UnboundedSender<(usize, Reply)>,
}

/// An answer as an operator reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Of one thread.
    One(CommandReply),
    /// Of many.
    Many(BulkReply),
    /// A refusal.
    Refused(ErrorKind),
}

impl Reply {
    /// Reads an answer.
    pub fn read(answer: &Answer) -> Reply {
        match (
            &answer.refusal,
            decode::<BulkReply>(&answer.body),
            decode::<CommandReply>(&answer.body),
        ) {
            (Some(refusal), ..) => Reply::Refused(refusal.clone()),
            (None, Ok(many), _) => Reply::Many(many),
            (None, _, Ok(one)) => Reply::One(one),
            (None, _, Err(error)) => panic!("an answer that nobody can read: {error}"),
        }
    }

    /// Whether it says what happened; else the same is asked again.
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
    !matches!(refusal, ErrorKind::LeaseUnconfirmed | ErrorKind::Internal { .. })
}

/// Sends a request to the workers of a name; each that serves the name gets it, or does not.
pub fn send(world: &Arc<World>, name: usize, asked: &Asked) {
    for _ in 0..world.copies() {
        let (here, asked) = (world.clone(), asked.clone());
        let fate = world.fate();
        world.spawn(async move {
            sleep(fate.there).await;
            if fate.lost_there {
                return;
            }
            for process in here.living(name) {
                deliver(&here, process, &asked);
            }
        });
    }
}

fn deliver(world: &Arc<World>, process: Arc<Process>, asked: &Asked) {
    let asked = asked.clone();
    if !process.is_cut() {
        process.serve(world, asked);
    } else if world.chance(50) {
        // It waits in a buffer, and is delivered when nobody expects it any more.
        let here = world.clone();
        world.spawn(async move {
            process.reconnected().await;
            process.serve(&here, asked);
        });
    }
}

/// Sends an answer back.
pub fn reply(world: &Arc<World>, process: &Arc<Process>, asked: Asked, reply: Reply) {
    let (fate, process) = (world.fate(), process.clone());
    world.spawn(async move {
        sleep(fate.back).await;
        if !fate.lost_back && !process.is_cut() {
            // Its operator may have given up.
            asked.inbox.send((process.name, reply)).ok();
        }
    });
}

/// Has the server do something for a process. Whoever asks may be gone when it is done, or never
/// learn of it.
pub async fn ask_server<T: Send + 'static>(
    world: &Arc<World>,
    process: &Arc<Process>,
    work: impl FnOnce(&World) -> T + Send + 'static,
) -> Result<T, String> {
    let (answer, answered) = oneshot::channel();
    let (here, process, fate) = (world.clone(), process.clone(), world.fate());
    if process.is_cut() && world.chance(50) {
        return Err("not connected".into());
    }
    world.spawn(async move {
        sleep(fate.there).await;
        if fate.lost_there || process.is_cut() {
            return;
        }
        let done = work(&here);
        sleep(fate.back).await;
        if !fate.lost_back && !process.is_cut() {
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
pub fn spread(world: &Arc<World>, process: &Process, snapshot: WorkerSnapshot) {
    if process.is_cut() {
        return;
    }
    let snapshot = Arc::new(snapshot);
    for reader in 0..=world.managers.len() {
        for _ in 0..world.copies() {
            let (here, snapshot, fate, name) =
                (world.clone(), snapshot.clone(), world.fate(), process.name);
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
