//! A thread whose store cannot be used: its file is damaged or missing, or its disk is not there.
//! Nobody knows what the thread has in hand, so it does nothing and shows why. What may go by
//! itself is looked at again from time to time; else an operator mends it and resumes the thread.

use std::time::Duration;

use shared_msgs::{
    command::{CommandReply, CommandRequest, Outcome, Verb},
    error::ErrorKind,
};
use tokio::time::Instant;
use tracing::{error, info};

use super::{Owner, unwritten::Unwritten};
use crate::{
    failure::Failure,
    store::{
        database::StoreError,
        record::Record,
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

    /// Answers a command to a thread that cannot be used: a resume looks whether it can be by now.
    pub(super) async fn try_to_resume(
        &mut self,
        verb: Verb,
        request: &CommandRequest,
    ) -> Option<Result<CommandReply, ErrorKind>> {
        if verb == Verb::Resume && !request.dry_run {
            self.open_again().await;
        }
        if let Some(error) = &self.held.unusable {
            return Some(Err(ErrorKind::ThreadUnusable { reason: error.to_string() }));
        }
        // What an operator holds up is for the command to end.
        if self.record.is_paused() {
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

    /// Looks whether the store can be used by now.
    pub(super) async fn open_again(&mut self) {
        let (location, store, places) =
            (self.location.clone(), self.store.clone(), self.surroundings.places.clone());
        let opened = tokio::task::spawn_blocking(move || location.open(&store, &places)).await;
        let path = self.location.store_file().display().to_string();
        let opened = opened
            .unwrap_or_else(|error| Err(StoreError::Damaged { path, error: error.to_string() }));
        self.take_up(opened).await;
        if self.held.unusable.is_none() {
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
        control::restart(&mut record, now_ms);
        let changed = Changed { index: self.index, before: &before, after: &record, at: now_ms };
        let events = match (&record.last_err, before.last_err == record.last_err) {
            (Some(error), false) => changed.failure(&Failure::critical(error)),
            _ => changed.pause(),
        };
        let paused_for = record.paused().map_or(0, |paused| now_ms.saturating_sub(paused.since_ms));
        let paused_since = Instant::now()
            .checked_sub(Duration::from_millis(paused_for))
            .unwrap_or_else(Instant::now);
        self.view.send_modify(|view| view.paused_since = paused_since);
        self.record = record;
        self.held.unusable = None;
        self.held.hold_off = None;
        // Also stores the request id of a new thread: it must be there before it is sent.
        self.write_down(Unwritten::restarted(events)).await;
        self.show(None);
        Ok(())
    }

    fn set_unusable(&mut self, error: StoreError) {
        if self.held.unusable.as_ref() != Some(&error) {
            error!(thread = self.index, location = %self.location.path().display(), "it cannot be used: {error}");
            self.view.send_modify(|view| view.paused_since = Instant::now());
        }
        let why = Failure::critical(&error);
        self.record = control::unusable(self.config.plan(), &why, self.now_ms());
        self.held.hold_off = None;
        if error.may_pass() {
            self.hold_off("its store", LOOK_AGAIN);
        }
        self.held.unusable = Some(error);
        self.show(None);
    }
}
