//! What has happened in a world, as it is checked at its end.

use std::collections::{BTreeSet, HashMap};

use shared_msgs::{
    codec::decode,
    command::{CommandRequest, Verb},
    id::Id,
    snapshot::PausedBy,
};

use super::{bus::Reply, model::ThreadModel, world::Tally};

/// What has happened in a world, for its checks.
#[derive(Default)]
pub struct History {
    /// What was not as it must be.
    pub violations: Vec<String>,
    /// How often what happened.
    pub tally: Tally,
    /// What operators ordered, by the order's number.
    pub orders: Vec<Order>,
    order_of_id: HashMap<Id, usize>,
    /// What was answered, in order, with the numbers of process and order.
    pub answers: Vec<(usize, usize, Reply)>,
    /// Each time that a process took a thread up.
    pub openings: Vec<Opening>,
    /// Which opening an event's id is of.
    pub opening_of: HashMap<Id, usize>,
    /// Machines whose disks are copies of another one's.
    pub clones: BTreeSet<usize>,
}

/// What an operator ordered.
pub struct Order {
    /// The verb that was ordered.
    pub verb: Verb,
    /// The request; as it was sent, once it was.
    pub request: CommandRequest,
    /// How often it was sent.
    pub sent: u64,
    /// What the client said came of it, each time that it was given.
    pub outcomes: Vec<Heard>,
    /// How many of these it had said before it was sent: they came of what is read before.
    pub said_unsent: usize,
}

/// What a client says came of an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// It was carried out, or refused.
    Answered(Reply),
    /// No worker has heard it, or none that could do anything.
    NotDelivered,
    /// It may have been carried out, by a worker at least.
    Unknown,
}

impl Heard {
    /// In a few words.
    pub fn describe(&self) -> String {
        match self {
            Heard::Answered(reply) => reply.describe(),
            Heard::NotDelivered => "not delivered".into(),
            Heard::Unknown => "unknown".into(),
        }
    }

    /// Whether it says what happened, and that nothing else will.
    pub fn is_definite(&self) -> bool {
        match self {
            Heard::Answered(reply) => reply.is_definite(),
            Heard::NotDelivered | Heard::Unknown => false,
        }
    }
}

/// A thread in the hands of one process.
pub struct Opening {
    /// Number of the process that took it up.
    pub process: usize,
    /// Number of the machine that it ran on.
    pub machine: usize,
    /// Position in the configuration, from 0.
    pub index: u32,
    /// What its record said when it was taken up.
    pub first: ThreadModel,
    /// What it said at the end.
    pub last: Option<ThreadModel>,
}

impl History {
    /// A process has taken a thread up, whose record said `before` until then. Returns the
    /// opening's number.
    pub fn opened(
        &mut self,
        opening: Opening,
        before: Option<ThreadModel>,
        previous: Option<usize>,
    ) -> usize {
        let thread = format!("m{} #{}", opening.machine, opening.index);
        let last = previous
            .map(|previous| &self.openings[previous])
            .filter(|previous| previous.machine == opening.machine);
        if let Some(last) = last.and_then(|last| last.last.as_ref())
            && before.as_ref() != Some(last)
        {
            self.violations.push(format!("{thread} showed {last:?} and kept {before:?}"));
        }
        if let Some(before) = &before {
            if before.is_held_up() && opening.first.paused != Some(PausedBy::Operator) {
                self.violations.push(format!(
                    "{thread} was held up by an operator, and a restart let it go on: {:?}",
                    opening.first
                ));
            }
            if opening.first.revision < before.revision || opening.first.cordoned != before.cordoned
            {
                self.violations.push(format!(
                    "{thread} was {before:?} before a restart and {:?} after it",
                    opening.first
                ));
            }
        }
        self.openings.push(opening);
        self.openings.len() - 1
    }

    /// An event's id is of this process's opening of the thread, if it was not known before.
    pub fn attribute(&mut self, store: Id, process: usize, index: u32) {
        if !self.opening_of.contains_key(&store) {
            let opening = self
                .openings
                .iter()
                .position(|opening| opening.process == process && opening.index == index);
            self.opening_of.extend(opening.map(|opening| (store, opening)));
        }
    }

    /// An event's id was found where an earlier process had left it.
    pub fn inherit(&mut self, store: Id, previous: Option<usize>) {
        if let Some(previous) = previous {
            self.opening_of.entry(store).or_insert(previous);
        }
    }

    /// An operator orders something. Returns the order's number.
    pub fn ordered(&mut self, verb: Verb, request: CommandRequest) -> usize {
        let number = self.orders.len();
        self.order_of_id.extend(request.request_id.map(|id| (id, number)));
        self.orders.push(Order { verb, request, sent: 0, outcomes: vec![], said_unsent: 0 });
        number
    }

    /// Which order a request is of; `None` for a question.
    pub fn order_of(&self, payload: &[u8]) -> Option<usize> {
        let request: CommandRequest = decode(payload).ok()?;
        self.order_of_id.get(&request.request_id?).copied()
    }

    /// A client sends a request. Whatever it sends again is the same.
    pub fn sent(&mut self, payload: &[u8]) {
        let request: CommandRequest = decode(payload).unwrap();
        let Some(id) = request.request_id else { return };
        let Some(number) = self.order_of_id.get(&id) else {
            return self.violations.push(format!("nobody has ordered {request:?}"));
        };
        let order = &mut self.orders[*number];
        order.sent += 1;
        // Given once more, it may be carried out for longer.
        let until_ms = order.request.until_ms.zip(request.until_ms);
        let until_ms = until_ms.map(|(before, now)| before.max(now));
        if order.sent == 1 {
            order.request = request;
        } else if order.request
            == (CommandRequest { until_ms: order.request.until_ms, ..request.clone() })
        {
            order.request.until_ms = until_ms;
            self.count("a command was sent again");
        } else {
            let first = &order.request;
            self.violations.push(format!("o{number} was {first:?}, and then {request:?}"));
        }
    }

    /// A client says what came of an order.
    pub fn heard(&mut self, order: usize, outcome: Heard) {
        let order = &mut self.orders[order];
        order.said_unsent += usize::from(order.sent == 0);
        order.outcomes.push(outcome);
    }

    /// Counts that this has happened once more.
    pub fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }
}
