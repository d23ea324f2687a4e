//! The task that owns one sealing thread's state.
//!
//! ```text
//!        +-----------------------------------------------------------+
//!        v                                                           |
//!   control::next --> rest, rest until --> a command, or the time ---+
//!        |--> the store is opened again, or written to again --------+
//!        |--> the job fails with the sector manager's word ----------+
//!        +--> one step of the plan, or a command meanwhile           |
//!               -> commit the next state, or the failure ------------+
//! ```
//! The owner is the only one that reads or changes the thread's [`Record`]. What a change is, and
//! what comes next, is in [`control`]; the owner does it: it runs the step, takes the commands,
//! writes, shows, and tells the sector manager.
//!
//! Its life: [`Owner::open`] takes the thread up where its store says it was; [`Owner::run`] loops
//! until the worker stops; what could not be written by then is tried once more.
//!
//! What always holds:
//! - Each change is committed before anybody sees it; what cannot be is kept and tried again
//!   ([`unwritten`]). A thread whose store cannot be used at all waits until it can ([`unusable`]).
//! - A command is answered in milliseconds: it never waits for a stage ([`command`]). The step is
//!   polled by the owner itself, so whether it can be interrupted does not change between the look
//!   and the act.
//! - What a step has yielded is not dropped for a command that comes at the same time.
//!
//! Tests: the scenarios `commands::*`, `sealing::failures`, `stores::broken`, and the simulation.

mod command;
mod unusable;
mod unwritten;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use damocles_client::server_clock::ServerClock;
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

use self::command::NowPause;
use self::unwritten::Unwritten;
use super::report::{Report, Reports};
use super::{
    control::{self, Act, Heed, Held, Next, StoreUse},
    history::Changed,
    mailbox::{Message, ThreadHandle},
    own_config::OwnConfig,
    verdict::Verdict,
    view::{Ended, ThreadView},
};
use crate::{
    activity::{Activity, Kind, Now},
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
    config: OwnConfig,
    surroundings: Surroundings,
    record: Record,
    held: HeldUp,
    /// A question for a job was cut off: its answer may be a job, so the same question is asked
    /// again.
    question_open: bool,
    /// How many questions for a job were in vain, one after another.
    in_vain: u32,
    /// A pause that stops a running processor, until it has.
    now_pause: Option<NowPause>,
    mailbox: mpsc::Receiver<Message>,
    mailbox_sender: mpsc::Sender<Message>,
    view: watch::Sender<ThreadView>,
}

/// What holds the thread up beside its record.
#[derive(Default)]
struct HeldUp {
    /// Why its store cannot be used; the record is none then.
    unusable: Option<StoreError>,
    /// What cannot be written down at the moment.
    unwritten: Option<Unwritten>,
    /// What was said of its store last, so that it is said once.
    store_error: Option<String>,
    /// Nothing is tried before this moment.
    hold_off: Option<HoldOff>,
    /// What the sector manager says of the job in hand: the thread heeds it as soon as nothing runs
    /// and no operator holds it up.
    verdict: Option<Failure>,
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
    /// The clock that says until when; `None` while it was never read.
    pub server_clock: watch::Receiver<Option<ServerClock>>,
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
    /// It goes on.
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
        let view = watch::Sender::new(ThreadView {
            index,
            location: location.path().to_owned(),
            record: record.clone(),
            now: None,
            paused_since: Instant::now(),
            cordoned_since: Instant::now(),
            store_error: None,
            warning: None,
            ended: None,
            verdict: None,
        });
        let (mailbox_sender, mailbox) = mpsc::channel(64);
        let handle = ThreadHandle { mailbox: mailbox_sender.clone(), view: view.subscribe() };
        let mut owner = Owner {
            index,
            location,
            store,
            config: OwnConfig::new(index, config),
            surroundings,
            record,
            held: HeldUp::default(),
            question_open: false,
            in_vain: 0,
            now_pause: None,
            mailbox,
            mailbox_sender,
            view,
        };
        owner.take_up(opened).await;
        (owner, handle)
    }

    /// Runs until the worker stops. A panic ends this thread alone: it shows that, and the others
    /// go on.
    pub async fn run(self, stop: watch::Receiver<Shutdown>) {
        let (index, view) = (self.index, self.view.clone());
        let changed = self.surroundings.changed.clone();
        if let Err(panic) = AssertUnwindSafe(self.run_to_end(stop)).catch_unwind().await {
            let why = format!("its task has ended: {}; restart the worker", panicked(&*panic));
            error!(thread = index, "{why}");
            let since = Instant::now();
            view.send_modify(|view| view.ended = Some(Ended { why, since }));
            changed.notify_one();
        }
    }

    async fn run_to_end(mut self, mut stop: watch::Receiver<Shutdown>) {
        loop {
            let next = control::next(&self.record, self.held(), Instant::now());
            self.show(self.waits_for(next));
            let flow = match next {
                Next::Rest => self.rest(None, &mut stop).await,
                Next::RestUntil(until) => self.rest(Some(until), &mut stop).await,
                Next::Step => self.step(&mut stop).await,
                Next::OpenStore => {
                    self.open_again().await;
                    Flow::GoOn
                }
                Next::WriteDown => {
                    self.try_to_write_down().await;
                    Flow::GoOn
                }
                Next::HeedVerdict => {
                    self.heed_verdict().await;
                    Flow::GoOn
                }
            };
            if flow == Flow::Stop {
                break;
            }
        }
        self.write_down_at_last().await;
        if control::stop(&mut self.record)
            && let Err(error) = self.store.commit(Change::to(&self.record)).await
        {
            warn!(thread = self.index, %error, "the end could not be recorded");
        }
    }

    fn held(&self) -> Held<'_> {
        let HeldUp { unusable, unwritten, hold_off, verdict, .. } = &self.held;
        let store = if unusable.is_some() {
            StoreUse::Unusable
        } else if unwritten.is_some() || self.store.is_in_doubt() {
            StoreUse::Behind
        } else {
            StoreUse::Works
        };
        let until = hold_off.as_ref().map(|hold_off| hold_off.until);
        Held { store, verdict: verdict.as_ref(), until }
    }

    // What is shown while nothing is done.
    fn waits_for(&self, next: Next) -> Option<Now> {
        match next {
            Next::RestUntil(_) => self.held.hold_off.as_ref().map(|hold_off| hold_off.now.clone()),
            Next::Rest if control::is_cordoned_off(&self.record) => {
                Some(Now { since: self.view.borrow().cordoned_since, ..waiting("uncordon") })
            }
            Next::Rest | Next::OpenStore | Next::WriteDown | Next::HeedVerdict | Next::Step => None,
        }
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
            Some(message) = self.mailbox.recv() => self.handle(message, None).await,
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
            self.hold_off("nothing to seal", self.config.sealing.seal_interval);
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
        let mut running =
            AssertUnwindSafe(self.surroundings.steps.clone().run(&step)).catch_unwind();
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
                    self.handle(message, Some(&activity)).await;
                    self.show(Some(activity.now()));
                }
            }
            if activity.is_in_stage() {
                continue;
            }
            if stopping {
                return Flow::Stop;
            }
            if self.record.is_pause_pending() {
                self.pause_between_waits().await;
            }
            // What waits for the store can wait for the step too.
            let held = Held { store: StoreUse::Works, until: None, ..self.held() };
            if control::next(&self.record, held, Instant::now()) != Next::Step {
                return Flow::GoOn;
            }
        };
        self.question_open = false;
        let stopped_now = self.now_pause.as_mut().is_some_and(NowPause::has_stopped);
        match outcome {
            Ok(Some(Yield::Noted(sector))) => self.note(*sector).await,
            Ok(Some(Yield::Moved(moved))) => {
                self.in_vain = 0;
                self.write_down(Unwritten::moved(&self.record, *moved)).await
            }
            Ok(None) => {
                self.in_vain = self.in_vain.saturating_add(1);
                let wait = self.config.sealing.before_question(self.record.plan, self.in_vain);
                self.hold_off("sector", wait);
            }
            // What the processor died of is the pause; unless that was withdrawn, and the stage
            // begins anew.
            Err(_) if stopped_now => self.pause_between_waits().await,
            Err(failure) => {
                let max_retries = self.config.sealing.max_retries;
                self.fail(control::of_step(&self.record, failure, max_retries)).await;
            }
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
        if !self.record.is_pause_pending() {
            return;
        }
        let mut after = self.record.clone();
        control::apply(&mut after, Act::Pause, None, self.now_ms());
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
            control::change_plan(&mut after, plan);
            info!(thread = self.index, from = %self.record.plan, %plan, "its plan has changed");
            self.commit(after, vec![]).await?;
        }
        match heavy_stage(self.record.plan, self.record.state) {
            Some(stage) => self.record_running(Some(stage), false).await,
            None => Ok(()),
        }
    }

    async fn record_running(
        &mut self,
        stage: Option<Stage>,
        advanced: bool,
    ) -> Result<(), StoreError> {
        let mut after = self.record.clone();
        if !control::run(&mut after, stage, advanced) {
            return Ok(());
        }
        self.store.commit(Change::to(&after)).await?;
        self.record = after;
        self.store_works();
        Ok(())
    }

    // A thread that waits, for a slot or a processor, is not what a process dies of; nor is a stage
    // that gets on.
    async fn note_running(&mut self, activity: &Activity) {
        let stage =
            heavy_stage(self.record.plan, self.record.state).filter(|_| activity.is_in_stage());
        if self.record.is_paused() {
            return;
        }
        if let Err(error) = self.record_running(stage, activity.now().advanced).await {
            warn!(thread = self.index, %error, "it could not be recorded what runs");
        }
    }

    // What is going to be done with the sector's files is this thread's act from here on; to
    // everybody else nothing has changed.
    async fn note(&mut self, sector: Sector) {
        let mut after = self.record.clone();
        control::note(&mut after, sector);
        match self.commit(after, vec![]).await {
            Ok(()) => self.pause_between_waits().await,
            Err(error) => self.hold_for_store(&error),
        }
    }

    async fn fail(&mut self, failure: Failure) {
        self.write_down(Unwritten::failed(failure)).await;
    }

    // Handles one message; `activity` is that of the step that runs. Messages are answered when what
    // they did is durable.
    async fn handle(&mut self, message: Message, activity: Option<&Activity>) {
        match message {
            Message::Command(command) => self.command(*command, activity).await,
            Message::Verdict { .. } if self.held.unusable.is_some() => {}
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
        if heard != self.held.verdict {
            info!(
                thread = self.index,
                sector = job,
                verdict = heard.as_ref().map(tracing::field::display),
                "the sector manager has another word on the job"
            );
            self.held.verdict = heard;
        }
    }

    // Does what the sector manager says of the job.
    async fn heed_verdict(&mut self) {
        if let Some(verdict) = self.held.verdict.take() {
            // A job that ends waits for no retry.
            self.held.hold_off = None;
            self.fail(verdict).await;
        }
    }

    fn now_ms(&self) -> u64 {
        (self.surroundings.clock)()
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
        let now = Instant::now();
        if self.record.cordoned && !before.cordoned {
            self.view.send_modify(|view| view.cordoned_since = now);
        }
        if self.record.is_paused() && !before.is_paused() {
            self.view.send_modify(|view| view.paused_since = now);
            self.held.hold_off = None;
        }
        // A word on another job, or on one whose end is being reported, is for nobody any more.
        let same_job = self.record.job_name() == before.job_name();
        let record = &self.record;
        self.held
            .verdict
            .take_if(|verdict| !same_job || control::heed(record, verdict) == Heed::Never);
        self.show(None);
    }

    fn show(&self, now: Option<Now>) {
        self.view.send_modify(|view| {
            view.record.clone_from(&self.record);
            view.now = now;
            view.store_error.clone_from(&self.held.store_error);
            view.warning.clone_from(&self.config.warning);
            view.verdict.clone_from(&self.held.verdict);
        });
        self.surroundings.changed.notify_one();
    }

    fn hold_off(&mut self, reason: &str, wait: Duration) {
        let now = waiting(reason);
        self.held.hold_off = Some(HoldOff { until: now.since + wait, now });
    }

    fn report(&self, before: State, event: &str, failure: Option<&Failure>) {
        let Some(sector) = self.record.sector() else { return };
        self.surroundings.reports.send(Report {
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

fn waiting(reason: &str) -> Now {
    Now::begins(Kind::Waiting { reason: reason.to_owned() })
}
