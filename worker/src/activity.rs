//! What a thread does right now, told by the step that does it, read by the thread's owner and
//! shown to the world.

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// Running or waiting, and since when.
#[derive(Clone, Debug)]
pub struct Now {
    /// Whether it can be cut off, and what it waits for.
    pub kind: Kind,
    /// When it began to be so, by the monotonic clock.
    pub since: Instant,
    /// How far the step is, where that can be seen: `layer 7 of 11`.
    pub progress: Option<String>,
    /// It has made something that its next run does not make again.
    pub advanced: bool,
}

/// What a pause may cut off, and what not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In a stage, which runs to its end.
    Running {
        /// The external processor that runs it.
        processor: Option<Processor>,
    },
    /// Waiting; can be interrupted at once.
    Waiting {
        /// For what, as operators read it: `retry 2 of 5`.
        reason: String,
    },
}

/// An external processor at work.
#[derive(Clone, Debug)]
pub struct Processor {
    /// What it is called, e.g. `c2 (pid 4711)`.
    pub name: String,
    /// How it is stopped.
    pub stopper: Stopper,
}

impl PartialEq for Processor {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.stopper.same_channel(&other.stopper)
    }
}

impl Eq for Processor {}

/// Asks the owner of a processor to end it.
pub type Stopper = mpsc::UnboundedSender<StopRequest>;

/// Told whether it is being ended.
pub type StopRequest = oneshot::Sender<Result<(), StopRefusal>>;

/// The processor works for others too, and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopRefusal {
    /// How many other threads it works for.
    pub others: usize,
}

/// The handle through which a step says what it does.
#[derive(Clone, Debug)]
pub struct Activity(watch::Sender<Now>);

impl Now {
    /// Now is when it began; nothing is known of its progress.
    pub fn begins(kind: Kind) -> Self {
        Now { kind, since: Instant::now(), progress: None, advanced: false }
    }
}

impl Activity {
    /// The activity of a step that begins now.
    pub fn begin() -> Self {
        Activity(watch::Sender::new(Now::begins(Kind::Running { processor: None })))
    }

    /// What is being done.
    pub fn now(&self) -> Now {
        self.0.borrow().clone()
    }

    /// Every change, for whoever shows it; the newest one if several came at once.
    pub fn watch(&self) -> watch::Receiver<Now> {
        self.0.subscribe()
    }

    /// Whether the step cannot be interrupted now. It is one only while somebody polls the step, so an
    /// answer stays true until then.
    pub fn is_in_stage(&self) -> bool {
        matches!(self.0.borrow().kind, Kind::Running { .. })
    }

    /// Waits for something that can be interrupted.
    pub async fn wait<F: Future>(&self, reason: impl Into<String>, waiting: F) -> F::Output {
        self.set(Kind::Waiting { reason: reason.into() });
        let output = waiting.await;
        self.set(Kind::Running { processor: None });
        output
    }

    /// Runs something in an external processor.
    pub async fn in_processor<F: Future>(&self, processor: Processor, running: F) -> F::Output {
        self.set(Kind::Running { processor: Some(processor) });
        let output = running.await;
        self.set(Kind::Running { processor: None });
        output
    }

    /// Says how far the step is, and whether it has made something that its next run does not make
    /// again.
    pub fn progress(&self, progress: String, advanced: bool) {
        self.0.send_if_modified(|now| {
            let before = (now.progress.replace(progress), now.advanced);
            now.advanced = advanced;
            before != (now.progress.clone(), advanced)
        });
    }

    /// How the external processor that runs is stopped; `None` while none does.
    pub fn stopper(&self) -> Option<Stopper> {
        match &self.0.borrow().kind {
            Kind::Running { processor: Some(processor) } => Some(processor.stopper.clone()),
            _ => None,
        }
    }

    fn set(&self, kind: Kind) {
        self.0.send_if_modified(|now| {
            let changed = now.kind != kind;
            if changed {
                now.kind = kind;
                now.since = Instant::now();
            }
            changed
        });
    }
}
