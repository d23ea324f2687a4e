//! What has happened in a world, as it is checked at its end.

use std::collections::{BTreeSet, HashMap};

use shared_msgs::{
    command::{CommandRequest, Verb},
    id::Id,
    snapshot::PausedBy,
};

use super::{bus::Reply, model::ThreadModel, world::Tally};

/// What has happened.
#[derive(Default)]
pub struct History {
    /// What was not as it must be.
    pub violations: Vec<String>,
    /// How often what happened.
    pub tally: Tally,
    /// What operators ordered.
    pub orders: Vec<Order>,
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
    /// The verb.
    pub verb: Verb,
    /// The request.
    pub request: CommandRequest,
}

/// A thread in the hands of one process.
pub struct Opening {
    /// The process.
    pub process: usize,
    /// The machine.
    pub machine: usize,
    /// The thread's index.
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

    /// A process has answered an order.
    pub fn answered(&mut self, process: usize, order: usize, reply: Reply) {
        self.answers.push((process, order, reply));
    }

    /// Counts something.
    pub fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }
}
