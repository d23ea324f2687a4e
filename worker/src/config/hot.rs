//! `config.toml` in a thread's location: read again before each new job, so that a thread can be
//! given another plan or other options without a restart.

use std::{io, path::Path};

use damocles_daemon::config::{ConfigError, Document, KeyPath};
use serde::Deserialize;
use shared_msgs::plan::Plan;

use super::sealing::{Options, Sealing};

/// In the location of the thread that it is for.
pub const FILE_NAME: &str = "config.toml";

/// What the worker's configuration file says of a thread; the thread's own file stands in for parts
/// of it.
#[derive(Clone, Debug)]
pub struct HotConfig {
    /// What it does, if its own file does not say otherwise.
    pub plan: Plan,
    pub(super) options: Options,
    pub(super) has_file: bool,
}

/// What a thread does and how, with the file that says so.
pub(super) struct OwnConfig {
    pub(super) plan: Plan,
    pub(super) sealing: Sealing,
    pub(super) document: Document,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    plan: Option<Plan>,
    // What is written of it stands in for the options above.
    #[serde(rename = "sealing")]
    _sealing: Sealing,
}

impl HotConfig {
    /// One that never changes, for a thread without a disk: simulations.
    pub fn fixed(plan: Plan) -> Self {
        HotConfig { plan, options: Options::default(), has_file: false }
    }

    /// Whether there may be a file to read.
    pub fn has_file(&self) -> bool {
        self.has_file
    }

    /// The plan and the options as they are now. An error names the file, and what to do about it.
    pub fn read(&self, location: &Path) -> Result<(Plan, Sealing), ConfigError> {
        self.load(location).map(|own| (own.plan, own.sealing))
    }

    /// Like [`HotConfig::read`], with the file.
    pub(super) fn load(&self, location: &Path) -> Result<OwnConfig, ConfigError> {
        let path = location.join(FILE_NAME);
        let document = match Document::load(&path) {
            Err(ConfigError::Read { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Document::empty(&path)
            }
            read => read?,
        };
        let (file, _) = document.read::<File>(&[])?;
        let at = KeyPath::of(&["sealing"]);
        let mut options = self.options.clone();
        options.own.extend(document.table(&at));
        let sealing = options.sealing().map_err(|fault| document.refuse(fault.within(at)))?;
        Ok(OwnConfig { plan: file.plan.unwrap_or(self.plan), sealing, document })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_stands_in_for_what_it_names_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            common: "seal_interval = '7s'".parse().unwrap(),
            own: "max_retries = 3".parse().unwrap(),
        };
        let hot = HotConfig { plan: Plan::Sealer, options, has_file: true };
        let write = |text: &str| std::fs::write(directory.path().join(FILE_NAME), text).unwrap();
        let (plan, sealing) = hot.read(directory.path()).unwrap();
        assert_eq!(
            (plan, sealing.max_retries, sealing.seal_interval.as_secs()),
            (Plan::Sealer, 3, 7)
        );
        write("plan = 'snapup'\nsealing.max_retries = 1");
        let (plan, sealing) = hot.read(directory.path()).unwrap();
        assert_eq!(
            (plan, sealing.max_retries, sealing.seal_interval.as_secs()),
            (Plan::Snapup, 1, 7)
        );
        write("sealing.enable_deals = false\nsealing.disable_cc = true");
        assert!(hot.read(directory.path()).unwrap().1.leaves_nothing(Plan::Sealer));
        for (broken, sign) in [
            ("plan = 'seal'", "config.toml"),
            ("location = 'x'", "unknown key `location`"),
            ("sealing.max_retrys = 1", "did you mean `sealing.max_retries`"),
            ("sealing.allowed_sizes = ['3KiB']", "it takes a sector size"),
            ("[", "config.toml"),
        ] {
            write(broken);
            let error = hot.read(directory.path()).unwrap_err().to_string();
            assert!(error.contains(sign) && error.contains("config.toml"), "{error}");
        }
    }
}
