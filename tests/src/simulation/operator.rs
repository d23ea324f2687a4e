//! Operators: they look, command one thread or many, and ask again under the same id until somebody
//! answers.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use shared_msgs::{
    command::{CommandRequest, Verb},
    id::Id,
    selector::Selector,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use super::{
    bus::{self, Asked, Reply},
    history::Order,
    world::{Phase, World},
};

const STATES: [&str; 5] = ["Aborted", "Empty", "Allocated", "DealsAcquired", "PieceAdded"];

/// Whom a command is for.
struct Targets {
    names: BTreeSet<usize>,
    to_all: bool,
}

/// Commands as long as things go on.
pub async fn run(world: Arc<World>, number: usize) {
    loop {
        sleep(world.millis(50..2_500)).await;
        if world.phase() != Phase::Busy {
            return;
        }
        world.order_opened();
        order(&world, number).await;
        world.order_closed();
    }
}

async fn order(world: &Arc<World>, operator: usize) {
    let verb = world.draw(|dice| {
        dice.choice([
            Verb::Pause,
            Verb::Pause,
            Verb::Resume,
            Verb::Resume,
            Verb::Resume,
            Verb::Cordon,
            Verb::Uncordon,
        ])
    });
    let verb = verb.unwrap_or(Verb::Pause);
    let (request, targets) = if world.chance(70) { to_one(world, verb) } else { to_many(world) };
    let request = CommandRequest {
        now: verb == Verb::Pause && world.chance(30),
        state: (verb == Verb::Resume && world.chance(25))
            .then(|| world.draw(|dice| dice.choice(STATES)).unwrap_or("Aborted").to_owned()),
        dry_run: world.chance(4),
        request_id: Some(Id::generate()),
        by: Some(format!("operator{operator}@simulated")),
        ..request
    };
    let order = {
        let mut history = world.history();
        history.orders.push(Order { verb, request: request.clone() });
        history.orders.len() - 1
    };
    world.say(|| format!("o{order} by op{operator}: {} {}", verb.name(), described(&request)));
    carry_through(world, order, verb, request, targets).await;
}

fn to_one(world: &World, verb: Verb) -> (CommandRequest, Targets) {
    let name = world.draw(|dice| dice.usize(0..world.names.len()));
    let shown = world.shown(name);
    let threads = shown.as_ref().map_or(2, |shown| shown.threads.len() as u32);
    // Sometimes there is no such thread.
    let beyond = u32::from(world.chance(3));
    let mut index = world.draw(|dice| dice.u32(0..threads + beyond));
    let paused = shown
        .iter()
        .flat_map(|shown| &shown.threads)
        .find(|thread| thread.status.name() == "paused");
    if let (Verb::Resume, Some(paused)) = (verb, paused) {
        index = paused.index;
    }
    let seen = shown
        .as_ref()
        .and_then(|shown| shown.threads.get(index as usize))
        .map(|thread| thread.revision);
    let if_revision = seen.filter(|_| world.chance(60));
    (
        CommandRequest { if_revision, ..CommandRequest::to(index) },
        Targets { names: [name].into(), to_all: false },
    )
}

fn to_many(world: &World) -> (CommandRequest, Targets) {
    let mut selector = Selector::default();
    match world.draw(|dice| dice.u8(0..6)) {
        0 => selector.all = true,
        1 => selector.status = vec!["paused".into()],
        2 => selector.status = vec!["running".into(), "waiting".into()],
        3 => selector.state = vec!["Empty".into(), "Allocated".into(), "PieceAdded".into()],
        4 => selector.index = vec![0],
        _ => selector.error = Some("parameters|ticket".into()),
    }
    let mut names: BTreeSet<usize> = (0..world.names.len()).collect();
    let to_all = world.chance(60);
    if !to_all || world.chance(20) {
        let name = world.draw(|dice| dice.usize(0..world.names.len()));
        names = [name].into();
        if to_all {
            selector.worker = vec![world.names[name].to_string()];
        }
    }
    (CommandRequest::to_all(selector), Targets { names, to_all })
}

async fn carry_through(
    world: &Arc<World>,
    order: usize,
    verb: Verb,
    request: CommandRequest,
    targets: Targets,
) {
    let (inbox, mut replies) = mpsc::unbounded_channel();
    let payload = serde_json::to_vec(&request).unwrap().into();
    let asked = Asked { order, verb, to_all: targets.to_all, payload, inbox };
    let mut silent = targets.names.clone();
    let gives_up = world.chance(15);
    for attempt in 0.. {
        if gives_up && attempt == 2 {
            return world.count("an operator gave up");
        }
        let asked_again = if attempt > 0 && world.chance(20) { &targets.names } else { &silent };
        // To all workers it is one message; those that are not meant say nothing.
        let hearing: Vec<usize> = if targets.to_all {
            (0..world.names.len()).collect()
        } else {
            asked_again.iter().copied().collect()
        };
        hearing.into_iter().for_each(|name| bus::send(world, name, &asked));
        let until = Instant::now() + world.millis(100..1_800);
        collect(&mut replies, &mut silent, until).await;
        if silent.is_empty() {
            break;
        }
        world.count("a command was sent again");
    }
    if world.chance(10) {
        world.count("a command that was answered was sent again");
        targets.names.iter().for_each(|name| bus::send(world, *name, &asked));
        sleep(Duration::from_millis(50)).await;
    }
}

async fn collect(
    replies: &mut mpsc::UnboundedReceiver<(usize, Reply)>,
    silent: &mut BTreeSet<usize>,
    until: Instant,
) {
    while !silent.is_empty() {
        match timeout_at(until, replies.recv()).await {
            Ok(Some((name, reply))) if reply.is_definite() => drop(silent.remove(&name)),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

fn described(request: &CommandRequest) -> String {
    let request = CommandRequest { request_id: None, by: None, ..request.clone() };
    serde_json::to_string(&request).unwrap()
}
