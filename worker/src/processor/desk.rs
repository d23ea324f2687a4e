//! Who gets which processor: a queue in order of arrival, the least loaded processor that can take
//! a task, and the locks that it needs for it. No clock, no process, no waiting: [`super::pool`]
//! has those.
//!
//! ```text
//!  arrive -> waits (for a processor, a slot, a lock) -> granted -> leave
//! ```
//! Nobody overtakes anybody who waits for the same processor or the same lock, so nobody starves;
//! all locks of a task are taken at once, so nobody waits with a lock in hand.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A processor in the queue's eyes; `L` is the way to its process.
#[derive(Debug)]
pub(crate) struct Place<L> {
    stage: String,
    concurrent: Option<usize>,
    /// How many tasks it should have for each one that the smallest processor has.
    share: usize,
    locks: BTreeMap<String, usize>,
    running: usize,
    condition: Condition<L>,
}

/// Whether a processor takes tasks.
#[derive(Clone, Debug)]
pub(crate) enum Condition<L> {
    /// Not now: it is starting, or about to be started again.
    Away,
    /// It takes tasks; this is how it is reached.
    Ready(L),
    /// It was given up, and takes none any more.
    Gone,
}

/// How it stands with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may run: a processor and all its locks are its own.
    Granted,
    /// It waits for this.
    Waits(String),
    /// All processors of its stage are gone.
    Hopeless,
}

/// All processors and requests of a worker.
#[derive(Debug)]
pub(crate) struct Desk<L> {
    places: Vec<Place<L>>,
    free_locks: BTreeMap<String, usize>,
    /// In order of arrival.
    queue: Vec<Waiting>,
    granted: HashMap<u64, usize>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    request: u64,
    stage: String,
    standing: Standing,
}

impl<L> Place<L> {
    /// A processor that was not started yet.
    pub(crate) fn new(
        stage: &str,
        concurrent: Option<usize>,
        weight: usize,
        locks: BTreeMap<String, usize>,
    ) -> Self {
        let share = concurrent.unwrap_or(1).saturating_mul(weight).max(1);
        Place {
            stage: stage.to_owned(),
            concurrent,
            share,
            locks,
            running: 0,
            condition: Condition::Away,
        }
    }

    fn has_slot(&self) -> bool {
        self.concurrent.is_none_or(|concurrent| self.running < concurrent)
    }
}

impl<L: Clone> Desk<L> {
    /// A desk with nobody waiting.
    pub(crate) fn new(places: Vec<Place<L>>, locks: BTreeMap<String, usize>) -> Self {
        Desk { places, free_locks: locks, queue: vec![], granted: HashMap::new(), next: 0 }
    }

    /// Whether a stage has processors.
    pub(crate) fn serves(&self, stage: &str) -> bool {
        self.places.iter().any(|place| place.stage == stage)
    }

    /// Takes a request on; returns its number.
    pub(crate) fn arrive(&mut self, stage: &str) -> u64 {
        let request = self.next;
        self.next += 1;
        self.queue.push(Waiting { request, stage: stage.to_owned(), standing: Standing::Hopeless });
        self.assign();
        request
    }

    /// A request has ended, or waits no longer.
    pub(crate) fn leave(&mut self, request: u64) {
        self.queue.retain(|waiting| waiting.request != request);
        if let Some(place) =
            self.granted.remove(&request).and_then(|index| self.places.get_mut(index))
        {
            place.running -= 1;
            for (lock, count) in &place.locks {
                *self.free_locks.entry(lock.clone()).or_default() += count;
            }
        }
        self.assign();
    }

    /// A processor's process has come or gone.
    pub(crate) fn set(&mut self, place: usize, condition: Condition<L>) {
        if let Some(place) = self.places.get_mut(place) {
            place.condition = condition;
        }
        self.assign();
    }

    /// How it stands with a request.
    pub(crate) fn standing(&self, request: u64) -> Standing {
        match self.queue.iter().find(|waiting| waiting.request == request) {
            Some(waiting) => waiting.standing.clone(),
            None => Standing::Granted,
        }
    }

    /// The process for a granted request, unless it has gone meanwhile.
    pub(crate) fn line(&self, request: u64) -> Option<L> {
        match &self.places.get(*self.granted.get(&request)?)?.condition {
            Condition::Ready(line) => Some(line.clone()),
            Condition::Away | Condition::Gone => None,
        }
    }

    fn assign(&mut self) {
        // Locks that somebody earlier waits for.
        let mut promised = BTreeSet::new();
        for mut waiting in std::mem::take(&mut self.queue) {
            match self.choose(&waiting.stage, &mut promised) {
                Ok(index) => {
                    let place = &mut self.places[index];
                    place.running += 1;
                    for (lock, count) in &place.locks {
                        *self.free_locks.entry(lock.clone()).or_default() -= count;
                    }
                    self.granted.insert(waiting.request, index);
                }
                Err(standing) => {
                    waiting.standing = standing;
                    self.queue.push(waiting);
                }
            }
        }
    }

    fn choose(&self, stage: &str, promised: &mut BTreeSet<String>) -> Result<usize, Standing> {
        let of_stage = || self.places.iter().enumerate().filter(|(_, place)| place.stage == stage);
        if of_stage().all(|(_, place)| matches!(place.condition, Condition::Gone)) {
            return Err(Standing::Hopeless);
        }
        let ready =
            || of_stage().filter(|(_, place)| matches!(place.condition, Condition::Ready(_)));
        if ready().next().is_none() {
            return Err(Standing::Waits(format!("{stage} processor")));
        }
        let with_slot: Vec<_> = ready().filter(|(_, place)| place.has_slot()).collect();
        if with_slot.is_empty() {
            return Err(Standing::Waits(format!("{stage} slot")));
        }
        let lockable =
            with_slot.iter().filter(|(_, place)| self.missing_lock(place, promised).is_none());
        // Loads as fractions: a/b < c/d as a*d < c*b.
        if let Some((index, _)) =
            lockable.min_by(|(_, a), (_, b)| (a.running * b.share).cmp(&(b.running * a.share)))
        {
            return Ok(*index);
        }
        let missing = with_slot
            .iter()
            .find_map(|(_, place)| self.missing_lock(place, promised))
            .unwrap_or_default();
        promised.extend(with_slot.iter().flat_map(|(_, place)| place.locks.keys().cloned()));
        Err(Standing::Waits(format!("lock {missing}")))
    }

    fn missing_lock<'a>(
        &self,
        place: &'a Place<L>,
        promised: &BTreeSet<String>,
    ) -> Option<&'a str> {
        let free = |lock: &str| self.free_locks.get(lock).copied().unwrap_or_default();
        let missing = place
            .locks
            .iter()
            .find(|(lock, count)| promised.contains(*lock) || free(lock) < **count);
        missing.map(|(lock, _)| lock.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn locks(units: &[(&str, usize)]) -> BTreeMap<String, usize> {
        units.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    fn place(stage: &str, concurrent: Option<usize>, needs: &[(&str, usize)]) -> Place<char> {
        Place::new(stage, concurrent, 1, locks(needs))
    }

    // A desk whose processors are ready; they are called a, b, c …
    fn ready(places: Vec<Place<char>>, units: &[(&str, usize)]) -> Desk<char> {
        let count = places.len();
        let mut desk = Desk::new(places, locks(units));
        for (index, name) in (0..count).zip('a'..) {
            desk.set(index, Condition::Ready(name));
        }
        desk
    }

    fn waits(desk: &Desk<char>, request: u64) -> String {
        match desk.standing(request) {
            Standing::Waits(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tasks_go_to_the_least_loaded_in_relation_to_what_it_takes() {
        let mut desk = ready(
            vec![place("c2", Some(1), &[]), place("c2", Some(3), &[]), place("pc2", None, &[])],
            &[],
        );
        let requests: Vec<_> = (0..5).map(|_| desk.arrive("c2")).collect();
        let lines: Vec<_> = requests.iter().filter_map(|request| desk.line(*request)).collect();
        assert_eq!(lines, ['a', 'b', 'b', 'b']);
        assert_eq!(waits(&desk, requests[4]), "c2 slot");
        // Whoever gets free first takes it.
        desk.leave(requests[2]);
        assert_eq!(desk.line(requests[4]), Some('b'));
    }

    #[test]
    fn a_heavier_processor_gets_more() {
        let mut desk = ready(
            vec![Place::new("pc1", None, 1, locks(&[])), Place::new("pc1", None, 2, locks(&[]))],
            &[],
        );
        let lines: String = (0..6)
            .map(|_| desk.arrive("pc1"))
            .collect::<Vec<_>>()
            .iter()
            .filter_map(|request| desk.line(*request))
            .collect();
        assert_eq!(lines.matches('b').count(), 4, "{lines}");
    }

    #[test]
    fn a_request_waits_for_a_processor_and_takes_the_first_that_comes() {
        let mut desk =
            Desk::new(vec![place("c2", Some(1), &[]), place("c2", Some(1), &[])], locks(&[]));
        let [first, second] = [desk.arrive("c2"), desk.arrive("c2")];
        assert_eq!(waits(&desk, first), "c2 processor");
        desk.set(1, Condition::Ready('b'));
        assert_eq!((desk.line(first), waits(&desk, second)), (Some('b'), "c2 slot".into()));
        desk.set(1, Condition::Away);
        assert_eq!((desk.standing(first), desk.line(first)), (Standing::Granted, None));
        assert_eq!(waits(&desk, second), "c2 processor");
        desk.set(0, Condition::Gone);
        assert_eq!(waits(&desk, second), "c2 processor");
        desk.set(1, Condition::Gone);
        assert_eq!(desk.standing(second), Standing::Hopeless);
    }

    #[test]
    fn nobody_overtakes_on_a_lock() {
        let mut desk = ready(
            vec![place("pc2", None, &[("gpu", 2)]), place("c2", None, &[("gpu", 1)])],
            &[("gpu", 2)],
        );
        let small = desk.arrive("c2");
        let large = desk.arrive("pc2");
        let late = desk.arrive("c2");
        assert_eq!((desk.line(small), waits(&desk, large)), (Some('b'), "lock gpu".into()));
        // One unit is free, and is kept for the one that came first.
        assert_eq!(waits(&desk, late), "lock gpu");
        desk.leave(small);
        assert_eq!((desk.line(large), waits(&desk, late)), (Some('a'), "lock gpu".into()));
        desk.leave(large);
        assert_eq!(desk.line(late), Some('b'));
    }

    #[test]
    fn who_waits_for_a_processor_holds_no_lock_up() {
        let mut desk = ready(
            vec![place("pc2", Some(1), &[("gpu", 1)]), place("c2", None, &[("gpu", 1)])],
            &[("gpu", 1)],
        );
        desk.set(0, Condition::Away);
        let [absent, present] = [desk.arrive("pc2"), desk.arrive("c2")];
        assert_eq!((waits(&desk, absent), desk.line(present)), ("pc2 processor".into(), Some('b')));
    }

    #[test]
    fn a_free_lock_beats_a_low_load() {
        let places =
            vec![place("c2", Some(9), &[("gpu1", 1)]), place("c2", Some(1), &[("gpu2", 1)])];
        let mut desk = ready(places, &[("gpu1", 1), ("gpu2", 1)]);
        let requests = [desk.arrive("c2"), desk.arrive("c2"), desk.arrive("c2")];
        assert_eq!((desk.line(requests[0]), desk.line(requests[1])), (Some('a'), Some('b')));
        assert_eq!(waits(&desk, requests[2]), "lock gpu1");
    }

    #[derive(Clone, Debug)]
    enum Act {
        Arrive(usize),
        Leave(usize),
        Set(usize, u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => (0..3_usize).prop_map(Act::Arrive),
            3 => (0..20_usize).prop_map(Act::Leave),
            1 => (0..4_usize, 0..2_u8).prop_map(|(place, condition)| Act::Set(place, condition)),
        ]
    }

    const STAGES: [&str; 3] = ["pc1", "pc2", "c2"];

    proptest! {
        // Whatever happens: no slot or lock is given twice, none is lost, and everybody's turn
        // comes.
        #[test]
        fn nothing_leaks_and_everybody_gets_a_turn(acts in prop::collection::vec(act(), 0..60)) {
            let places = vec![
                place("pc1", Some(2), &[("disk", 1)]),
                place("pc2", Some(1), &[("gpu", 2), ("disk", 1)]),
                place("c2", Some(2), &[("gpu", 1)]),
                place("c2", None, &[("gpu", 2)]),
            ];
            let mut desk = ready(places, &[("gpu", 2), ("disk", 2)]);
            let mut present: Vec<u64> = vec![];
            for act in acts {
                match act {
                    Act::Arrive(stage) => present.push(desk.arrive(STAGES[stage])),
                    Act::Leave(index) if !present.is_empty() => desk.leave(present.remove(index % present.len())),
                    Act::Leave(_) => {}
                    Act::Set(index, 0) => desk.set(index, Condition::Away),
                    Act::Set(index, _) => desk.set(index, Condition::Ready('x')),
                }
                for place in &desk.places {
                    prop_assert!(place.concurrent.is_none_or(|concurrent| place.running <= concurrent));
                }
                let taken = |lock: &str| desk.places.iter().map(|place| place.running * place.locks.get(lock).unwrap_or(&0)).sum::<usize>();
                prop_assert_eq!((taken("gpu") + desk.free_locks["gpu"], taken("disk") + desk.free_locks["disk"]), (2, 2));
            }
            for index in 0..4 {
                desk.set(index, Condition::Ready('x'));
            }
            while !present.is_empty() {
                let granted = present.iter().position(|request| desk.standing(*request) == Standing::Granted);
                prop_assert!(granted.is_some(), "nobody can go on: {:?}", desk);
                desk.leave(present.remove(granted.unwrap()));
            }
        }
    }
}
