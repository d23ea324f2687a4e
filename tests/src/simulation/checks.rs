//! What must be so, whatever has gone wrong: asked of a world's history at its end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, btree_map::Entry};

use shared_msgs::{
    command::{Outcome, Verb},
    error::ErrorKind,
    event::{Event, EventId, EventKind},
    id::Id,
};

use super::{
    bus::{Reply, is_definite},
    history::{Heard, History, Order},
    leases::{Stored, TTL_MS},
    model::ThreadModel,
    process::Process,
    world::{Tally, World},
};

/// An event and the opening of a thread that it is of.
struct Placed<'a> {
    event: &'a Event,
    opening: usize,
}

// What one order did to one thread of one machine.
type Place = (usize, usize, u32);

/// Asks everything. Returns what was not so; counts what happened.
pub fn violations(world: &World, tally: &mut Tally) -> Vec<String> {
    let (history, server, processes) = (world.history(), world.server(), world.processes());
    let mut wrong = vec![];
    let mut placed = vec![];
    for (name, events) in server.events.iter().enumerate() {
        once_and_in_order(&history, events, &mut wrong);
        if !processes
            .iter()
            .any(|process| process.name == name && history.clones.contains(&process.machine))
        {
            under_rising_epochs(events, &mut wrong);
        }
        placed.extend(events.iter().filter_map(|(_, event)| {
            let opening = *history.opening_of.get(&event.id.store)?;
            Some(Placed { event, opening })
        }));
    }
    let orders: HashMap<Id, usize> = history
        .orders
        .iter()
        .enumerate()
        .filter_map(|(number, order)| Some((order.request.request_id?, number)))
        .collect();
    let effects = effects(&history, &orders, &placed);
    replay(&history, &orders, &placed, &mut wrong);
    for (place, events) in &effects {
        acted_once_under_the_lease(
            &history,
            &processes,
            &server.leases.iter().map(|key| &key.stored[..]).collect::<Vec<_>>(),
            *place,
            events,
            &mut wrong,
        );
    }
    clients_told_the_truth(&history, &effects, &mut wrong);
    let mut repeats = 0;
    answers_agree(&history, &effects, &mut repeats, &mut wrong);
    let stored = || server.leases.iter().flat_map(|key| &key.stored);
    let refused_as_stale =
        |reply: &Reply| matches!(reply, Reply::Refused(ErrorKind::RevisionMismatch { .. }));
    for (what, count) in [
        ("commands", history.orders.len() as u64),
        ("events", placed.len() as u64),
        ("a repeat was answered", repeats),
        ("a lease was acquired", count(stored(), |stored| stored.acquired)),
        (
            "a lease was taken over by the same worker",
            count(stored(), |stored| stored.from_same_worker),
        ),
        (
            "a pause took effect later",
            count(&placed, |placed| placed.event.kind == EventKind::Paused),
        ),
        (
            "a thread was resumed",
            count(&placed, |placed| placed.event.kind == EventKind::Command(Verb::Resume)),
        ),
        ("a command came too late", count(&history.answers, |(.., reply)| is_too_late(reply))),
        (
            "a stale revision was refused",
            count(&history.answers, |(.., reply)| refused_as_stale(reply)),
        ),
    ] {
        *tally.entry(what).or_default() += count;
    }
    wrong
}

fn is_too_late(reply: &Reply) -> bool {
    let is_so = |kind: &ErrorKind| matches!(kind, ErrorKind::TooLate { .. });
    match reply {
        Reply::One(_) => false,
        Reply::Refused(kind) => is_so(kind),
        Reply::Many(many) => many
            .threads
            .iter()
            .filter_map(|thread| thread.error.as_ref())
            .any(|error| is_so(&error.kind)),
    }
}

// Each event once; those of one opening of a store from 1 on without gaps.
fn once_and_in_order(history: &History, events: &[(u64, Event)], wrong: &mut Vec<String>) {
    let mut seen: HashSet<EventId> = HashSet::new();
    let mut last: HashMap<Id, u64> = HashMap::new();
    for (sequence, event) in events {
        let EventId { store, n } = event.id;
        if !seen.insert(event.id) {
            wrong.push(format!(
                "event {sequence} ({:?}, number {n}) is in the stream twice",
                event.kind
            ));
        }
        let last = last.entry(store).or_default();
        if n != *last + 1 {
            wrong.push(format!("event {sequence} ({:?}) has number {n} after {last}", event.kind));
        }
        *last = n;
        if !history.opening_of.contains_key(&store) {
            wrong.push(format!(
                "event {sequence} ({:?}) is of no store that anybody opened",
                event.kind
            ));
        }
    }
}

// What was published under a lease comes before what was published under the next one. A clone
// takes over without waiting for the end of the lease before.
fn under_rising_epochs(events: &[(u64, Event)], wrong: &mut Vec<String>) {
    for pair in events.windows(2) {
        let [(_, before), (sequence, event)] = pair else { continue };
        if event.epoch < before.epoch {
            wrong.push(format!(
                "event {sequence} ({:?}) was published under epoch {:?} after {:?}",
                event.kind, event.epoch, before.epoch
            ));
        }
    }
}

fn count<T>(items: impl IntoIterator<Item = T>, is_so: impl Fn(&T) -> bool) -> u64 {
    items.into_iter().filter(is_so).count() as u64
}

fn effects<'a>(
    history: &History,
    orders: &HashMap<Id, usize>,
    placed: &'a [Placed<'a>],
) -> BTreeMap<Place, Vec<&'a Placed<'a>>> {
    let mut effects: BTreeMap<Place, Vec<&Placed>> = BTreeMap::new();
    for placed in placed {
        let Some(order) = placed.event.request_id.and_then(|id| orders.get(&id)) else { continue };
        let opening = &history.openings[placed.opening];
        effects.entry((*order, opening.machine, opening.index)).or_default().push(placed);
    }
    effects
}

// The events of each opening lead from what the record said then to what it said at the end.
fn replay(
    history: &History,
    orders: &HashMap<Id, usize>,
    placed: &[Placed],
    wrong: &mut Vec<String>,
) {
    let mut events: Vec<Vec<&Event>> = history.openings.iter().map(|_| vec![]).collect();
    placed.iter().for_each(|placed| events[placed.opening].push(placed.event));
    for (opening, events) in history.openings.iter().zip(events) {
        let thread = format!("p{} #{}", opening.process, opening.index);
        let mut model = opening.first.clone();
        for event in events.into_iter().filter(|event| event.index.is_some()) {
            let by_restart = matches!(event.kind, EventKind::Paused | EventKind::Failure)
                && event.revision == Some(opening.first.revision);
            if by_restart && model == opening.first {
                continue;
            }
            if let Some(order) = event.request_id.and_then(|id| orders.get(&id)) {
                wrong.extend(
                    unfit(&history.orders[*order], event, &model)
                        .map(|why| format!("{thread}: o{order} acted although {why}")),
                );
            }
            if let Err(why) = model.play(event) {
                wrong.push(format!(
                    "{thread}: {:?} at revision {:?}: {why}",
                    event.kind, event.revision
                ));
                model.revision = event.revision.unwrap_or(model.revision);
            }
        }
        if opening.last.as_ref() != Some(&model) {
            wrong.push(format!(
                "{thread}: its events lead to {model:?}, its record says {:?}",
                opening.last
            ));
        }
    }
}

// Why a command should not have acted on a thread that was so.
fn unfit(order: &Order, event: &Event, thread: &ThreadModel) -> Option<String> {
    let request = &order.request;
    if event.kind != EventKind::Command(order.verb) {
        return Some(format!("it was {:?}", order.verb));
    }
    if request.dry_run {
        return Some("it was to do nothing".into());
    }
    if let Some(until) = request.until_ms.filter(|until| *until < event.at as i64) {
        return Some(format!("it could be carried out until {until}, and it was {}", event.at));
    }
    if request.if_revision.is_some_and(|revision| revision != thread.revision) {
        return Some(format!(
            "it was for revision {:?} and the thread was at {}",
            request.if_revision, thread.revision
        ));
    }
    if request.index.is_some() && request.index != event.index {
        return Some(format!("it was for another thread than {:?}", event.index));
    }
    let selector = request.selector.as_ref()?;
    let wants_paused = selector.status.iter().any(|status| status == "paused");
    if !selector.status.is_empty() && wants_paused != thread.paused.is_some() {
        return Some(format!("it was for {:?} and the thread was {thread:?}", selector.status));
    }
    if !selector.state.is_empty() && !selector.state.contains(&thread.state) {
        return Some(format!(
            "it was for {:?} and the thread was in {}",
            selector.state, thread.state
        ));
    }
    let other = !selector.index.is_empty()
        && event.index.is_none_or(|index| !selector.index.contains(&index));
    other.then(|| format!("it was for threads {:?}", selector.index))
}

fn acted_once_under_the_lease(
    history: &History,
    processes: &[std::sync::Arc<Process>],
    leases: &[&[Stored]],
    (order, machine, index): Place,
    events: &[&Placed],
    wrong: &mut Vec<String>,
) {
    if events.len() > 1 {
        wrong.push(format!("o{order} acted {} times on m{machine} #{index}", events.len()));
    }
    for Placed { event, opening } in events {
        let process = &processes[history.openings[*opening].process];
        if !held(leases[process.name], process.worker.instance_id, event.at) {
            wrong.push(format!(
                "o{order} acted through p{} #{index} at {} without the newest lease",
                process.number, event.at
            ));
        }
    }
}

// Whether the process had the newest lease at that millisecond. A living clone of its disk may have
// taken it over: until the next renewal that cannot be known.
fn held(stored: &[Stored], instance: Id, at: u64) -> bool {
    let Some(own) =
        stored.iter().rposition(|stored| stored.instance == instance && stored.at <= at)
    else {
        return false;
    };
    let mut others = stored[own + 1..]
        .iter()
        .filter(|stored| stored.at < at && stored.instance != instance && stored.acquired);
    at < stored[own].at + TTL_MS && others.all(|other| other.from_same_worker)
}

// What a client hears was said, and what was not delivered has done nothing.
fn clients_told_the_truth(
    history: &History,
    effects: &BTreeMap<Place, Vec<&Placed>>,
    wrong: &mut Vec<String>,
) {
    let acted: BTreeSet<usize> = effects.keys().map(|(order, ..)| *order).collect();
    for (number, order) in history.orders.iter().enumerate() {
        let answers = || history.answers.iter().filter(|(_, order, _)| *order == number);
        // What a client reads before it sends a command can be a refusal too.
        for outcome in order.outcomes.iter().skip(order.said_unsent) {
            if let Heard::Answered(heard) = outcome
                && !answers().any(|(.., said)| said == heard)
            {
                wrong.push(format!("o{number}: a client heard {heard:?}, which nobody has said"));
            }
        }
        // A worker that could not confirm its lease has done nothing.
        let delivered = acted.contains(&number) || answers().any(|(.., said)| said.is_definite());
        let said = !order.outcomes.is_empty();
        if said && delivered && order.outcomes.iter().all(|heard| *heard == Heard::NotDelivered) {
            wrong.push(format!("o{number} was not delivered, says a client; and it was"));
        }
    }
}

// What an answer says of one thread.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Done(u64, Outcome),
    Refused(ErrorKind),
}

fn answers_agree(
    history: &History,
    effects: &BTreeMap<Place, Vec<&Placed>>,
    repeats: &mut u64,
    wrong: &mut Vec<String>,
) {
    let machine_of: HashMap<usize, usize> =
        history.openings.iter().map(|opening| (opening.process, opening.machine)).collect();
    let mut said: BTreeMap<Place, Said> = BTreeMap::new();
    let mut resolved: BTreeMap<(usize, usize), BTreeSet<u32>> = BTreeMap::new();
    for (process, order, reply) in &history.answers {
        let Some(machine) = machine_of.get(process) else { continue };
        let asked = &history.orders[*order].request;
        if asked.dry_run {
            continue;
        }
        if let Reply::Many(many) = reply {
            let threads: BTreeSet<u32> = many.threads.iter().map(|thread| thread.index).collect();
            let first = resolved.entry((*order, *machine)).or_insert_with(|| threads.clone());
            if *first != threads {
                wrong.push(format!("o{order} was for {first:?} of m{machine}, and for {threads:?} when it was repeated"));
            }
        }
        for (index, now) in each(reply, asked.index) {
            // A pause that stops a processor is answered when it has, and a repeat meanwhile before
            // that.
            if matches!(now, Said::Done(_, Outcome::PausePending { .. })) && asked.now {
                continue;
            }
            let first = match said.entry((*order, *machine, index)) {
                Entry::Vacant(place) => place.insert(now.clone()),
                Entry::Occupied(first) => {
                    *repeats += 1;
                    first.into_mut()
                }
            };
            if *first != now {
                wrong.push(format!("o{order} was answered {first:?} by m{machine} #{index}, and {now:?} when it was repeated"));
            }
        }
    }
    for ((order, machine), threads) in &resolved {
        let reached = effects
            .keys()
            .filter(|(acted, on, _)| acted == order && on == machine)
            .map(|(.., index)| *index);
        wrong.extend(
            reached.filter(|index| !threads.contains(index)).map(|index| {
                format!("o{order} reached m{machine} #{index}, and was for {threads:?}")
            }),
        );
    }
    for (place @ (order, machine, index), said) in &said {
        match (said, effects.contains_key(place)) {
            (Said::Refused(refusal), true) => wrong.push(format!(
                "o{order} acted on m{machine} #{index}, and was refused with {refusal:?}"
            )),
            // A clone answers for what its original has done.
            (Said::Done(..), false) if !history.clones.contains(machine) => {
                wrong.push(format!("o{order} was answered {said:?} by m{machine} #{index}, and the history knows nothing of it"));
            }
            _ => {}
        }
    }
}

fn each(reply: &Reply, asked: Option<u32>) -> Vec<(u32, Said)> {
    match reply {
        Reply::One(one) => vec![(one.index, Said::Done(one.revision, one.outcome.clone()))],
        Reply::Many(many) => many
            .threads
            .iter()
            .filter_map(|thread| match (&thread.outcome, thread.revision, &thread.error) {
                (Some(outcome), Some(revision), _) => {
                    Some((thread.index, Said::Done(revision, outcome.clone())))
                }
                (.., Some(error)) if is_definite(&error.kind) => {
                    Some((thread.index, Said::Refused(error.kind.clone())))
                }
                _ => None,
            })
            .collect(),
        Reply::Refused(refusal) if is_definite(refusal) => {
            asked.map(|index| (index, Said::Refused(refusal.clone()))).into_iter().collect()
        }
        Reply::Refused(_) => vec![],
    }
}
