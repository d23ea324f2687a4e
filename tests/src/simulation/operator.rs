//! Operators: they look, and command one thread or many through the real client, which asks again
//! under the same id until somebody answers, or its time is up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use damocles_client::{
    bulk::{fleet::Fleet, gather::Gathered},
    system::System,
    worker_client::{OrderError, Via},
};
use shared_msgs::{
    command::{CommandRequest, Verb},
    id::Id,
    selector::Selector,
    subject::Prefix,
};
use tokio::time::sleep;

use super::{
    bus::Reply,
    client_bus::ClientBus,
    history::Heard,
    world::{Phase, World},
};

const STATES: [&str; 5] = ["Aborted", "Empty", "Allocated", "DealsAcquired", "PieceAdded"];

/// Whom a command is for.
enum Targets {
    /// The worker with this number of a name.
    Name(usize),
    /// Whichever its selector selects.
    All,
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
    let order = world.history().ordered(verb, request.clone());
    world.say(|| format!("o{order} by op{operator}: {} {}", verb.name(), described(&request)));
    let timeout = world.millis(600..6_000);
    give(world, order, &targets, timeout).await;
    if world.chance(15) {
        let answered = matches!(world.history().orders[order].outcomes[..], [Heard::Answered(_)]);
        world.count(match answered {
            true => "a command that was answered was sent again",
            false => "a command of unknown outcome was sent again",
        });
        give(world, order, &targets, timeout).await;
    }
}

/// When all is well each command is carried out, or refused, and the client says so.
pub async fn last_orders(world: &Arc<World>) {
    let to_all = Selector { all: true, ..Selector::default() };
    let to_one = (0..world.names.len()).map(|name| (CommandRequest::to(0), Targets::Name(name)));
    let orders = to_one.chain([(CommandRequest::to_all(to_all), Targets::All)]);
    for (request, targets) in orders {
        let request = CommandRequest { request_id: Some(Id::generate()), ..request };
        let order = world.history().ordered(Verb::Uncordon, request);
        give(world, order, &targets, Duration::from_secs(3)).await;
        let outcomes = world.history().orders[order].outcomes.clone();
        let workers = if matches!(targets, Targets::All) { world.names.len() } else { 1 };
        if outcomes.len() < workers || !outcomes.iter().all(Heard::is_definite) {
            world.violated(format!("all is well, and of o{order} the client says {outcomes:?}"));
        }
    }
}

fn to_one(world: &World, verb: Verb) -> (CommandRequest, Targets) {
    let name = world.draw(|dice| dice.usize(0..world.names.len()));
    let shown = world.shown(name).map(|shown| shown.snapshot);
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
    (CommandRequest { if_revision, ..CommandRequest::to(index) }, Targets::Name(name))
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
    let to_all = world.chance(60);
    if to_all && !world.chance(20) {
        return (CommandRequest::to_all(selector), Targets::All);
    }
    let name = world.draw(|dice| dice.usize(0..world.names.len()));
    if to_all {
        selector.worker = vec![world.names[name].to_string()];
        return (CommandRequest::to_all(selector), Targets::All);
    }
    (CommandRequest::to_all(selector), Targets::Name(name))
}

// Gives an order, and notes what the client says came of it.
async fn give(world: &Arc<World>, order: usize, targets: &Targets, timeout: Duration) {
    let (verb, request) = {
        let history = world.history();
        let order = &history.orders[order];
        (order.verb, order.request.clone())
    };
    let bus = ClientBus::new(world.clone());
    let system = System { bus, prefix: Prefix::default(), via: Via::Worker, timeout };
    let outcomes = match targets {
        Targets::All => to_all(&system, verb, &request).await,
        Targets::Name(name) => {
            let client = system.worker(world.names[*name].clone());
            let answered = match request.index {
                Some(_) => client.order(verb, request).await.map(Reply::One),
                None => client.order_many(verb, request).await.map(Reply::Many),
            };
            vec![answered.map_or_else(heard, Heard::Answered)]
        }
    };
    for outcome in outcomes {
        world.count(match outcome {
            Heard::Answered(_) => "a client heard an answer",
            Heard::NotDelivered => "a command was not delivered",
            Heard::Unknown => "an outcome was unknown",
        });
        world.say(|| format!("o{order}: {}", outcome.describe()));
        world.history().heard(order, outcome);
    }
}

// As the tool does: whom to expect is read first, and nothing is sent where nobody is.
async fn to_all(system: &System, verb: Verb, request: &CommandRequest) -> Vec<Heard> {
    let selector = request.selector.clone().unwrap_or_default();
    let selection = selector.compile().unwrap();
    let reports = system.reports().await.ok();
    let expected = reports.map(|reports| Fleet::of(reports.workers, &selection).expected);
    if expected.as_ref().is_some_and(BTreeMap::is_empty) {
        return vec![Heard::NotDelivered];
    }
    let Gathered { replies, refused, unnamed, complete, .. } =
        system.order_all(verb, request, expected).await.unwrap();
    let replies = replies.into_iter().map(Reply::Many);
    let refused = refused.into_iter().map(|(_, body)| Reply::Refused(body.kind));
    let unknown = (!complete || !unnamed.is_empty()).then_some(Heard::Unknown);
    replies.chain(refused).map(Heard::Answered).chain(unknown).collect()
}

fn heard(error: OrderError) -> Heard {
    match error {
        OrderError::Refused(body) => Heard::Answered(Reply::Refused(body.kind)),
        OrderError::NotDelivered(_) | OrderError::NotSent(_) => Heard::NotDelivered,
        OrderError::Unknown { .. } => Heard::Unknown,
        OrderError::Failed(error) => panic!("a command has failed: {error}"),
    }
}

fn described(request: &CommandRequest) -> String {
    let request = CommandRequest { request_id: None, by: None, ..request.clone() };
    serde_json::to_string(&request).unwrap()
}
