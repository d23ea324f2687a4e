//! Who runs the heavy part of a stage: the proofs library inside the worker, or an external
//! process.
//!
//! ```text
//!  stage -> Processors::run(task) -> limits.rs   a slot, and the time since the stage's last start
//!             -+-> pool.rs -> desk.rs             [[processors.<stage>]] is configured: the queue before them
//!              |      `-----> external.rs         one processor: its process (child.rs), over protocol.rs
//!              +-> builtin.rs                     none is: the proofs library, on a blocking thread
//! ```
//! [`task`] holds what goes in and comes out, [`tasks`] is the table of them, [`settings`] the configuration, [`program`]
//! whether a program can be started, [`placement`] and [`cgroup`] where a child runs, [`daemons`] the programs that run beside. [`groups`] ends what an
//! earlier run of the worker has left, over [`processes`]. [`own`] is the other end: the worker's
//! program as a processor.
//!
//! What always holds:
//! - A stage runs once it has a slot, its turn and, where one is configured, a processor with all
//!   its locks; waiting for these can be interrupted, the work itself cannot.
//! - Nothing of an external processor lives any more when its end is told, and no stage begins while
//!   something of an earlier run lives: two of them would write into one sector.
//! - What a processor prints is not trusted: an answer that makes no sense fails its own task only.
//!
//! Tests: the properties of `desk.rs`, and the scenarios `processors::*` and
//! `commands::pause_now`.
//!
//! Decision 032 in `docs/decisions`.

#[cfg(feature = "builtin-proofs")]
pub mod builtin;
pub(crate) mod cgroup;
pub(crate) mod child;
pub(crate) mod daemons;
#[cfg(feature = "builtin-proofs")]
pub(crate) mod descriptors;
pub(crate) mod desk;
#[cfg(feature = "builtin-proofs")]
pub(crate) mod download;
pub(crate) mod external;
pub(crate) mod groups;
pub(crate) mod limits;
pub(crate) mod lines;
pub(crate) mod own;
#[cfg(feature = "builtin-proofs")]
pub(crate) mod piece_reader;
pub(crate) mod piece_server;
pub(crate) mod placement;
pub(crate) mod pool;
pub mod processes;
pub(crate) mod program;
pub(crate) mod protocol;
pub mod settings;
pub mod task;
pub mod tasks;

use std::{path::PathBuf, sync::Arc, time::Duration};

use damocles_daemon::tasks::Tasks;
use tokio::{sync::watch, time::timeout};
use tracing::warn;

use self::{groups::Groups, limits::Limits, pool::Pool, settings::ProcessorsConfig, task::Task};
use crate::{activity::Activity, failure::Failure, store::location::Location};

/// The features that this worker was built with.
pub const FEATURES: &[&str] = match (cfg!(feature = "builtin-proofs"), cfg!(feature = "failpoints"))
{
    (true, true) => &["builtin-proofs", "failpoints"],
    (true, false) => &["builtin-proofs"],
    (false, true) => &["failpoints"],
    (false, false) => &[],
};

/// How long children may take to end with the worker; longer than any of them is given before it is
/// killed.
const STOP: Duration = child::GRACE.saturating_add(Duration::from_secs(5));

/// Every processor of this worker.
pub struct Processors {
    limits: Limits,
    pool: Pool,
    groups: Arc<Groups>,
    stop: watch::Sender<bool>,
}

impl Processors {
    /// Starts the external processors and the daemons, as soon as nothing lives any more of what an
    /// earlier worker has started. The stores of these locations must be open: so that worker has
    /// ended.
    pub fn start(tasks: &Tasks, config: &ProcessorsConfig, locations: &[Location]) -> Self {
        let (stop, stopped) = watch::channel(false);
        // Found now: later the file may have been replaced by a newer one.
        let own = std::env::current_exe().unwrap_or_else(|error| {
            warn!(%error, "the worker does not find its own program and takes the one in PATH");
            PathBuf::from(env!("CARGO_PKG_NAME"))
        });
        let groups = Groups::new(tasks, locations);
        daemons::start(tasks, &config.daemons, &groups, &stopped);
        let pool = Pool::start(tasks, config, &own.display().to_string(), &groups, &stopped);
        Processors { limits: Limits::new(config), pool, groups, stop }
    }

    /// Waits until nothing lives any more of what an earlier worker has started: it may write into
    /// the same sectors. Can be interrupted.
    pub async fn cleared(&self, activity: &Activity) {
        if !self.groups.are_cleared() {
            activity.wait("the end of an earlier run's processes", self.groups.cleared()).await;
        }
    }

    /// Runs a task wherever the configuration says, as soon as it allows. Waiting for that can be
    /// interrupted.
    pub async fn run<T: Task>(&self, task: T, activity: &Activity) -> Result<T::Output, Failure> {
        let _slot = self.limits.slot(T::STAGE, activity).await;
        let turn = self.limits.turn(T::STAGE, activity).await;
        if !self.pool.serves(T::STAGE) {
            turn.started();
            return run_builtin(task).await;
        }
        let seat = self.pool.take(T::STAGE, activity).await?;
        turn.started();
        seat.run(&task, activity).await
    }

    /// Ends all children, and waits until they have ended.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        // Each owner of a child holds a receiver until then.
        if timeout(STOP, self.stop.closed()).await.is_err() {
            warn!(left = ?self.groups.left(), "processes do not end though they were killed; the next start waits for that");
        }
    }
}

async fn run_builtin<T: Task>(task: T) -> Result<T::Output, Failure> {
    match tokio::task::spawn_blocking(move || task.run_builtin()).await {
        Ok(result) => result,
        Err(error) => {
            Err(Failure::told(format!("{} failed inside the proofs library: {error}", T::STAGE)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::{activity::Kind, processor::processes::Process};

    #[tokio::test]
    async fn a_step_waits_until_nothing_of_an_earlier_run_lives_and_can_be_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let locations = [Location::at(directory.path()).unwrap()];
        let tasks = Tasks::new().0;
        let earlier = Groups::new(&tasks, &locations);
        earlier.cleared().await;
        let mut left =
            Command::new("sleep").arg("60").env(groups::MARK, earlier.mark()).spawn().unwrap();
        let process = Process::find(left.id().try_into().unwrap()).unwrap();
        while process.variable(groups::MARK).is_none() {
            tokio::task::yield_now().await;
        }

        let processors = Processors::start(&tasks, &ProcessorsConfig::default(), &locations);
        let activity = Activity::begin();
        let mut waiting = Box::pin(processors.cleared(&activity));
        assert!(futures::poll!(&mut waiting).is_pending() && process.lives());
        assert_eq!(
            activity.now().kind,
            Kind::Waiting { reason: "the end of an earlier run's processes".into() }
        );
        waiting.await;
        assert!(!process.lives());
        let mut at_once = Box::pin(processors.cleared(&activity));
        assert!(futures::poll!(&mut at_once).is_ready());
        left.wait().unwrap();
    }
}
