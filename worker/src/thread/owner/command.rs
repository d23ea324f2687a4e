//! What a thread's owner does with a command: a repeat is answered with what the first one was
//! answered; whatever else is decided by [`control`], made durable together with its answer and its
//! event, and then answered.

use shared_msgs::{
    command::{CommandReply, CommandRequest, Outcome, Verb},
    error::ErrorKind,
    id::Id,
    selector::Selection,
};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Owner;
use crate::{
    activity::{Activity, StopRefusal, Stopper},
    failpoint,
    store::{
        database::Change,
        results::{Asked, StoredResult},
    },
    thread::{
        control::{self, Decision},
        mailbox::{Command, Reply, in_its_time, is_undecided, under_its_lease},
    },
};

/// A pause that stops a running processor. It is pending and durable; its answer waits for the
/// processor's end.
pub(super) struct NowPause {
    stopping: Stopping,
    answer: CommandReply,
    id: Option<(Id, Asked)>,
    /// Of the command and its repeats.
    replies: Vec<Reply>,
}

enum Stopping {
    Asked(oneshot::Receiver<Result<(), StopRefusal>>),
    Stopped,
    Refused(StopRefusal),
}

impl NowPause {
    // Ready when the processor will not be stopped; else never.
    pub(super) async fn refused(pause: &mut Option<NowPause>) {
        if let Some(NowPause { stopping, .. }) = pause {
            if let Stopping::Asked(answer) = stopping {
                match answer.await {
                    Ok(Err(refusal)) => *stopping = Stopping::Refused(refusal),
                    // One that is gone has ended.
                    Ok(Ok(())) | Err(_) => *stopping = Stopping::Stopped,
                }
            }
            if matches!(stopping, Stopping::Refused(_)) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Whether the processor was ended for this pause; the stage has just come to an end.
    pub(super) fn has_stopped(&mut self) -> bool {
        if let Stopping::Asked(answer) = &mut self.stopping
            && let Ok(Ok(())) = answer.try_recv()
        {
            self.stopping = Stopping::Stopped;
        }
        matches!(self.stopping, Stopping::Stopped)
    }
}

impl Owner {
    pub(super) async fn command(&mut self, command: Command, activity: Option<&Activity>) {
        let in_stage = activity.is_some_and(Activity::is_in_stage);
        let Command { verb, request, selection, epoch, reply } = command;
        failpoint::reach("owner", verb.name());
        let id = request
            .request_id
            .filter(|_| !request.dry_run)
            .map(|id| (id, Asked::new(verb, &request)));
        if let Some(pause) = self.now_pause.as_mut().filter(|pause| id.is_some() && pause.id == id)
        {
            return pause.replies.push(reply);
        }
        let answer = match self.answered_at_once(verb, &request, epoch, &id).await {
            Some(answer) => answer,
            None => match self.decide(verb, &request, selection.as_deref(), epoch, in_stage) {
                Ok(decision) if request.dry_run => {
                    let reply = self.reply(self.record.revision, decision.outcome);
                    Ok(CommandReply { dry_run: true, ..reply })
                }
                Ok(decision) => {
                    let stopper =
                        activity.and_then(Activity::stopper).filter(|_| request.now && in_stage);
                    let answer =
                        self.carry_out(verb, &request, decision, stopper.is_some(), &id).await;
                    match (answer, stopper, &self.now_pause) {
                        (Ok(answer), Some(stopper), None) if self.record.is_pause_pending() => {
                            return self.stop_now(
                                stopper,
                                NowPause {
                                    stopping: Stopping::Stopped,
                                    answer,
                                    id,
                                    replies: vec![reply],
                                },
                            );
                        }
                        (answer, ..) => answer,
                    }
                }
                Err(refusal) => self.refuse(refusal, verb, &request, id).await,
            },
        };
        reply.send(answer).ok();
    }

    async fn answered_at_once(
        &mut self,
        verb: Verb,
        request: &CommandRequest,
        epoch: Option<u64>,
        id: &Option<(Id, Asked)>,
    ) -> Option<Result<CommandReply, ErrorKind>> {
        if self.held.unusable.is_some() {
            if let Err(refusal) = self.check_lease(epoch) {
                return Some(Err(refusal));
            }
            if let Some(answer) = self.try_to_resume(verb, request).await {
                return Some(answer);
            }
        }
        // What it stands for may have been carried out before.
        if let Err(error) = self.settle().await {
            return Some(Err(ErrorKind::internal(error)));
        }
        self.answered_before(id).await
    }

    async fn answered_before(
        &self,
        id: &Option<(Id, Asked)>,
    ) -> Option<Result<CommandReply, ErrorKind>> {
        let (id, asked) = id.as_ref()?;
        match self.store.result(*id).await {
            Ok(None) => None,
            Ok(Some(known)) if known.asked == *asked => Some(known.answer),
            Ok(Some(_)) => Some(Err(ErrorKind::RequestIdReused { request_id: *id })),
            // It may have been carried out before.
            Err(error) => Some(Err(ErrorKind::internal(error))),
        }
    }

    fn decide(
        &self,
        verb: Verb,
        request: &CommandRequest,
        selection: Option<&Selection>,
        epoch: Option<u64>,
        in_stage: bool,
    ) -> Result<Decision, ErrorKind> {
        self.check_lease(epoch)?;
        in_its_time(request.until_ms, *self.surroundings.server_clock.borrow())?;
        let shown = self.view.borrow().snapshot();
        if selection.is_some_and(|selection| !selection.fits(&shown)) {
            return Err(ErrorKind::NotSelected);
        }
        control::decide(&self.record, verb, request, in_stage, shown.status.name())
    }

    fn check_lease(&self, epoch: Option<u64>) -> Result<(), ErrorKind> {
        under_its_lease(epoch, *self.surroundings.lease.borrow())
    }

    async fn refuse(
        &self,
        refusal: ErrorKind,
        verb: Verb,
        request: &CommandRequest,
        id: Option<(Id, Asked)>,
    ) -> Result<CommandReply, ErrorKind> {
        info!(thread = self.index, verb = verb.name(), by = request.by, %refusal, "refused");
        if let (Some((id, asked)), false) = (id, is_undecided(&refusal)) {
            let result = StoredResult { asked, answer: Err(refusal.clone()) };
            self.store.keep_result(id, result).await.map_err(ErrorKind::internal)?;
        }
        Err(refusal)
    }

    async fn carry_out(
        &mut self,
        verb: Verb,
        request: &CommandRequest,
        decision: Decision,
        stoppable: bool,
        id: &Option<(Id, Asked)>,
    ) -> Result<CommandReply, ErrorKind> {
        let mut after = self.record.clone();
        let Decision { act, outcome } = decision;
        control::apply(&mut after, act, request.reason.as_deref(), self.now_ms());
        let outcome = match outcome {
            Outcome::PausePending { stage, .. } if request.now && !stoppable => {
                Outcome::PausePending {
                    stage,
                    why: Some("what runs inside the worker cannot be stopped".into()),
                }
            }
            outcome => outcome,
        };
        let events = self.changed_to(&after).command(verb, request, &outcome);
        let answer = self.reply(after.revision, outcome);
        let result =
            id.clone().map(|(id, asked)| (id, StoredResult { asked, answer: Ok(answer.clone()) }));
        self.store
            .commit(Change { events, result, ..Change::to(&after) })
            .await
            .map_err(ErrorKind::internal)?;
        let CommandRequest { by, reason, .. } = request;
        info!(thread = self.index, verb = verb.name(), by, reason, ?act, "carried out");
        self.store_works();
        self.adopt(after);
        Ok(answer)
    }

    pub(super) fn reply(&self, revision: u64, outcome: Outcome) -> CommandReply {
        let (index, sector_id) = (self.index, self.record.job_name());
        CommandReply { index, sector_id, revision, outcome, dry_run: false }
    }

    fn stop_now(&mut self, stopper: Stopper, pause: NowPause) {
        let (request, answer) = oneshot::channel();
        // One that is gone ends the stage by itself.
        stopper.send(request).ok();
        self.now_pause = Some(NowPause { stopping: Stopping::Asked(answer), ..pause });
    }

    /// Answers a pause that was to stop the stage, once that has ended or will not.
    pub(super) async fn end_now_pause(&mut self) {
        let Some(NowPause { stopping, answer, id, replies }) = self.now_pause.take() else {
            return;
        };
        let outcome = match (stopping, self.record.is_paused(), answer.outcome) {
            (_, true, _) => Outcome::Paused,
            (Stopping::Refused(StopRefusal { others }), _, Outcome::PausePending { stage, .. }) => {
                let why = format!(
                    "its processor works for {others} other thread{} too",
                    if others == 1 { "" } else { "s" }
                );
                Outcome::PausePending { stage, why: Some(why) }
            }
            // Somebody took it back meanwhile.
            _ => Outcome::PauseWithdrawn,
        };
        let answer = CommandReply { outcome, revision: self.record.revision, ..answer };
        if let Some((id, asked)) = id
            && let Err(error) =
                self.store.keep_result(id, StoredResult { asked, answer: Ok(answer.clone()) }).await
        {
            warn!(thread = self.index, %error, "a repeat of this pause will be answered as if it were pending");
        }
        for reply in replies {
            reply.send(Ok(answer.clone())).ok();
        }
    }
}
