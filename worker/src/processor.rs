//! Who runs the heavy part of a stage: the proofs library inside the worker, or an external process.
//!
//! ```text
//!  stage -> Processors::run(task) -> limits.rs   a slot, and the time since the stage's last start
//!             -+-> pool.rs -> desk.rs             [[processors.<stage>]] is configured: the queue before them
//!              |      `-----> external.rs         one processor: its process (child.rs), over protocol.rs
//!              +-> builtin.rs                     none is: the proofs library, on a blocking thread
//! ```
//! [`task`] holds what goes in and comes out, [`settings`] the configuration, [`placement`] and [`cgroup`] where a child
//! runs, [`daemons`] the programs that run beside. [`own`] is the other end: the worker's program as a processor.

#[cfg(feature = "builtin-proofs")]
pub mod builtin;
pub mod cgroup;
pub mod child;
pub mod daemons;
pub mod desk;
pub mod external;
pub mod limits;
pub mod lines;
pub mod own;
pub mod piece_reader;
pub mod placement;
pub mod pool;
pub mod protocol;
pub mod settings;
pub mod task;
pub mod transfer;

use std::{path::PathBuf, time::Duration};

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_msgs::tasks::Tasks;
use tokio::{sync::watch, time::timeout};
use tracing::warn;

use self::{
    limits::Limits,
    pool::Pool,
    settings::ProcessorsConfig,
    task::{AddPieces, C1, C2, Pc1, Pc2, SnapEncode, SnapProve, SynthProof, Transfer, TreeD, Unseal, WindowPost},
};
use crate::thread::{activity::Activity, failure::Failure};

/// Stages whose heavy work can run in an external processor. `c1` is ours: damocles runs it inside the worker, which a
/// build without proofs cannot.
pub const STAGES: [&str; 12] = [
    AddPieces::STAGE,
    TreeD::STAGE,
    Pc1::STAGE,
    Pc2::STAGE,
    SynthProof::STAGE,
    C1::STAGE,
    C2::STAGE,
    SnapEncode::STAGE,
    SnapProve::STAGE,
    Unseal::STAGE,
    Transfer::STAGE,
    WindowPost::STAGE,
];

/// How long children may take to end with the worker; longer than any of them is given.
const STOP: Duration = Duration::from_secs(5);

/// One kind of heavy work.
pub trait Task: Serialize + DeserializeOwned + Send + 'static {
    /// Its name in the configuration and in the line protocol.
    const STAGE: &'static str;
    /// What it yields.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Runs it inside the worker.
    fn run_builtin(self) -> Result<Self::Output, Failure>;
}

/// Every processor of this worker.
pub struct Processors {
    limits: Limits,
    pool: Pool,
    stop: watch::Sender<bool>,
}

impl Processors {
    /// Starts the external processors and the daemons.
    pub fn start(tasks: &Tasks, config: &ProcessorsConfig) -> Self {
        let (stop, stopped) = watch::channel(false);
        // Found now: later the file may have been replaced by a newer one.
        let own = std::env::current_exe().unwrap_or_else(|error| {
            warn!(%error, "the worker does not find its own program and takes the one in PATH");
            PathBuf::from(env!("CARGO_PKG_NAME"))
        });
        daemons::start(tasks, &config.daemons, &stopped);
        Processors { limits: Limits::new(config), pool: Pool::start(tasks, config, &own.display().to_string(), &stopped), stop }
    }

    /// Runs a task wherever the configuration says, as soon as it allows. Waiting for that can be interrupted.
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
            warn!("a child process does not end");
        }
    }
}

async fn run_builtin<T: Task>(task: T) -> Result<T::Output, Failure> {
    match tokio::task::spawn_blocking(move || task.run_builtin()).await {
        Ok(result) => result,
        Err(error) => Err(Failure::permanent(format!("{} failed inside the proofs library: {error}", T::STAGE))),
    }
}
