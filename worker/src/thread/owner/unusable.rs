//! A thread whose store cannot be used: its file is damaged or missing, or its disk is not there.
//! Nobody knows what the thread has in hand, so it does nothing and shows why. What may go by
//! itself is looked at again from time to time; else an operator mends it and resumes the thread.

use std::time::Duration;

use shared_msgs::{
    command::{CommandReply, CommandRequest, Outcome, Verb},
    error::ErrorKind,
    snapshot::{MAX_LAST_ERR_BYTES, PausedBy},
    text::cut_text,
};
use tokio::{sync::watch, time::Instant};
use tracing::{error, info};

use super::{Flow, HoldOff, Owner, Shutdown, hold_off, unwritten::Unwritten};
use crate::{
    failure::Failure,
    store::{
        database::StoreError,
        record::{Paused, Record},
        results::{Asked, StoredResult},
    },
    thread::{control, history::Changed},
};

const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Owner {
    /// Goes on where the store says the thread was, if it could be opened.
    pub(super) async fn take_up(&mut self, opened: Result<(), StoreError>) {
        let taken_up = match opened {
            Ok(()) => self.restart().await,
            Err(error) => Err(error),
        };
        if let Err(error) = taken_up {
            self.store.close();
            self.set_unusable(error);
        }
    }

    /// Does nothing until the store can be used.
    pub(super) async fn wait_for_store(&mut self, stop: &mut watch::Receiver<Shutdown>) -> Flow {
        match &self.hold_off {
            Some(HoldOff { until, .. }) if *until <= Instant::now() => {
                self.open_again().await;
                Flow::GoOn
            }
            hold_off => {
                let until = hold_off.as_ref().map(|hold_off| hold_off.until);
                self.rest(until, stop).await
            }
        }
    }

    /// Answers a command to a thread that cannot be used: a resume looks whether it can be by now.
    pub(super) async fn try_to_resume(
        &mut self,
        verb: Verb,
        request: &CommandRequest,
    ) -> Option<Result<CommandReply, ErrorKind>> {
        if verb == Verb::Resume && !request.dry_run {
            self.open_again().await;
        }
        if let Some(error) = &self.unusable {
            return Some(Err(ErrorKind::ThreadUnusable { reason: error.to_string() }));
        }
        // What an operator holds up is for the command to end.
        if self.record.paused.is_some() {
            return None;
        }
        let state = self.record.state.name().to_owned();
        let answer =
            Ok(self
                .reply(self.record.revision, Outcome::Resumed { from: state.clone(), to: state }));
        if let Some(id) = request.request_id {
            let result = StoredResult { asked: Asked::new(verb, request), answer: answer.clone() };
            if let Err(error) = self.store.keep_result(id, result).await {
                return Some(Err(ErrorKind::internal(error)));
            }
        }
        Some(answer)
    }

    async fn open_again(&mut self) {
        let (location, store, places) =
            (self.location.clone(), self.store.clone(), self.places.clone());
        let opened = tokio::task::spawn_blocking(move || location.open(&store, &places)).await;
        let path = self.location.store_file().display().to_string();
        let opened = opened
            .unwrap_or_else(|error| Err(StoreError::Damaged { path, error: error.to_string() }));
        self.take_up(opened).await;
        if self.unusable.is_none() {
            info!(thread = self.index, sector = self.record.job_name(), state = %self.record.state, "its store can be used again");
        }
    }

    async fn restart(&mut self) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        let before = match self.store.load().await? {
            Some(record) => record,
            None => Record::new(self.config.plan()),
        };
        let mut record = before.clone();
        control::apply_restart(&mut record, now_ms);
        let changed = Changed { index: self.index, before: &before, after: &record, at: now_ms };
        let events = match (&record.last_err, before.last_err == record.last_err) {
            (Some(error), false) => changed.failure(&Failure::critical(error)),
            _ => changed.pause(),
        };
        let paused_for = record.paused.map_or(0, |paused| now_ms.saturating_sub(paused.since_ms));
        self.paused_since = Instant::now()
            .checked_sub(Duration::from_millis(paused_for))
            .unwrap_or_else(Instant::now);
        self.record = record;
        self.unusable = None;
        self.hold_off = None;
        // Also stores the request id of a new thread: it must be there before it is sent.
        self.write_down(Unwritten::restarted(events)).await;
        self.show(None);
        Ok(())
    }

    fn set_unusable(&mut self, error: StoreError) {
        let last_err = cut_text(&Failure::critical(&error).to_string(), MAX_LAST_ERR_BYTES);
        if self.unusable.as_ref() != Some(&error) {
            error!(thread = self.index, location = %self.location.path().display(), "it cannot be used: {error}");
            self.paused_since = Instant::now();
        }
        let paused = Some(Paused { by: PausedBy::Error, since_ms: self.now_ms() });
        self.record =
            Record { paused, last_err: Some(last_err), ..Record::new(self.config.plan()) };
        self.hold_off = error.may_pass().then(|| hold_off("its store", LOOK_AGAIN));
        self.unusable = Some(error);
        self.show(None);
    }
}
