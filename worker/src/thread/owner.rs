//! The task that owns one sealing thread's state.
//!
//! ```text
//!   +--> paused? -- yes --> wait for a command ------------------+
//!   |      no                                                    |
//!   |    hold off? (a retry, no sector) -> wait, or a command ---+
//!   |      no                                                    |
//!   |    one step of the plan, or a command meanwhile            |
//!   |      -> commit the next state, or the failure              |
//!   +------------------------------------------------------------+
//! ```
//! Each change is committed before anybody sees it. A command is answered in milliseconds: it never waits for a stage.

mod command;

use std::{sync::Arc, time::Duration};

use shared_msgs::{event::Event, plan::State};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

pub use self::command::{Command, Reply};
use self::command::{NowPause, Standing};
use super::report::{Report, Reports};
use super::{
    activity::{Activity, Kind, Now},
    control::{self, Decision, Doing, Heed},
    failure::{Failure, Level},
    history::Changed,
    own_config::OwnConfig,
    verdict::Verdict,
    view::{Shown, ThreadView},
};
use crate::{
    clock::Clock,
    config::ThreadConfig,
    failpoint,
    plan::driver::{Moved, Step, Steps, heavy_stage},
    stage::Shared,
    store::{
        database::{Change, Store, StoreError},
        location::Location,
        record::{Blob, Record},
    },
    tenure::Tenure,
};

/// What others ask of a thread.
#[derive(Debug)]
pub enum Message {
    /// A command of an operator.
    Command(Box<Command>),
    /// What the sector manager says of this job.
    Verdict {
        /// See [`Record::job_name`].
        job: String,
        /// What it says.
        verdict: Verdict,
    },
}

/// A thread that was opened and does not run yet.
pub struct Owner {
    index: u32,
    location: Location,
    store: Store,
    record: Record,
    config: OwnConfig,
    /// A question for a job was cut off: its answer may be a job, so the same question is asked again.
    question_open: bool,
    shared: Arc<Shared>,
    steps: Arc<dyn Steps>,
    tenure: watch::Receiver<Tenure>,
    reports: Reports,
    mailbox: mpsc::Receiver<Message>,
    mailbox_sender: mpsc::Sender<Message>,
    view: watch::Sender<ThreadView>,
    changed: Arc<Notify>,
    clock: Clock,
    /// Before this moment no step begins.
    hold_off: Option<HoldOff>,
    /// What the sector manager says of the job in hand: the thread heeds it as soon as nothing runs and no operator holds it up.
    verdict: Option<Failure>,
    /// A pause that stops a running processor, until it has.
    now_pause: Option<NowPause>,
    paused_since: Instant,
    cordoned_since: Instant,
}

struct HoldOff {
    until: Instant,
    now: Now,
}

/// How others reach a thread.
#[derive(Clone)]
pub struct ThreadHandle {
    /// Takes commands.
    pub mailbox: mpsc::Sender<Message>,
    /// What the thread shows.
    pub view: watch::Receiver<ThreadView>,
}

/// What an owner needs from its worker.
pub struct Surroundings {
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// What does the steps of its plan.
    pub steps: Arc<dyn Steps>,
    /// Whether commands may be carried out.
    pub tenure: watch::Receiver<Tenure>,
    /// Where state changes are reported to the sector manager.
    pub reports: Reports,
    /// Told after every change.
    pub changed: Arc<Notify>,
    /// The time of day.
    pub clock: Clock,
}

/// Whether the worker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It does not.
    No,
    /// As soon as no stage runs.
    AtSafePoint,
    /// Now: a stage that runs is given up and run again after the next start.
    Now,
}

/// Whether the thread goes on or the process ends.
#[derive(PartialEq, Eq)]
enum Flow {
    GoOn,
    Stop,
}

impl Owner {
    /// Takes a thread up where its store says it was.
    pub async fn open(
        index: u32,
        location: Location,
        store: Store,
        config: ThreadConfig,
        surroundings: Surroundings,
    ) -> Result<(Owner, ThreadHandle), StoreError> {
        let now_ms = (surroundings.clock)();
        let mut record = match store.load()? {
            Some(record) => record,
            None => Record::new(config.hot.plan),
        };
        let before = record.clone();
        control::apply_restart(&mut record, now_ms);
        let changed = Changed { index, before: &before, after: &record, at: now_ms };
        let events = match (&record.last_err, before.last_err == record.last_err) {
            (Some(error), false) => changed.failure(&Failure::critical(error)),
            _ => changed.pause(),
        };
        // Also stores the request id of a new thread: it must be there before it is sent.
        store.commit(Change { events, ..Change::to(&record) }).await?;
        let paused_for = record.paused.map_or(0, |paused| now_ms.saturating_sub(paused.since_ms));
        let paused_since = Instant::now().checked_sub(Duration::from_millis(paused_for)).unwrap_or_else(Instant::now);
        let view = watch::Sender::new(ThreadView {
            index,
            location: location.path().to_owned(),
            record: record.clone(),
            doing: shown(&record, paused_since, None),
            warning: None,
            verdict: None,
        });
        let (mailbox_sender, mailbox) = mpsc::channel(64);
        let handle = ThreadHandle { mailbox: mailbox_sender.clone(), view: view.subscribe() };
        let Surroundings { shared, steps, tenure, reports, changed, clock } = surroundings;
        let owner = Owner {
            index,
            location,
            store,
            record,
            config: OwnConfig::new(index, config),
            question_open: false,
            shared,
            steps,
            tenure,
            reports,
            mailbox,
            mailbox_sender,
            view,
            changed,
            clock,
            hold_off: None,
            verdict: None,
            now_pause: None,
            paused_since,
            cordoned_since: Instant::now(),
        };
        Ok((owner, handle))
    }

    /// Runs until the worker stops.
    pub async fn run(mut self, mut stop: watch::Receiver<Stop>) {
        loop {
            self.show(None);
            let flow = if self.heed_verdict().await {
                Flow::GoOn
            } else if self.record.paused.is_some() {
                self.rest(None, &mut stop).await
            } else if self.is_cordoned_off() {
                self.show(Some(Now { kind: Kind::Waiting { reason: "uncordon".into() }, since: self.cordoned_since }));
                self.rest(None, &mut stop).await
            } else if let Some((until, now)) = self.pending_hold_off() {
                self.show(Some(now));
                self.rest(Some(until), &mut stop).await
            } else {
                self.step(&mut stop).await
            };
            if flow == Flow::Stop {
                break;
            }
        }
        // A stage that a stop cut off was no death of the process.
        if self.record.running.take().is_some()
            && let Err(error) = self.store.commit(Change::to(&self.record)).await
        {
            warn!(thread = self.index, %error, "the end could not be recorded");
        }
    }

    fn pending_hold_off(&mut self) -> Option<(Instant, Now)> {
        self.hold_off.take_if(|hold_off| hold_off.until <= Instant::now());
        self.hold_off.as_ref().map(|hold_off| (hold_off.until, hold_off.now.clone()))
    }

    // Whether it would take a new job and must not.
    fn is_cordoned_off(&self) -> bool {
        self.record.cordoned && self.record.state == State::Empty
    }

    // Waits for a moment or for ever, for a command, or for the worker to stop.
    async fn rest(&mut self, until: Option<Instant>, stop: &mut watch::Receiver<Stop>) -> Flow {
        let wake = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = told(stop, |stop| stop != Stop::No) => return Flow::Stop,
            Some(message) = self.mailbox.recv() => self.handle(message, Standing { doing: Doing::Waiting, stopper: None }).await,
            () = wake => {}
        }
        Flow::GoOn
    }

    async fn step(&mut self, stop: &mut watch::Receiver<Stop>) -> Flow {
        if let Err(failure) = self.read_config().await {
            self.fail(failure).await;
            return Flow::GoOn;
        }
        if let Err(failure) = self.mark_running().await {
            self.fail(failure).await;
            return Flow::GoOn;
        }
        self.question_open = self.record.state == State::Empty;
        let activity = Activity::begin();
        let mut activity_changes = activity.watch();
        let (record, location, store) = (self.record.clone(), self.location.clone(), self.store.clone());
        let (sealing, shared) = (self.config.sealing.clone(), self.shared.clone());
        let step = Step { record: &record, location: &location, store: &store, sealing: &sealing, shared: &shared, activity: &activity };
        let mut running = self.steps.clone().run(&step);
        self.show(Some(activity.now()));
        let mut stop_now = stop.clone();
        let mut stopping = false;
        let outcome = loop {
            tokio::select! {
                // The step first: what it has yielded must not be dropped for a command that came at the same time.
                biased;
                outcome = &mut running => break outcome,
                () = NowPause::refused(&mut self.now_pause) => self.end_now_pause().await,
                _ = activity_changes.changed() => {
                    self.note_running(activity.doing()).await;
                    self.show(Some(activity.now()));
                }
                () = told(stop, |stop| stop != Stop::No), if !stopping => stopping = true,
                () = told(&mut stop_now, |stop| stop == Stop::Now) => return Flow::Stop,
                Some(message) = self.mailbox.recv() => {
                    self.handle(message, Standing { doing: activity.doing(), stopper: activity.stopper() }).await;
                    self.show(Some(activity.now()));
                }
            }
            if activity.doing() == Doing::InStage {
                continue;
            }
            if stopping {
                return Flow::Stop;
            }
            if self.record.pause_pending {
                self.pause_between_waits().await;
            }
            if self.record.paused.is_some() || self.verdict.is_some() || self.is_cordoned_off() {
                return Flow::GoOn;
            }
        };
        self.question_open = false;
        let stopped_now = self.now_pause.as_mut().is_some_and(NowPause::has_stopped);
        match outcome {
            Ok(Some(moved)) => self.commit_step(moved).await,
            Ok(None) => self.hold_off = Some(hold_off("sector", self.config.sealing.seal_interval)),
            // What the processor died of is the pause; unless that was withdrawn, and the stage begins anew.
            Err(_) if stopped_now => self.pause_between_waits().await,
            Err(failure) => self.fail(failure).await,
        }
        self.end_now_pause().await;
        if stopping { Flow::Stop } else { Flow::GoOn }
    }

    // A pause that came while a stage was busy takes effect as soon as the stage waits for something, or was stopped.
    async fn pause_between_waits(&mut self) {
        if !self.record.pause_pending {
            return;
        }
        let mut after = self.record.clone();
        control::apply(&mut after, &Decision::Pause, None, self.now_ms());
        let events = self.changed_to(&after).pause();
        if let Err(error) = self.commit(after, vec![], events).await {
            warn!(thread = self.index, %error, "the pause stays pending: it could not be recorded");
        }
    }

    // Before each new job.
    async fn read_config(&mut self) -> Result<(), Failure> {
        if self.record.state != State::Empty || self.question_open {
            return Ok(());
        }
        let Some(plan) = self.config.read(self.location.path()).await? else { return Ok(()) };
        if plan != self.record.plan {
            let mut after = self.record.clone();
            control::apply_plan(&mut after, plan);
            info!(thread = self.index, from = %self.record.plan, %plan, "its plan has changed");
            self.commit(after, vec![], vec![]).await?;
        }
        Ok(())
    }

    // Records that a heavy stage runs, so that a process that dies in it again and again is noticed.
    async fn mark_running(&mut self) -> Result<(), Failure> {
        let stage = heavy_stage(self.record.plan, self.record.state);
        if stage.is_some() && self.record.running != stage {
            self.record.running = stage;
            self.store.commit(Change::to(&self.record)).await?;
        }
        Ok(())
    }

    // A thread that waits, for a slot or a processor, is not what a process dies of.
    async fn note_running(&mut self, doing: Doing) {
        let stage = heavy_stage(self.record.plan, self.record.state).filter(|_| doing == Doing::InStage);
        if self.record.paused.is_some() || self.record.running == stage {
            return;
        }
        self.record.running = stage;
        if let Err(error) = self.store.commit(Change::to(&self.record)).await {
            warn!(thread = self.index, %error, "it could not be recorded what runs");
        }
    }

    async fn commit_step(&mut self, moved: Moved) {
        if moved.sector.as_ref().is_some_and(|sector| sector.removing) {
            return self.note_removal(moved).await;
        }
        let before = self.record.clone();
        let mut after = before.clone();
        control::apply_step(&mut after, self.now_ms());
        after.state = moved.state;
        after.sector = moved.sector;
        after.wdpost = moved.wdpost;
        if after.paused.is_none() {
            // Spares the next step its own commit.
            after.running = heavy_stage(after.plan, after.state);
        }
        let events = self.changed_to(&after).transition();
        let sector = after.job_name().or(before.job_name());
        failpoint::reach("before-commit", moved.state.name());
        if let Err(error) = self.commit(after, moved.outputs, events).await {
            self.fail(error.into()).await;
            return;
        }
        failpoint::reach("after-commit", moved.state.name());
        if before.failed_for_good() {
            // Sectors must not be burnt one after another.
            self.hold_off = Some(hold_off("next sector", self.config.sealing.seal_interval));
        }
        info!(thread = self.index, sector, from = %before.state, state = %moved.state, "moved");
        if let Some(event) = moved.event {
            self.report(before.state, event.name(), None);
        }
    }

    // From here on the files of a job that was given up go; to everybody else nothing has changed.
    async fn note_removal(&mut self, moved: Moved) {
        let after = Record { sector: moved.sector, retry: 0, ..self.record.clone() };
        match self.commit(after, vec![], vec![]).await {
            Ok(()) => self.pause_between_waits().await,
            Err(error) => self.fail(error.into()).await,
        }
    }

    async fn fail(&mut self, failure: Failure) {
        let mut after = self.record.clone();
        let failure = control::apply_failure(&mut after, failure, self.config.sealing.max_retries, self.now_ms());
        let sector = after.job_name();
        warn!(thread = self.index, sector, state = %self.record.state, level = failure.level.name(), retry = after.retry, "{}", failure.message);
        let events = self.changed_to(&after).failure(&failure);
        if let Err(error) = self.store.commit(Change { events, ..Change::to(&after) }).await {
            // Nothing can be kept: the thread stops here, and says so for as long as the process lives.
            error!(thread = self.index, %error, "the failure could not be recorded");
            let unrecorded = Failure::critical(format!("{error}; after {failure}"));
            control::apply_failure(&mut after, unrecorded, 0, self.now_ms());
        }
        if failure.level == Level::Temporary {
            let reason = format!("retry {} of {}", after.retry, self.config.sealing.max_retries);
            self.hold_off = Some(hold_off(&reason, self.config.sealing.recover_interval));
        }
        let before = self.record.state;
        self.adopt(after);
        // Whoever has the job now reports it.
        if failure.level != Level::Lost {
            self.report(before, "Failure", Some(&failure));
        }
    }

    // Handles one message. Messages are answered when what they did is durable.
    async fn handle(&mut self, message: Message, standing: Standing) {
        match message {
            Message::Command(command) => self.command(*command, standing).await,
            Message::Verdict { job, verdict } => self.hear(&job, verdict),
        }
    }

    fn hear(&mut self, job: &str, verdict: Verdict) {
        if self.record.job_name().as_deref() != Some(job) {
            return;
        }
        let heard = match verdict {
            Verdict::Nothing => return,
            Verdict::InHand => None,
            Verdict::Stop(failure) => Some(failure).filter(|failure| control::heed(&self.record, failure) != Heed::Never),
        };
        if heard != self.verdict {
            info!(
                thread = self.index,
                sector = job,
                verdict = heard.as_ref().map(tracing::field::display),
                "the sector manager has another word on the job"
            );
            self.verdict = heard;
        }
    }

    // Does what the sector manager says of the job, if it is time. Returns whether it was.
    async fn heed_verdict(&mut self) -> bool {
        let Some(verdict) = self.verdict.clone() else { return false };
        let heed = control::heed(&self.record, &verdict);
        if heed == Heed::AfterPause {
            return false;
        }
        self.verdict = None;
        if heed == Heed::Never {
            return false;
        }
        // A job that ends waits for no retry.
        self.hold_off = None;
        self.fail(verdict).await;
        true
    }

    fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    fn changed_to<'a>(&'a self, after: &'a Record) -> Changed<'a> {
        Changed { index: self.index, before: &self.record, after, at: self.now_ms() }
    }

    // Makes a change durable, and only then what is so.
    async fn commit(&mut self, after: Record, outputs: Vec<(Blob, Vec<u8>)>, events: Vec<Event>) -> Result<(), StoreError> {
        self.store.commit(Change { outputs, events, ..Change::to(&after) }).await?;
        self.adopt(after);
        Ok(())
    }

    fn adopt(&mut self, record: Record) {
        if record.cordoned && !self.record.cordoned {
            self.cordoned_since = Instant::now();
        }
        if record.paused.is_some() && self.record.paused.is_none() {
            self.paused_since = Instant::now();
            self.hold_off = None;
        }
        if record.job_name() != self.record.job_name() {
            self.verdict = None;
        }
        self.record = record;
        self.show(None);
    }

    fn show(&self, active: Option<Now>) {
        let doing = shown(&self.record, self.paused_since, active);
        self.view.send_modify(|view| {
            view.record.clone_from(&self.record);
            view.doing = doing;
            view.warning.clone_from(&self.config.warning);
            view.verdict.clone_from(&self.verdict);
        });
        self.changed.notify_one();
    }

    fn report(&self, before: State, event: &str, failure: Option<&Failure>) {
        let Some(sector) = &self.record.sector else { return };
        self.reports.send(Report {
            sector: sector.allocated.id,
            location: self.location.path().display().to_string(),
            from: before,
            to: self.record.state,
            event: event.to_owned(),
            failure: failure.cloned(),
            thread: self.mailbox_sender.clone(),
        });
    }
}

// A worker that is gone without a word has stopped too.
async fn told(stop: &mut watch::Receiver<Stop>, what: fn(Stop) -> bool) {
    stop.wait_for(|stop| what(*stop)).await.map(drop).ok();
}

fn hold_off(reason: &str, wait: Duration) -> HoldOff {
    let since = Instant::now();
    HoldOff { until: since + wait, now: Now { kind: Kind::Waiting { reason: reason.to_owned() }, since } }
}

fn shown(record: &Record, paused_since: Instant, active: Option<Now>) -> Shown {
    match (record.paused, active) {
        (Some(paused), _) => Shown::Paused { by: paused.by, since: paused_since },
        (None, Some(now)) => Shown::Active(now),
        (None, None) => Shown::Idle,
    }
}
