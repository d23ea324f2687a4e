//! Who runs the heavy part of a stage: the proofs library inside the worker, or an external process.
//!
//! ```text
//!  stage -> Processors::run(task) -+-> external.rs   [[processors.<stage>]] is configured: the least loaded of them
//!                                  +-> builtin.rs    none is: the proofs library, on a blocking thread
//! ```
//! [`task`] holds what goes in and comes out, [`protocol`] the lines that external processors speak.

#[cfg(feature = "builtin-proofs")]
pub mod builtin;
pub mod external;
pub mod piece_reader;
pub mod protocol;
pub mod task;
pub mod transfer;

use std::collections::HashMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::external::ExternalProcessor;
use crate::thread::{activity::Activity, failure::Failure};

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
#[derive(Default)]
pub struct Processors {
    external: HashMap<String, Vec<ExternalProcessor>>,
}

impl Processors {
    /// Starts the external processors.
    pub fn start(configured: &HashMap<String, Vec<external::Settings>>) -> Self {
        let external = configured.iter().map(|(stage, processors)| {
            let started = processors.iter().map(|settings| ExternalProcessor::start(stage, settings.clone())).collect();
            (stage.clone(), started)
        });
        Processors { external: external.collect() }
    }

    /// Runs a task wherever the configuration says.
    pub async fn run<T: Task>(&self, task: T, activity: &Activity) -> Result<T::Output, Failure> {
        let candidates = self.external.get(T::STAGE).map(Vec::as_slice).unwrap_or_default();
        match candidates.iter().min_by_key(|processor| processor.load()) {
            Some(processor) => processor.run(&task, activity).await,
            None => run_builtin(task).await,
        }
    }
}

async fn run_builtin<T: Task>(task: T) -> Result<T::Output, Failure> {
    match tokio::task::spawn_blocking(move || task.run_builtin()).await {
        Ok(result) => result,
        Err(error) => Err(Failure::permanent(format!("{} failed inside the proofs library: {error}", T::STAGE))),
    }
}
