//! What a thread does and how, as its own `config.toml` has it: read before each new job. A file
//! that cannot be used changes nothing, and is shown until it can.

use std::path::Path;

use shared_msgs::plan::Plan;
use tracing::{info, warn};

use crate::{
    config::{Sealing, ThreadConfig, hot::HotConfig},
    failure::Failure,
};

/// A thread's configuration at the moment.
pub(crate) struct OwnConfig {
    index: u32,
    hot: HotConfig,
    /// How it seals: the worker's file, and its own one over that.
    pub sealing: Sealing,
    /// What is wrong with its file.
    pub warning: Option<String>,
}

impl OwnConfig {
    /// The configuration as the worker's file has it.
    pub(crate) fn new(index: u32, config: ThreadConfig) -> Self {
        OwnConfig { index, hot: config.hot, sealing: config.sealing, warning: None }
    }

    /// The plan, if the file does not say otherwise.
    pub(crate) fn plan(&self) -> Plan {
        self.hot.plan
    }

    /// Reads the file; yields the plan, if the file can be used.
    pub(crate) async fn read(&mut self, location: &Path) -> Result<Option<Plan>, Failure> {
        if !self.hot.has_file() {
            return Ok(None);
        }
        let (hot, location) = (self.hot.clone(), location.to_owned());
        let read = tokio::task::spawn_blocking(move || hot.read(&location))
            .await
            .map_err(Failure::critical)?;
        let (plan, sealing) = match read {
            Ok(read) => read,
            Err(error) => {
                let warning = format!("warning: {error}");
                if self.warning.as_ref() != Some(&warning) {
                    warn!(thread = self.index, "{error}; the old configuration stays");
                }
                self.warning = Some(warning);
                return Ok(None);
            }
        };
        self.warning = None;
        if sealing != self.sealing {
            info!(thread = self.index, "its configuration has changed");
            self.sealing = sealing;
        }
        Ok(Some(plan))
    }
}
