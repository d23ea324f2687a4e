//! One task owns what a sidecar knows of a damocles-worker: it lists the threads every second, sends
//! what is held when that does no harm, and carries commands out, one batch after the other.
//!
//! ```text
//!            commands                               views (watch), runs (watch)
//!  commands.rs -------> mailbox -> Owner -----------------------------------> session.rs, snapshots.rs
//!                                  |  ^ |
//!                 mirror, kept,    |  | +--> memory (one transaction a change)
//!                 release,         v  |
//!                 decision (pure)  the socket of the damocles-worker
//! ```
//! What always holds:
//! - Before anything is sent, the threads are listed, and what it means for them is decided by that.
//! - Threads are commanded by their place in the list, never by the `index` that it shows.
//! - That a pause is sent is written down before, and that a resume is on its way too: a sidecar that
//!   is killed in between reads the list, and knows.
//! - Nothing is sent by a process that does not hold its lease.
//! - A worker that does not answer is asked once for all that waits; nobody waits for it longer.
//!
//! Tests: the scenarios `damocles::sidecar`, over a damocles-worker that is played.

use std::{sync::Arc, time::Duration};

use damocles_client::server_clock::ServerClock;
use damocles_wire::{
    json_rpc::CallError,
    worker::{INVALID_PARAMS, WorkerInfo, WorkerSocket},
};
use shared_msgs::{
    command::{CommandReply, Outcome, Verb},
    error::ErrorKind,
    event::{Event, EventKind},
    plan::State,
    snapshot::{PausedBy, ThreadStatus},
    text::{cut_text, printable},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tracing::{info, warn};

use super::{
    decision::{Act, Decision, Followed, decide, followed, outcome_of_pause},
    kept::{InBox, Kept, Resuming},
    memory::Memory,
    mirror::{Seen, happened, restarted},
    release::{Wanted, may_send},
    view::{View, snapshot, status},
};
use crate::{
    clock::Clock,
    failpoint,
    lease::LeaseState,
    store::{
        mirror::Answered,
        results::{Asked, StoredResult},
    },
    thread::mailbox::{Command, in_its_time, is_undecided, under_its_lease},
};

/// How often the threads are listed.
const EVERY: Duration = Duration::from_secs(1);
/// So often what was sent is looked for in the list, and so long.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const LOOKS: u32 = 10;
const SIDECAR_BEGAN: &str = "its sidecar began";
/// Some of a version is enough.
const MAX_VERSION_BYTES: usize = 64;

/// One run of the damocles-worker, as far as its sidecar can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Counts from 1.
    pub(crate) number: u64,
    pub(crate) threads: usize,
    /// As it says itself, since v0.7.
    pub(crate) version: Option<String>,
    /// Why it is a run of its own.
    pub(crate) why: &'static str,
}

/// What an owner is put together from.
pub(crate) struct Parts {
    pub(crate) socket: WorkerSocket,
    pub(crate) memory: Memory,
    /// As it was kept, by position.
    pub(crate) kept: Vec<Kept>,
    pub(crate) mailbox: mpsc::Receiver<(usize, Command)>,
    pub(crate) views: watch::Sender<Vec<View>>,
    pub(crate) runs: watch::Sender<Option<Run>>,
    /// Told when there is something new to show.
    pub(crate) changed: Arc<Notify>,
    pub(crate) lease: watch::Receiver<LeaseState>,
    pub(crate) server_clock: watch::Receiver<Option<ServerClock>>,
    pub(crate) clock: Clock,
}

/// Owns what is known of one damocles-worker.
pub(crate) struct Owner {
    parts: Parts,
    /// By position; empty until it was listed.
    threads: Vec<Listed>,
    /// Since when it does not answer, and why.
    unreachable: Option<(Instant, String)>,
    /// Whether there was no connection since it was listed.
    refused: bool,
}

// A thread as it was listed last, and since when it stands so.
#[derive(Clone, Debug)]
struct Listed {
    seen: Seen,
    since: Instant,
    at: Instant,
}

// A command of which the outcome has to be seen.
struct Sent {
    position: usize,
    verb: Verb,
    command: Command,
    before: Seen,
    what: What,
}

enum What {
    Pause,
    Resume { state: Option<State>, outcome: Outcome, repeated: bool },
}

type Answer = Result<CommandReply, ErrorKind>;

impl Owner {
    /// An owner that has not listed anything yet.
    pub(crate) fn new(parts: Parts) -> Owner {
        Owner { parts, threads: vec![], unreachable: None, refused: true }
    }

    /// Works until nobody can send commands any more.
    pub(crate) async fn run(mut self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        self.look().await;
        // What was known when it was last there is shown until it answers.
        if self.threads.is_empty() && !self.parts.kept.is_empty() {
            let threads = self.parts.kept.len();
            let run = Run { number: 1, threads, version: None, why: SIDECAR_BEGAN };
            self.parts.runs.send_replace(Some(run));
        }
        loop {
            tokio::select! {
                biased;
                command = self.parts.mailbox.recv() => match command {
                    Some(first) => self.batch(first).await,
                    None => return,
                },
                _ = ticks.tick() => self.look().await,
            }
            failpoint::reach("task", "sidecar");
        }
    }

    // Lists the threads, and sends what may be sent.
    async fn look(&mut self) {
        if self.list().await {
            self.release().await;
            self.end_what_nobody_wants().await;
        }
    }

    // Whether the worker has answered.
    async fn list(&mut self) -> bool {
        match self.parts.socket.list().await {
            Ok(list) => self.take(&list).await,
            Err(error) => {
                self.silent(&error);
                false
            }
        }
    }

    fn silent(&mut self, error: &CallError) {
        self.refused |= matches!(error, CallError::Unreachable(_));
        let why = error.to_string();
        let known = self.unreachable.take();
        if known.as_ref().is_none_or(|(_, known)| *known != why) {
            warn!(error = why, "the damocles-worker does not answer");
        }
        let since = known.map_or_else(Instant::now, |(since, _)| since);
        self.unreachable = Some((since, why));
        self.show();
    }

    // Whether it could be taken in.
    async fn take(&mut self, list: &[WorkerInfo]) -> bool {
        let now = Instant::now();
        let seen: Vec<Seen> = list.iter().map(Seen::of).collect();
        let before: Vec<Seen> = self.threads.iter().map(|thread| thread.seen.clone()).collect();
        let anew = restarted(&before, &seen, self.refused);
        let mut kept = self.parts.kept.clone();
        kept.resize_with(seen.len(), Kept::default);
        let (mut events, at) = (vec![], (self.parts.clock)());
        for (position, (kept, seen)) in kept.iter_mut().zip(&seen).enumerate() {
            if kept.shown.location != seen.shown.location {
                // Another thread than the one that was here; its revisions go on.
                *kept = Kept { revision: kept.revision, ..Kept::default() };
            } else if anew.is_some() && !self.threads.is_empty() {
                kept.restarted();
            }
            let was = kept.shown.clone();
            kept.see(seen);
            if was.location == seen.shown.location {
                events.extend(happened(position, &was, &kept.shown, kept.revision, at));
            }
        }
        if kept != self.parts.kept
            && let Err(error) = self.parts.memory.commit(&kept, events, vec![]).await
        {
            warn!(%error, "what has happened cannot be written down yet");
            // The next list says it again.
            self.refused = anew.is_some();
            self.show();
            return false;
        }
        self.parts.kept = kept;
        let known = std::mem::take(&mut self.threads).into_iter();
        let mut known = known.filter(|_| anew.is_none());
        self.threads = seen
            .into_iter()
            .map(|seen| match known.next() {
                Some(listed) if seen.stands_as(&listed.seen) => Listed { seen, at: now, ..listed },
                _ => Listed { seen, since: now, at: now },
            })
            .collect();
        self.refused = false;
        if self.unreachable.take().is_some() {
            info!(threads = list.len(), "the damocles-worker answers");
        }
        self.show();
        if let Some(why) = anew {
            self.begin_run(why).await;
        }
        true
    }

    async fn begin_run(&mut self, why: &'static str) {
        let version = self.parts.socket.version().await.ok().flatten();
        let version = version.map(|text| cut_text(&printable(&text), MAX_VERSION_BYTES));
        let number = self.parts.runs.borrow().as_ref().map_or(0, |run| run.number) + 1;
        let why = if number == 1 { SIDECAR_BEGAN } else { why };
        info!(
            run = number,
            threads = self.threads.len(),
            version,
            why,
            "a run of the damocles-worker"
        );
        let run = Run { number, threads: self.threads.len(), version, why };
        self.parts.runs.send_replace(Some(run));
    }

    fn show(&self) {
        let now = Instant::now();
        let views: Vec<View> = (self.parts.kept.iter().enumerate())
            .map(|(position, kept)| {
                let listed = self.threads.get(position);
                let status = listed.map_or(ThreadStatus::Other, |listed| {
                    status(&listed.seen, kept, listed.at - listed.since)
                });
                View {
                    thread: snapshot(position, kept, status),
                    at: listed.map_or(now, |listed| listed.at),
                    unreachable: self.unreachable.clone(),
                }
            })
            .collect();
        let key = |views: &[View]| -> Vec<_> {
            let key = |view: &View| {
                let unreachable = view.unreachable.as_ref().map(|(_, why)| why.clone());
                let status = view.thread.status.name();
                (status, view.thread.revision, view.thread.cordoned, unreachable)
            };
            views.iter().map(key).collect()
        };
        let news = key(&self.parts.views.borrow()) != key(&views);
        self.parts.views.send_replace(views);
        if news {
            self.parts.changed.notify_one();
        }
    }

    fn may_act(&self) -> bool {
        self.parts.lease.borrow().may_act(Instant::now())
    }

    // Sends every pause that may be sent now; whether there was one.
    async fn release(&mut self) -> bool {
        let mut sent = false;
        for position in 0..self.threads.len() {
            let wanted = self.parts.kept[position].wanted();
            if !wanted.is_some_and(|wanted| self.may_send(wanted, position)) || !self.may_act() {
                continue;
            }
            let mut kept = self.parts.kept.clone();
            kept[position].sent();
            if !self.keep(kept).await {
                continue;
            }
            failpoint::reach("sidecar", "pause");
            match self.parts.socket.pause(position).await {
                // In it is either way.
                Ok(taken) => {
                    sent = true;
                    info!(thread = position, taken, "a pause was sent to the damocles-worker");
                }
                Err(error) if error.may_have_acted() => {
                    sent = true;
                    self.silent(&error);
                    break;
                }
                Err(error) => {
                    let mut kept = self.parts.kept.clone();
                    kept[position].not_sent();
                    self.keep(kept).await;
                    self.silent(&error);
                    break;
                }
            }
        }
        if sent {
            self.show();
        }
        sent
    }

    fn may_send(&self, wanted: Wanted, position: usize) -> bool {
        let Some(Listed { seen, since, at }) = self.threads.get(position) else { return false };
        may_send(wanted, seen, *at - *since)
    }

    // A pause that only a cordon wanted, which is over, came into force.
    async fn end_what_nobody_wants(&mut self) {
        for position in 0..self.threads.len() {
            let kept = &self.parts.kept[position];
            let ends = kept.resume_next && kept.in_box != InBox::Pause;
            if !ends || !self.may_act() {
                continue;
            }
            // An error that came first is for an operator to look at.
            let seen = &self.threads[position].seen;
            if seen.shown.paused == Some(PausedBy::Operator)
                && let Err(error) = self.parts.socket.resume(position, None).await
            {
                self.silent(&error);
                return;
            }
            let mut kept = self.parts.kept.clone();
            (kept[position].resume_next, kept[position].for_cordon) = (false, false);
            self.keep(kept).await;
        }
    }

    // Whether it was written down.
    async fn keep(&mut self, kept: Vec<Kept>) -> bool {
        match self.parts.memory.commit(&kept, vec![], vec![]).await {
            Ok(()) => {
                self.parts.kept = kept;
                true
            }
            Err(error) => {
                warn!(%error, "nothing is sent that cannot be written down");
                false
            }
        }
    }

    // What has come together is answered by the same lists.
    async fn batch(&mut self, first: (usize, Command)) {
        let mut commands = vec![first];
        while let Ok(command) = self.parts.mailbox.try_recv() {
            commands.push(command);
        }
        while !commands.is_empty() {
            // Of two for one thread the second may be a repeat of the first, or follow from it.
            let (mut round, mut later): (Vec<(usize, Command)>, _) = (vec![], vec![]);
            for (position, command) in commands {
                match round.iter().any(|(taken, _)| *taken == position) {
                    true => later.push((position, command)),
                    false => round.push((position, command)),
                }
            }
            self.round(round).await;
            commands = later;
        }
    }

    async fn round(&mut self, commands: Vec<(usize, Command)>) {
        let mut asked = vec![];
        for (position, command) in commands {
            match self.answered_before(position, &command).await {
                Some(answer) => drop(command.reply.send(answer)),
                None => asked.push((position, command)),
            }
        }
        if asked.is_empty() {
            return;
        }
        self.list().await;
        let mut sent = vec![];
        for (position, command) in asked {
            match self.carry_out(position, &command).await {
                Ok(Some(what)) => {
                    let before = self.threads[position].seen.clone();
                    sent.push(Sent { position, verb: command.verb, command, before, what });
                }
                Ok(None) => {}
                Err(answer) => drop(command.reply.send(answer)),
            }
        }
        self.release().await;
        self.settle(sent).await;
        self.end_what_nobody_wants().await;
    }

    async fn answered_before(&self, position: usize, command: &Command) -> Option<Answer> {
        let (request_id, asked) = id_of(command)?;
        match self.parts.memory.answered(position, request_id).await {
            Ok(None) => None,
            Ok(Some(known)) if known.asked == asked => Some(known.answer),
            Ok(Some(_)) => Some(Err(ErrorKind::RequestIdReused { request_id })),
            // It may have been carried out before.
            Err(error) => Some(Err(ErrorKind::internal(error))),
        }
    }

    fn decide(&self, position: usize, command: &Command) -> Result<Decision, ErrorKind> {
        let Command { verb, request, selection, epoch, .. } = command;
        under_its_lease(*epoch, *self.parts.lease.borrow())?;
        in_its_time(request.until_ms, *self.parts.server_clock.borrow())?;
        if let Some((_, why)) = &self.unreachable {
            return Err(unreachable(why));
        }
        let (Some(Listed { seen, .. }), Some(kept)) =
            (self.threads.get(position), self.parts.kept.get(position))
        else {
            let threads = self.threads.len() as u32;
            return Err(ErrorKind::ThreadNotFound { index: position as u32, threads });
        };
        let shown = self.parts.views.borrow()[position].snapshot();
        if selection.as_ref().is_some_and(|selection| !selection.fits(&shown)) {
            return Err(ErrorKind::NotSelected);
        }
        let may_send = self.may_send(Wanted::Pause, position);
        decide(kept, seen, *verb, request, may_send, shown.status.name())
    }

    // What has to be seen before it is answered; or `None`, and the answer. The error is an answer.
    async fn carry_out(
        &mut self,
        position: usize,
        command: &Command,
    ) -> Result<Option<What>, Answer> {
        let decision = match self.decide(position, command) {
            Ok(decision) => decision,
            Err(refusal) => return Err(self.refuse(position, command, refusal).await),
        };
        let Decision { act, outcome } = decision;
        if command.request.dry_run {
            let reply = self.reply(position, outcome);
            return Err(Ok(CommandReply { dry_run: true, ..reply }));
        }
        let mut kept = self.parts.kept.clone();
        let own = &mut kept[position];
        match act {
            Act::Nothing => own.resuming = None,
            Act::TakeOver => (own.held, own.for_cordon, own.resume_next) = (false, false, false),
            Act::Hold => (own.held, own.resume_next) = (true, false),
            Act::TakeBack => own.held = false,
            Act::Cordon => (own.cordoned, own.resume_next) = (true, false),
            Act::Uncordon => own.cordoned = false,
            Act::UncordonAndResume => (own.cordoned, own.resume_next) = (false, true),
            Act::Resume(state) => {
                if let (Some((request_id, _)), Outcome::Resumed { from, to }) =
                    (id_of(command), &outcome)
                {
                    let (from, to) = (from.clone(), to.clone());
                    own.resuming = Some(Resuming { request_id, from, to });
                }
                if !self.keep(kept).await {
                    return Err(Err(ErrorKind::internal("it cannot be written down")));
                }
                return self
                    .resume(position, state)
                    .await
                    .map(|()| Some(What::Resume { state, outcome, repeated: false }));
            }
        }
        if act == Act::Hold {
            if !self.keep(kept).await {
                return Err(Err(ErrorKind::internal("it cannot be written down")));
            }
            return Ok(Some(What::Pause));
        }
        own.revision += u64::from(act != Act::Nothing);
        Err(self.answer(position, command, kept, outcome).await)
    }

    // The error is an answer.
    async fn resume(&mut self, position: usize, state: Option<State>) -> Result<(), Answer> {
        failpoint::reach("sidecar", "resume");
        let name = state.map(State::name);
        for _ in 0..2 {
            match self.parts.socket.resume(position, name).await {
                Ok(true) => return Ok(()),
                // Once a minute a paused thread does not wait for it for an instant.
                Ok(false) if self.list().await && self.threads[position].seen.is_paused() => {}
                Ok(false) => {
                    let status = self.parts.views.borrow()[position].snapshot().status;
                    return Err(Err(ErrorKind::NotPaused { status: status.name().to_owned() }));
                }
                Err(error) if error.code() == Some(INVALID_PARAMS) => {
                    let what = format!("resuming in state {}", name.unwrap_or("as it is"));
                    return Err(Err(ErrorKind::NotSupported { what, why: error.to_string() }));
                }
                Err(error) => {
                    self.silent(&error);
                    let detail = error.to_string();
                    return Err(Err(match error.may_have_acted() {
                        true => ErrorKind::OutcomeUnknown { detail },
                        false => unreachable(&detail),
                    }));
                }
            }
        }
        let busy = "the damocles-worker did not take it although the thread is paused: nothing was done, try again";
        Err(Err(ErrorKind::internal(busy)))
    }

    // Looks until the list says what has become of what was sent.
    async fn settle(&mut self, mut sent: Vec<Sent>) {
        for look in 1..=LOOKS {
            if sent.is_empty() {
                return;
            }
            // What is held needs no look: it is said as it is.
            let waits = sent.iter().any(|sent| match sent.what {
                What::Pause => !self.parts.kept[sent.position].held,
                What::Resume { .. } => true,
            });
            let listed = !waits || self.list().await;
            let last = look == LOOKS || !listed;
            let mut open = vec![];
            for one in sent {
                if let Some(one) = self.settle_one(one, last).await {
                    open.push(one);
                }
            }
            sent = open;
            if !sent.is_empty() {
                sleep(LOOK_AGAIN).await;
            }
        }
    }

    async fn settle_one(&mut self, sent: Sent, last: bool) -> Option<Sent> {
        let Sent { position, verb, command, before, what } = sent;
        let (Some(listed), Some(kept)) =
            (self.threads.get(position), self.parts.kept.get(position))
        else {
            let threads = self.threads.len() as u32;
            let gone = ErrorKind::ThreadNotFound { index: position as u32, threads };
            command.reply.send(Err(gone)).ok();
            return None;
        };
        let outcome = match what {
            What::Pause => {
                let outcome = outcome_of_pause(kept, &listed.seen);
                if outcome != Outcome::Paused && !kept.held && !last {
                    return Some(Sent { position, verb, command, before, what });
                }
                outcome
            }
            What::Resume { state, outcome, repeated } => {
                let may_be_left = kept.in_box == InBox::PauseMayBeLeft;
                match followed(&before, &listed.seen, last) {
                    Followed::WentOn => outcome,
                    Followed::NotYet => {
                        let what = What::Resume { state, outcome, repeated };
                        return Some(Sent { position, verb, command, before, what });
                    }
                    // The pause that an error overtook: now it is gone.
                    Followed::Undone if may_be_left && !repeated => {
                        let mut kept = self.parts.kept.clone();
                        kept[position].in_box = InBox::Nothing;
                        let before = listed.seen.clone();
                        let resumed = match self.keep(kept).await {
                            true => self.resume(position, state).await,
                            false => Err(Err(ErrorKind::internal("it cannot be written down"))),
                        };
                        if let Err(answer) = resumed {
                            command.reply.send(answer).ok();
                            return None;
                        }
                        let what = What::Resume { state, outcome, repeated: true };
                        return Some(Sent { position, verb, command, before, what });
                    }
                    Followed::Undone => {
                        let detail = "the thread is paused again at once, where it was: a pause that somebody else had sent was in its box; look at it, and resume it again";
                        let unknown = ErrorKind::OutcomeUnknown { detail: detail.into() };
                        command.reply.send(Err(unknown)).ok();
                        return None;
                    }
                }
            }
        };
        let mut kept = self.parts.kept.clone();
        if verb == Verb::Resume {
            let own = &mut kept[position];
            (own.resuming, own.in_box) = (None, InBox::Nothing);
            (own.for_cordon, own.resume_next) = (false, false);
        }
        kept[position].revision += 1;
        let answer = self.answer(position, &command, kept, outcome).await;
        command.reply.send(answer).ok();
        None
    }

    // Makes the change durable with its answer and its event.
    async fn answer(
        &mut self,
        position: usize,
        command: &Command,
        kept: Vec<Kept>,
        outcome: Outcome,
    ) -> Answer {
        let Command { verb, request, .. } = command;
        let shown = &kept[position].shown;
        let moved = match &outcome {
            Outcome::Resumed { from, to } if from != to => Some(to.clone()),
            _ => None,
        };
        let from = match &outcome {
            Outcome::Resumed { from, .. } => from.clone(),
            _ => shown.state.clone(),
        };
        let event = Event {
            index: Some(position as u32),
            sector_id: shown.job.clone(),
            from: Some(from),
            to: moved,
            revision: Some(kept[position].revision),
            outcome: Some(outcome.clone()),
            by: request.by.clone(),
            reason: request.reason.clone(),
            request_id: request.request_id,
            ..Event::new(EventKind::Command(*verb), (self.parts.clock)())
        };
        let reply = CommandReply {
            index: position as u32,
            sector_id: shown.job.clone(),
            revision: kept[position].revision,
            outcome,
            dry_run: false,
        };
        let answered = id_of(command).map(|(request_id, asked)| Answered {
            thread: position,
            request_id,
            result: StoredResult { asked, answer: Ok(reply.clone()) },
        });
        let answered = answered.into_iter().collect();
        self.parts
            .memory
            .commit(&kept, vec![event], answered)
            .await
            .map_err(ErrorKind::internal)?;
        let (by, reason) = (&request.by, &request.reason);
        info!(thread = position, verb = verb.name(), by, reason, outcome = ?reply.outcome, "carried out");
        self.parts.kept = kept;
        self.show();
        Ok(reply)
    }

    async fn refuse(&mut self, position: usize, command: &Command, refusal: ErrorKind) -> Answer {
        let (verb, by) = (command.verb.name(), &command.request.by);
        info!(thread = position, verb, by, %refusal, "refused");
        let undecided = is_undecided(&refusal)
            || matches!(
                refusal,
                ErrorKind::ThreadUnusable { .. } | ErrorKind::ThreadNotFound { .. }
            );
        if let (Some((request_id, asked)), false) = (id_of(command), undecided) {
            let result = StoredResult { asked, answer: Err(refusal.clone()) };
            let answered = vec![Answered { thread: position, request_id, result }];
            let kept = &self.parts.kept;
            self.parts.memory.commit(kept, vec![], answered).await.map_err(ErrorKind::internal)?;
        }
        Err(refusal)
    }

    fn reply(&self, position: usize, outcome: Outcome) -> CommandReply {
        let kept = &self.parts.kept[position];
        CommandReply {
            index: position as u32,
            sector_id: kept.shown.job.clone(),
            revision: kept.revision,
            outcome,
            dry_run: false,
        }
    }
}

// A command that says only what would happen is a question.
fn id_of(command: &Command) -> Option<(shared_msgs::id::Id, Asked)> {
    let request = &command.request;
    let id = request.request_id.filter(|_| !request.dry_run)?;
    Some((id, Asked::new(command.verb, request)))
}

fn unreachable(why: &str) -> ErrorKind {
    let reason = format!("its damocles-worker does not answer: {why}");
    ErrorKind::ThreadUnusable { reason }
}
