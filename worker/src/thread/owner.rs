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
//! Each change is committed before anybody sees it; what cannot be is kept and tried again
//! ([`unwritten`]). A thread whose store cannot be used at all waits until it can ([`unusable`]). A
//! command is answered in milliseconds: it never waits for a stage.

mod command;
mod unusable;
mod unwritten;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use damocles_daemon::tasks::panicked;
use futures::FutureExt;
use shared_msgs::{
    event::Event,
    plan::{Plan, Stage, State},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

use self::command::{NowPause, Standing};
use self::unwritten::Unwritten;
use super::report::{Report, Reports};
use super::{
    control::{self, Decision, Heed},
    history::Changed,
    mailbox::{Message, ThreadHandle},
    own_config::OwnConfig,
    verdict::Verdict,
    view::{Shown, ThreadView},
};
use crate::{
    activity::{Activity, Doing, Kind, Now},
    clock::Clock,
    config::ThreadConfig,
    failure::Failure,
    lease::LeaseState,
    plan::{
        driver::heavy_stage,
        step::{Step, Steps, Yield},
    },
    store::{
        database::{Change, Store, StoreError},
        location::Location,
        place::Places,
        record::{Record, Sector},
    },
};

/// A thread that was opened and does not run yet.
pub struct Owner {
    index: u32,
    location: Location,
    store: Store,
    places: Arc<Places>,
    record: Record,
    /// Why its store cannot be used; the record is none then.
    unusable: Option<StoreError>,
    /// What cannot be written down at the moment.
    unwritten: Option<Unwritten>,
    /// Why.
    store_error: Option<String>,
    config: OwnConfig,
    /// A question for a job was cut off: its answer may be a job, so the same question is asked
    /// again.
    question_open: bool,
    steps: Arc<dyn Steps>,
    lease: watch::Receiver<LeaseState>,
    reports: Reports,
    mailbox: mpsc::Receiver<Message>,
    mailbox_sender: mpsc::Sender<Message>,
    view: watch::Sender<ThreadView>,
    changed: Arc<Notify>,
    clock: Clock,
    /// Before this moment no step begins.
    hold_off: Option<HoldOff>,
    /// What the sector manager says of the job in hand: the thread heeds it as soon as nothing runs
    /// and no operator holds it up.
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

/// What an owner needs from its worker.
pub struct Surroundings {
    /// What does the steps of its plan.
    pub steps: Arc<dyn Steps>,
    /// Whether commands may be carried out.
    pub lease: watch::Receiver<LeaseState>,
    /// Where state changes are reported to the sector manager.
    pub reports: Reports,
    /// Told after every change.
    pub changed: Arc<Notify>,
    /// The time of day.
    pub clock: Clock,
    /// Which directory is which.
    pub places: Arc<Places>,
}

/// Whether the worker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
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
    /// Takes a thread up where its store says it was; `opened` is what became of opening it.
    pub async fn open(
        index: u32,
        location: Location,
        store: Store,
        opened: Result<(), StoreError>,
        config: ThreadConfig,
        surroundings: Surroundings,
    ) -> (Owner, ThreadHandle) {
        let record = Record::new(config.hot.plan);
        let paused_since = Instant::now();
        let view = watch::Sender::new(ThreadView {
            index,
            location: location.path().to_owned(),
            record: record.clone(),
            doing: shown(&record, paused_since, None),
            store_error: None,
            warning: None,
            ended: None,
            verdict: None,
        });
        let (mailbox_sender, mailbox) = mpsc::channel(64);
        let handle = ThreadHandle { mailbox: mailbox_sender.clone(), view: view.subscribe() };
        let Surroundings { steps, lease, reports, changed, clock, places } = surroundings;
        let mut owner = Owner {
            index,
            location,
            store,
            places,
            record,
            unusable: None,
            unwritten: None,
            store_error: None,
            config: OwnConfig::new(index, config),
            question_open: false,
            steps,
            lease,
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
        owner.take_up(opened).await;
        (owner, handle)
    }

    /// Runs until the worker stops. A panic ends this thread alone: it shows that, and the others
    /// go on.
    pub async fn run(self, stop: watch::Receiver<Shutdown>) {
        let (index, view, changed) = (self.index, self.view.clone(), self.changed.clone());
        if let Err(panic) = AssertUnwindSafe(self.run_to_end(stop)).catch_unwind().await {
            let why = format!("its task has ended: {}; restart the worker", panicked(&*panic));
            error!(thread = index, "{why}");
            view.send_modify(|view| view.end(why));
            changed.notify_one();
        }
    }

    async fn run_to_end(mut self, mut stop: watch::Receiver<Shutdown>) {
        loop {
            self.show(None);
            let flow = if self.unusable.is_some() {
                self.wait_for_store(&mut stop).await
            } else if self.unwritten.is_some() || self.store.is_in_doubt() {
                // What a stage has yielded comes before what others say of the job.
                self.write_down_later(&mut stop).await
            } else if self.heed_verdict().await {
                Flow::GoOn
            } else if self.record.paused.is_some() {
                self.rest(None, &mut stop).await
            } else if self.is_cordoned_off() {
                self.show(Some(Now { since: self.cordoned_since, ..waiting("uncordon") }));
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
        self.write_down_at_last().await;
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
    async fn rest(&mut self, until: Option<Instant>, stop: &mut watch::Receiver<Shutdown>) -> Flow {
        let wake = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = told(stop, |stop| stop != Shutdown::No) => return Flow::Stop,
            Some(message) = self.mailbox.recv() => self.handle(message, Standing { doing: Doing::Waiting, stopper: None }).await,
            () = wake => {}
        }
        Flow::GoOn
    }

    async fn step(&mut self, stop: &mut watch::Receiver<Shutdown>) -> Flow {
        let plan = match self.read_config().await {
            Ok(plan) => plan,
            Err(failure) => {
                self.fail(failure).await;
                return Flow::GoOn;
            }
        };
        if let Err(error) = self.begin(plan).await {
            self.hold_for_store(&error);
            return Flow::GoOn;
        }
        if self.record.state == State::Empty
            && !self.question_open
            && self.config.sealing.leaves_nothing(self.record.plan)
        {
            self.hold_off = Some(hold_off("nothing to seal", self.config.sealing.seal_interval));
            return Flow::GoOn;
        }
        self.question_open = self.record.state == State::Empty;
        let activity = Activity::begin();
        let mut activity_changes = activity.watch();
        let (record, location, store) =
            (self.record.clone(), self.location.clone(), self.store.clone());
        let sealing = self.config.sealing.clone();
        let step = Step {
            record: &record,
            location: &location,
            store: &store,
            sealing: &sealing,
            activity: &activity,
        };
        // A panic is one of the step: what was committed before it is still so.
        let mut running = AssertUnwindSafe(self.steps.clone().run(&step)).catch_unwind();
        self.show(Some(activity.now()));
        let mut stop_now = stop.clone();
        let mut stopping = false;
        let outcome = loop {
            tokio::select! {
                // The step first: what it has yielded must not be dropped for a command that came
                // at the same time.
                biased;
                outcome = &mut running => break outcome.unwrap_or_else(|panic| Err(Failure::critical(panicked(&*panic)))),
                () = NowPause::refused(&mut self.now_pause) => self.end_now_pause().await,
                _ = activity_changes.changed() => {
                    self.note_running(&activity).await;
                    self.show(Some(activity.now()));
                }
                () = told(stop, |stop| stop != Shutdown::No), if !stopping => stopping = true,
                () = told(&mut stop_now, |stop| stop == Shutdown::Now) => return Flow::Stop,
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
            Ok(Some(Yield::Noted(sector))) => self.note(*sector).await,
            Ok(Some(Yield::Moved(moved))) => {
                self.write_down(Unwritten::moved(&self.record, *moved)).await
            }
            Ok(None) => self.hold_off = Some(hold_off("sector", self.config.sealing.seal_interval)),
            // What the processor died of is the pause; unless that was withdrawn, and the stage
            // begins anew.
            Err(_) if stopped_now => self.pause_between_waits().await,
            Err(failure) => self.fail(failure).await,
        }
        self.end_now_pause().await;
        if stopping { Flow::Stop } else { Flow::GoOn }
    }

    // A pause that came while a stage was busy takes effect as soon as the stage waits for
    // something, or was stopped.
    async fn pause_between_waits(&mut self) {
        if let Err(error) = self.settle().await {
            warn!(thread = self.index, %error, "it is not known yet what was recorded last");
            return;
        }
        if !self.record.pause_pending {
            return;
        }
        let mut after = self.record.clone();
        control::apply(&mut after, &Decision::Pause, None, self.now_ms());
        let events = self.changed_to(&after).pause();
        if let Err(error) = self.commit(after, events).await {
            warn!(thread = self.index, %error, "the pause stays pending: it could not be recorded");
        }
    }

    // Before each new job.
    async fn read_config(&mut self) -> Result<Option<Plan>, Failure> {
        if self.record.state != State::Empty || self.question_open {
            return Ok(None);
        }
        self.config.read(self.location.path()).await
    }

    // Records what the step is to be done for, and that a heavy stage runs, so that a process that
    // dies in it again and again is noticed.
    async fn begin(&mut self, plan: Option<Plan>) -> Result<(), StoreError> {
        if let Some(plan) = plan.filter(|plan| *plan != self.record.plan) {
            let mut after = self.record.clone();
            control::apply_plan(&mut after, plan);
            info!(thread = self.index, from = %self.record.plan, %plan, "its plan has changed");
            self.commit(after, vec![]).await?;
        }
        let stage = heavy_stage(self.record.plan, self.record.state);
        if stage.is_some() && self.record.running != stage {
            self.record_running(stage, self.record.deaths).await
        } else {
            Ok(())
        }
    }

    async fn record_running(
        &mut self,
        stage: Option<Stage>,
        deaths: u32,
    ) -> Result<(), StoreError> {
        let after = Record { running: stage, deaths, ..self.record.clone() };
        self.store.commit(Change::to(&after)).await?;
        self.record = after;
        self.store_works();
        Ok(())
    }

    // A thread that waits, for a slot or a processor, is not what a process dies of; nor is a stage
    // that gets on.
    async fn note_running(&mut self, activity: &Activity) {
        let stage = heavy_stage(self.record.plan, self.record.state)
            .filter(|_| activity.doing() == Doing::InStage);
        let deaths = if activity.now().advanced { 0 } else { self.record.deaths };
        if self.record.paused.is_some()
            || (self.record.running, self.record.deaths) == (stage, deaths)
        {
            return;
        }
        if let Err(error) = self.record_running(stage, deaths).await {
            warn!(thread = self.index, %error, "it could not be recorded what runs");
        }
    }

    // What is going to be done with the sector's files is this thread's act from here on; to
    // everybody else nothing has changed.
    async fn note(&mut self, sector: Sector) {
        let after = Record { sector: Some(sector), retry: 0, ..self.record.clone() };
        match self.commit(after, vec![]).await {
            Ok(()) => self.pause_between_waits().await,
            Err(error) => self.hold_for_store(&error),
        }
    }

    async fn fail(&mut self, failure: Failure) {
        self.write_down(Unwritten::failed(failure)).await;
    }

    // Handles one message. Messages are answered when what they did is durable.
    async fn handle(&mut self, message: Message, standing: Standing) {
        match message {
            Message::Command(command) => self.command(*command, standing).await,
            Message::Verdict { .. } if self.unusable.is_some() => {}
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
            Verdict::Stop(failure) => {
                Some(failure).filter(|failure| control::heed(&self.record, failure) != Heed::Never)
            }
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
    async fn commit(&mut self, after: Record, events: Vec<Event>) -> Result<(), StoreError> {
        self.store.commit(Change { events, ..Change::to(&after) }).await?;
        self.store_works();
        self.adopt(after);
        Ok(())
    }

    fn adopt(&mut self, record: Record) {
        let before = std::mem::replace(&mut self.record, record);
        self.adopt_from(&before);
    }

    fn adopt_from(&mut self, before: &Record) {
        if self.record.cordoned && !before.cordoned {
            self.cordoned_since = Instant::now();
        }
        if self.record.paused.is_some() && before.paused.is_none() {
            self.paused_since = Instant::now();
            self.hold_off = None;
        }
        if self.record.job_name() != before.job_name() {
            self.verdict = None;
        }
        self.show(None);
    }

    fn show(&self, active: Option<Now>) {
        let doing = shown(&self.record, self.paused_since, active);
        self.view.send_modify(|view| {
            view.record.clone_from(&self.record);
            view.doing = doing;
            view.store_error.clone_from(&self.store_error);
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
async fn told(stop: &mut watch::Receiver<Shutdown>, what: fn(Shutdown) -> bool) {
    stop.wait_for(|stop| what(*stop)).await.map(drop).ok();
}

fn hold_off(reason: &str, wait: Duration) -> HoldOff {
    let now = waiting(reason);
    HoldOff { until: now.since + wait, now }
}

fn waiting(reason: &str) -> Now {
    Now::begins(Kind::Waiting { reason: reason.to_owned() })
}

fn shown(record: &Record, paused_since: Instant, active: Option<Now>) -> Shown {
    match (record.paused, active) {
        (Some(paused), _) => Shown::Paused { by: paused.by, since: paused_since },
        (None, Some(now)) => Shown::Active(now),
        (None, None) => Shown::Idle,
    }
}
