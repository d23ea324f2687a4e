//! Who has answered what, and whether that is everybody. Pure.
//!
//! An answer counts if it is of the process that owns its worker's name: the one that has reported, or
//! that holds the lease. Anybody could answer in another's name, and two processes of one name may.

use std::collections::{BTreeMap, BTreeSet};

use shared_msgs::{
    api::{Conflict, FleetReply, Unlisted, WorkerRefusal},
    command::BulkReply,
    error::{ErrorBody, ErrorKind},
    id::Id,
    name::WorkerName,
};

// They come from the bus.
const MAX_CONFLICTS: usize = 256;

/// What a worker says.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Reply(BulkReply),
    Refused(ErrorBody),
    /// It says nothing that can be read: what was done is unknown.
    Unreadable,
}

/// The answers so far.
#[derive(Debug)]
pub(super) struct Gather {
    // Whom there is to expect is known.
    known: bool,
    // Which process owns each name.
    owners: BTreeMap<WorkerName, Id>,
    // Names whose lease was looked at.
    looked_at: BTreeSet<WorkerName>,
    // What processes say of which it is not known whether they own the name.
    doubted: Vec<(WorkerName, Id, Answer)>,
    // Those who have not answered; some have said that they cannot yet.
    missing: BTreeMap<WorkerName, Option<ErrorBody>>,
    replies: BTreeMap<WorkerName, BulkReply>,
    refused: BTreeMap<WorkerName, ErrorBody>,
    // Refusals that do not say whose they are.
    unnamed: Vec<ErrorBody>,
    unreadable: usize,
    conflicts: BTreeSet<(WorkerName, Id)>,
}

/// All answers, each kind by worker.
#[derive(Debug)]
pub struct Gathered {
    /// What workers did.
    pub replies: Vec<BulkReply>,
    /// Why workers did nothing.
    pub refused: Vec<(WorkerName, ErrorBody)>,
    /// Refusals that do not say whose they are.
    pub unnamed: Vec<ErrorBody>,
    /// Who has not answered.
    pub missing: Vec<WorkerName>,
    /// Answers that cannot be read.
    pub unreadable: usize,
    /// Processes that answered in the name of a worker and do not own it, or told two things.
    pub conflicts: Vec<(WorkerName, Id)>,
    /// What a manager has counted only, because its answer would have been too large.
    pub unlisted: Unlisted,
    /// Nobody else was to answer.
    pub complete: bool,
}

impl Gathered {
    /// What a manager says that it has gathered.
    pub(super) fn told(reply: FleetReply) -> Gathered {
        let parsed = |name: &String| name.parse::<WorkerName>().ok();
        let (mut refused, mut unnamed) = (vec![], vec![]);
        for WorkerRefusal { worker, error } in reply.refused {
            match worker.as_ref().and_then(parsed) {
                Some(worker) => refused.push((worker, error)),
                None => unnamed.push(error),
            }
        }
        Gathered {
            replies: reply.workers,
            refused,
            unnamed,
            missing: reply.missing.iter().filter_map(parsed).collect(),
            unreadable: 0,
            conflicts: reply
                .conflicts
                .iter()
                .filter_map(|Conflict { worker, instance_id }| {
                    Some((parsed(worker)?, *instance_id))
                })
                .collect(),
            unlisted: reply.unlisted,
            complete: reply.complete,
        }
    }
}

impl Gather {
    /// Waits for these, each with the process that has reported; `None` if they are not known.
    pub(super) fn new(expected: Option<BTreeMap<WorkerName, Id>>) -> Self {
        let known = expected.is_some();
        let owners = expected.unwrap_or_default();
        Gather {
            known,
            missing: owners.keys().map(|worker| (worker.clone(), None)).collect(),
            owners,
            looked_at: BTreeSet::new(),
            doubted: Vec::new(),
            replies: BTreeMap::new(),
            refused: BTreeMap::new(),
            unnamed: Vec::new(),
            unreadable: 0,
            conflicts: BTreeSet::new(),
        }
    }

    /// Takes an answer in; `from` is who says to have given it. Returns a worker whose owner has to
    /// be told by [`Gather::owned_by`] before the answer counts.
    pub(super) fn take(
        &mut self,
        from: Option<(WorkerName, Id)>,
        answer: Answer,
    ) -> Option<WorkerName> {
        let Some((worker, instance)) = from else {
            match answer {
                Answer::Refused(body) => self.unnamed.push(body),
                Answer::Reply(_) | Answer::Unreadable => self.unreadable += 1,
            }
            return None;
        };
        if !self.known || self.owners.get(&worker) == Some(&instance) {
            self.accept(worker, instance, answer);
        } else if self.looked_at.contains(&worker) {
            self.conflict(worker, instance);
        } else {
            self.doubted.push((worker.clone(), instance, answer));
            return Some(worker);
        }
        None
    }

    /// Which process holds the lease of a worker's name; an error says that nobody can tell.
    pub(super) fn owned_by(&mut self, worker: &WorkerName, holder: Result<Option<Id>, String>) {
        self.looked_at.insert(worker.clone());
        let of_worker: Vec<_> = self.doubted.extract_if(.., |(of, ..)| of == worker).collect();
        let first = of_worker.first().map(|(_, instance, _)| *instance);
        // Where there are no leases nothing speaks against whoever answers first.
        if let Some(owner) = holder.unwrap_or(first) {
            self.owners.insert(worker.clone(), owner);
        }
        for (worker, instance, answer) in of_worker {
            if self.owners.get(&worker) == Some(&instance) {
                self.accept(worker, instance, answer);
            } else {
                self.conflict(worker, instance);
            }
        }
    }

    fn conflict(&mut self, worker: WorkerName, instance: Id) {
        if self.conflicts.len() < MAX_CONFLICTS {
            self.conflicts.insert((worker, instance));
        }
    }

    fn accept(&mut self, worker: WorkerName, instance: Id, answer: Answer) {
        match answer {
            Answer::Unreadable => self.unreadable += 1,
            Answer::Reply(reply) => self.replied(worker, instance, reply),
            Answer::Refused(body) if body.kind == ErrorKind::LeaseUnconfirmed => {
                if let Some(reason) = self.missing.get_mut(&worker) {
                    *reason = Some(body);
                }
            }
            Answer::Refused(body) => {
                let is_waited_for = self.missing.remove(&worker).is_some();
                if is_waited_for || !self.replies.contains_key(&worker) {
                    self.refused.insert(worker, body);
                }
            }
        }
    }

    fn replied(&mut self, worker: WorkerName, instance: Id, reply: BulkReply) {
        // Some of its threads may not have acted yet, and will when they are asked again.
        if !is_unconfirmed(&reply) {
            self.missing.remove(&worker);
        }
        self.refused.remove(&worker);
        let reply = BulkReply { worker: worker.to_string(), ..reply };
        match self.replies.get(&worker) {
            // Asked twice, it answers twice; both tell the same.
            Some(known) if !is_unconfirmed(known) => {
                if known.instance_id != instance || contradict(known, &reply) {
                    self.conflict(worker, instance);
                }
            }
            _ => drop(self.replies.insert(worker, reply)),
        }
    }

    /// Whether nobody else is to answer.
    pub(super) fn is_complete(&self) -> bool {
        self.known && self.missing.is_empty()
    }

    /// Who has not answered.
    pub(super) fn missing(&self) -> impl Iterator<Item = &WorkerName> {
        self.missing.keys()
    }

    /// The answers, when the time is up.
    pub(super) fn finish(self) -> Gathered {
        let complete = self.is_complete();
        let (mut missing, mut refused) = (Vec::new(), self.refused);
        for (worker, reason) in self.missing {
            match reason {
                _ if self.replies.contains_key(&worker) => {}
                Some(reason) => drop(refused.insert(worker, reason)),
                None => missing.push(worker),
            }
        }
        let mut replies: Vec<_> = self.replies.into_values().collect();
        replies.iter_mut().for_each(|reply| reply.threads.sort_by_key(|thread| thread.index));
        Gathered {
            replies,
            refused: refused.into_iter().collect(),
            unnamed: self.unnamed,
            missing,
            unreadable: self.unreadable,
            conflicts: self.conflicts.into_iter().collect(),
            unlisted: Unlisted::default(),
            complete,
        }
    }
}

fn is_unconfirmed(reply: &BulkReply) -> bool {
    reply.threads.iter().any(|thread| {
        thread.error.as_ref().is_some_and(|error| error.kind == ErrorKind::LeaseUnconfirmed)
    })
}

// What was done is kept, and told again as it was; what would be done may change.
fn contradict(one: &BulkReply, other: &BulkReply) -> bool {
    let outcome_of = |index: u32| {
        let thread = other.threads.iter().find(|thread| thread.index == index)?;
        thread.outcome.as_ref()
    };
    !one.dry_run
        && one.threads.iter().any(|thread| {
            let outcomes = thread.outcome.as_ref().zip(outcome_of(thread.index));
            outcomes.is_some_and(|(one, other)| one != other)
        })
}

#[cfg(test)]
mod tests {
    use shared_msgs::command::{Outcome, ThreadResult};

    use super::*;

    fn name(worker: &str) -> WorkerName {
        worker.parse().unwrap()
    }

    // Each worker's process has reported.
    fn gather(expected: &[&str]) -> Gather {
        Gather::new(Some(expected.iter().map(|worker| (name(worker), Id::NIL)).collect()))
    }

    fn of(worker: &str) -> Option<(WorkerName, Id)> {
        Some((name(worker), Id::NIL))
    }

    fn did(outcome: Option<Outcome>, error: Option<ErrorKind>) -> Answer {
        Answer::Reply(BulkReply {
            worker: "whatever it says".into(),
            instance_id: Id::NIL,
            dry_run: false,
            threads: vec![ThreadResult {
                outcome,
                error: error.map(Into::into),
                ..ThreadResult::default()
            }],
        })
    }

    fn reply() -> Answer {
        did(Some(Outcome::Paused), None)
    }

    fn refusal(kind: ErrorKind) -> Answer {
        Answer::Refused(kind.into())
    }

    #[test]
    fn it_is_complete_when_all_who_were_expected_have_answered() {
        let mut gather = gather(&["a", "b"]);
        assert_eq!(gather.take(of("b"), reply()), None);
        assert!(!gather.is_complete());
        gather.take(of("a"), reply());
        assert!(gather.is_complete());
        let gathered = gather.finish();
        let workers: Vec<_> = gathered.replies.iter().map(|reply| reply.worker.as_str()).collect();
        assert_eq!((workers, gathered.complete), (vec!["a", "b"], true));
    }

    #[test]
    fn whoever_says_nothing_is_missing() {
        let mut gather = gather(&["a", "b"]);
        gather.take(of("b"), reply());
        assert_eq!(gather.missing().collect::<Vec<_>>(), [&name("a")]);
        let gathered = gather.finish();
        assert_eq!((gathered.missing, gathered.complete), (vec![name("a")], false));
    }

    #[test]
    fn of_unknown_workers_nobody_is_missing_and_it_is_never_complete() {
        let mut gather = Gather::new(None);
        assert_eq!(gather.take(of("a"), reply()), None);
        gather.take(None, refusal(ErrorKind::internal("x")));
        assert!(!gather.is_complete());
        let gathered = gather.finish();
        assert_eq!(
            (gathered.replies.len(), gathered.unnamed.len(), gathered.complete),
            (1, 1, false)
        );
    }

    #[test]
    fn an_answer_in_anothers_name_is_a_conflict_and_does_not_count() {
        let (liar, mut gather) = (Id::generate(), gather(&["a"]));
        let from = Some((name("a"), liar));
        assert_eq!(gather.take(from.clone(), reply()), Some(name("a")));
        gather.owned_by(&name("a"), Ok(Some(Id::NIL)));
        assert!(!gather.is_complete());
        assert_eq!(gather.take(from, refusal(ErrorKind::internal("x"))), None, "looked at once");
        gather.take(of("a"), did(Some(Outcome::AlreadyPaused), None));
        let gathered = gather.finish();
        assert_eq!(gathered.conflicts, [(name("a"), liar)]);
        assert_eq!(gathered.replies[0].threads[0].outcome, Some(Outcome::AlreadyPaused));
        assert!(gathered.complete && gathered.refused.is_empty());
    }

    #[test]
    fn a_process_that_has_taken_over_since_the_report_counts_and_so_does_a_new_worker() {
        let (new, mut gather) = (Id::generate(), gather(&["a"]));
        for worker in ["a", "z"] {
            assert_eq!(gather.take(Some((name(worker), new)), reply()), Some(name(worker)));
            gather.owned_by(&name(worker), Ok(Some(new)));
        }
        assert_eq!(gather.take(Some((name("y"), new)), reply()), Some(name("y")));
        gather.owned_by(&name("y"), Ok(None));
        let gathered = gather.finish();
        assert!(gathered.complete && gathered.replies.len() == 2);
        assert_eq!(gathered.conflicts, [(name("y"), new)], "nobody holds that name");
    }

    #[test]
    fn where_there_are_no_leases_who_answers_first_is_believed() {
        let (one, other, mut gather) = (Id::generate(), Id::generate(), gather(&[]));
        gather.take(Some((name("a"), one)), reply());
        gather.owned_by(&name("a"), Err("no JetStream".into()));
        gather.take(Some((name("a"), other)), reply());
        let gathered = gather.finish();
        assert_eq!((gathered.replies.len(), gathered.conflicts), (1, vec![(name("a"), other)]));
    }

    #[test]
    fn an_unconfirmed_lease_is_waited_for_and_a_refusal_in_the_end() {
        let mut gather = gather(&["a"]);
        gather.take(of("a"), refusal(ErrorKind::LeaseUnconfirmed));
        assert!(!gather.is_complete());
        let gathered = gather.finish();
        assert_eq!((gathered.refused.len(), gathered.missing.len()), (1, 0));
    }

    #[test]
    fn a_thread_whose_lease_is_not_confirmed_is_asked_again() {
        let mut one = gather(&["a"]);
        one.take(of("a"), did(None, Some(ErrorKind::LeaseUnconfirmed)));
        assert!(!one.is_complete());
        one.take(of("a"), reply());
        assert!(one.is_complete() && one.finish().replies[0].threads[0].error.is_none());

        let mut never = gather(&["a"]);
        never.take(of("a"), did(None, Some(ErrorKind::LeaseUnconfirmed)));
        let gathered = never.finish();
        assert_eq!((gathered.replies.len(), gathered.missing.len()), (1, 0));
    }

    #[test]
    fn answers_that_come_twice_count_once_and_must_not_contradict_each_other() {
        let mut gather = gather(&["a"]);
        for answer in [reply(), reply(), refusal(ErrorKind::internal("x")), Answer::Unreadable] {
            gather.take(of("a"), answer);
        }
        assert!(gather.conflicts.is_empty());
        gather.take(of("a"), did(Some(Outcome::Cordoned), None));
        let gathered = gather.finish();
        assert_eq!((gathered.replies.len(), gathered.unreadable), (1, 1));
        assert_eq!((gathered.refused.len(), gathered.conflicts.len()), (0, 1));
    }
}
