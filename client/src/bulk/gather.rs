//! Who has answered what, and whether that is everybody. Pure.
//!
//! A reply to the question that all hear names its worker itself; a refusal does not. Whoever has
//! not replied is asked by name, and there the answer's subject says whose it is.

use std::collections::BTreeMap;

use shared_msgs::{
    command::BulkReply,
    error::{ErrorBody, ErrorKind},
    name::WorkerName,
};

/// What a worker says.
#[derive(Debug)]
pub(super) enum Answer {
    Reply(BulkReply),
    Refused(ErrorBody),
    /// It came from the worker, and says nothing that can be read: what was done is unknown.
    Unreadable,
}

/// The answers so far.
#[derive(Debug)]
pub(super) struct Gather {
    // Whom there is to expect is known.
    known: bool,
    // Those who have not answered; some have said that they cannot yet.
    missing: BTreeMap<WorkerName, Option<ErrorBody>>,
    // One for each process of the name: there is to be one.
    replies: BTreeMap<WorkerName, Vec<BulkReply>>,
    refused: BTreeMap<WorkerName, ErrorBody>,
    // Refusals of workers that have not answered by name since.
    unnamed: Vec<ErrorBody>,
    unreadable: usize,
}

/// All answers, each kind by worker.
#[derive(Debug)]
pub struct Gathered {
    /// What workers did. Two processes of one name may both answer.
    pub replies: Vec<BulkReply>,
    /// Why workers did nothing.
    pub refused: Vec<(WorkerName, ErrorBody)>,
    /// Why workers did nothing that do not say who they are.
    pub unnamed: Vec<ErrorBody>,
    /// Who has not answered.
    pub missing: Vec<WorkerName>,
    /// Answers that cannot be read.
    pub unreadable: usize,
    /// Nobody else was to answer.
    pub complete: bool,
}

impl Gather {
    /// Waits for these; `None` if they are not known.
    pub(super) fn new(expected: Option<Vec<WorkerName>>) -> Self {
        Gather {
            known: expected.is_some(),
            missing: expected.into_iter().flatten().map(|worker| (worker, None)).collect(),
            replies: BTreeMap::new(),
            refused: BTreeMap::new(),
            unnamed: Vec::new(),
            unreadable: 0,
        }
    }

    /// Takes an answer in; `asked` is the worker if it was asked by name.
    pub(super) fn take(&mut self, asked: Option<&WorkerName>, answer: Answer) {
        if asked.is_some() {
            self.unnamed.pop();
        }
        match (asked, answer) {
            (_, Answer::Unreadable) => self.unreadable += 1,
            (asked, Answer::Reply(reply)) => {
                match asked.cloned().or_else(|| reply.worker.parse().ok()) {
                    Some(worker) => self.replied(worker, reply),
                    None => self.unreadable += 1,
                }
            }
            (None, Answer::Refused(body)) => self.unnamed.push(body),
            (Some(worker), Answer::Refused(body)) => match self.missing.get_mut(worker) {
                Some(reason) if body.kind == ErrorKind::LeaseUnconfirmed => *reason = Some(body),
                Some(_) => {
                    self.missing.remove(worker);
                    self.refused.insert(worker.clone(), body);
                }
                None => {}
            },
        }
    }

    fn replied(&mut self, worker: WorkerName, reply: BulkReply) {
        // Some of its threads may not have acted yet, and will when they are asked again.
        if !is_unconfirmed(&reply) {
            self.missing.remove(&worker);
        }
        self.refused.remove(&worker);
        let reply = BulkReply { worker: worker.to_string(), ..reply };
        let replies = self.replies.entry(worker).or_default();
        match replies.iter_mut().find(|known| known.instance_id == reply.instance_id) {
            // Asked twice, it answers twice; both tell the same.
            Some(known) if !is_unconfirmed(known) => {}
            Some(known) => *known = reply,
            None => replies.push(reply),
        }
    }

    /// Whether nobody else is to answer.
    pub(super) fn is_complete(&self) -> bool {
        self.known && self.missing.is_empty()
    }

    /// Whether waiting is of no use: all that have not replied have refused, without a name.
    pub(super) fn needs_names(&self) -> bool {
        self.known && !self.unnamed.is_empty() && self.unnamed.len() >= self.missing.len()
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
        let mut replies: Vec<_> = self.replies.into_values().flatten().collect();
        replies.iter_mut().for_each(|reply| reply.threads.sort_by_key(|thread| thread.index));
        Gathered {
            replies,
            refused: refused.into_iter().collect(),
            unnamed: self.unnamed,
            missing,
            unreadable: self.unreadable,
            complete,
        }
    }
}

fn is_unconfirmed(reply: &BulkReply) -> bool {
    reply.threads.iter().any(|thread| {
        thread.error.as_ref().is_some_and(|error| error.kind == ErrorKind::LeaseUnconfirmed)
    })
}

#[cfg(test)]
mod tests {
    use shared_msgs::{command::ThreadResult, id::Id};

    use super::*;

    fn name(worker: &str) -> WorkerName {
        worker.parse().unwrap()
    }

    fn gather(expected: &[&str]) -> Gather {
        Gather::new(Some(expected.iter().map(|worker| name(worker)).collect()))
    }

    fn reply(worker: &str) -> Answer {
        Answer::Reply(BulkReply {
            worker: worker.into(),
            instance_id: Id::NIL,
            dry_run: false,
            threads: Vec::new(),
        })
    }

    fn refusal(kind: ErrorKind) -> Answer {
        Answer::Refused(kind.into())
    }

    #[test]
    fn it_is_complete_when_all_who_were_expected_have_answered() {
        let mut gather = gather(&["a", "b"]);
        gather.take(None, reply("b"));
        assert!(!gather.is_complete());
        // Somebody whom nobody expected is shown too.
        gather.take(None, reply("z"));
        assert!(!gather.is_complete());
        gather.take(Some(&name("a")), reply("says another name"));
        assert!(gather.is_complete());
        let gathered = gather.finish();
        let workers: Vec<_> = gathered.replies.iter().map(|reply| reply.worker.as_str()).collect();
        assert_eq!((workers, gathered.complete), (vec!["a", "b", "z"], true));
    }

    #[test]
    fn whoever_says_nothing_is_missing() {
        let mut gather = gather(&["a", "b"]);
        gather.take(None, reply("b"));
        assert_eq!(gather.missing().collect::<Vec<_>>(), [&name("a")]);
        let gathered = gather.finish();
        assert_eq!((gathered.missing, gathered.complete), (vec![name("a")], false));
    }

    #[test]
    fn of_unknown_workers_nobody_is_missing_and_it_is_never_complete() {
        let mut gather = Gather::new(None);
        gather.take(None, reply("a"));
        gather.take(None, refusal(ErrorKind::internal("x")));
        assert!(!gather.is_complete() && !gather.needs_names());
        let gathered = gather.finish();
        assert_eq!(
            (gathered.replies.len(), gathered.unnamed.len(), gathered.complete),
            (1, 1, false)
        );
    }

    #[test]
    fn a_refusal_without_a_name_is_asked_for_again_by_name() {
        let mut gather = gather(&["a", "b"]);
        gather.take(None, refusal(ErrorKind::internal("x")));
        assert!(!gather.needs_names());
        gather.take(None, reply("b"));
        assert!(gather.needs_names() && !gather.is_complete());
        gather.take(Some(&name("a")), refusal(ErrorKind::internal("x")));
        assert!(gather.is_complete());
        let gathered = gather.finish();
        assert_eq!((gathered.refused.len(), gathered.unnamed.len()), (1, 0));
    }

    #[test]
    fn an_unconfirmed_lease_is_waited_for_and_a_refusal_in_the_end() {
        let mut gather = gather(&["a"]);
        gather.take(Some(&name("a")), refusal(ErrorKind::LeaseUnconfirmed));
        assert!(!gather.is_complete());
        let gathered = gather.finish();
        assert_eq!((gathered.refused.len(), gathered.missing.len()), (1, 0));
    }

    #[test]
    fn a_thread_whose_lease_is_not_confirmed_is_asked_again() {
        let with = |error: Option<ErrorBody>| {
            let thread = ThreadResult { error, ..ThreadResult::default() };
            Answer::Reply(BulkReply {
                worker: "a".into(),
                instance_id: Id::NIL,
                dry_run: false,
                threads: vec![thread],
            })
        };
        let mut one = gather(&["a"]);
        one.take(None, with(Some(ErrorKind::LeaseUnconfirmed.into())));
        assert!(!one.is_complete());
        one.take(Some(&name("a")), with(None));
        assert!(one.is_complete() && one.finish().replies[0].threads[0].error.is_none());

        let mut never = gather(&["a"]);
        never.take(None, with(Some(ErrorKind::LeaseUnconfirmed.into())));
        let gathered = never.finish();
        assert_eq!((gathered.replies.len(), gathered.missing.len()), (1, 0));
    }

    #[test]
    fn answers_that_come_twice_count_once_and_two_processes_of_a_name_twice() {
        let mut gather = gather(&["a"]);
        gather.take(None, reply("a"));
        gather.take(Some(&name("a")), reply("a"));
        let twin = BulkReply {
            worker: "a".into(),
            instance_id: Id::generate(),
            dry_run: false,
            threads: Vec::new(),
        };
        gather.take(None, Answer::Reply(twin));
        gather.take(None, Answer::Unreadable);
        gather.take(None, reply(""));
        let gathered = gather.finish();
        assert_eq!((gathered.replies.len(), gathered.unreadable), (2, 2));
    }
}
