//! `[processors]` of the configuration: who computes a stage, and how much of it at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use damocles_daemon::config;
use serde::{Deserialize, de::DeserializeOwned};
use toml::{Table, Value};

use super::tasks::{STAGES, is_builtin};

/// More CPUs than any machine has.
pub(super) const MAX_CPUS: usize = 1 << 16;
const DAEMONS: &str = "sealing_daemons";

/// `[processors]` of the configuration, checked.
#[derive(Debug, Default)]
pub struct ProcessorsConfig {
    /// The external processors of each stage that has some, in order.
    pub stages: BTreeMap<String, Vec<Settings>>,
    /// How many tasks of a stage may run at once.
    pub concurrent: BTreeMap<String, usize>,
    /// How much time must lie between two starts of a stage.
    pub staggered: BTreeMap<String, Duration>,
    /// How many units there are of each lock.
    pub ext_locks: BTreeMap<String, usize>,
    /// Programs to keep running.
    pub daemons: Vec<Settings>,
}

/// One `[[processors.<stage>]]`, or one of the `[[processors.sealing_daemons]]`.
#[derive(Clone, Debug, Deserialize)]
pub struct Settings {
    /// The program; the worker's own if absent.
    pub bin: Option<PathBuf>,
    /// Its arguments; `processor <stage>` for the worker's own program if absent, none for another
    /// one.
    pub args: Option<Vec<String>>,
    /// Environment variables for it.
    #[serde(default)]
    pub envs: BTreeMap<String, String>,
    /// Whether it gets the worker's environment too.
    #[serde(default = "yes")]
    pub inherit_envs: bool,
    /// How long it may take to be ready.
    #[serde(default = "five_seconds", with = "humantime_serde")]
    pub stable_wait: Duration,
    /// Whether it is started again when it dies.
    #[serde(default = "yes")]
    pub auto_restart: bool,
    /// How many tasks it takes at once; any number if absent.
    pub concurrent: Option<usize>,
    /// How many tasks it should get for each one that a processor of weight 1 gets.
    #[serde(default = "one")]
    pub weight: usize,
    /// What it holds of `ext_locks` while it has a task.
    #[serde(default)]
    pub locks: Locks,
    /// The NUMA node that its memory should come from.
    pub numa_preferred: Option<u32>,
    /// The control group that it runs in.
    #[serde(default)]
    pub cgroup: CgroupSettings,
}

/// `cgroup.*` of a processor.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct CgroupSettings {
    /// The processors that it may run on, as the kernel lists them: `0-3,7`.
    pub cpuset: Option<String>,
}

/// Units of locks by their name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenLocks")]
pub struct Locks(pub BTreeMap<String, usize>);

// damocles writes a list of names, of which each counts once.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenLocks {
    Names(Vec<String>),
    Units(BTreeMap<String, usize>),
}

impl From<WrittenLocks> for Locks {
    fn from(written: WrittenLocks) -> Self {
        match written {
            WrittenLocks::Units(units) => Locks(units),
            WrittenLocks::Names(names) => {
                names.into_iter().fold(Locks::default(), |mut locks, name| {
                    *locks.0.entry(name).or_default() += 1;
                    locks
                })
            }
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Limitation {
    concurrent: BTreeMap<String, usize>,
    staggered: BTreeMap<String, Interval>,
}

#[derive(Deserialize)]
struct Interval(#[serde(with = "humantime_serde")] Duration);

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

impl ProcessorsConfig {
    /// Reads and checks the section.
    pub fn check(mut section: Table) -> Result<Self, String> {
        let limitation: Limitation = take(&mut section, "limitation")?;
        let ext_locks = take(&mut section, "ext_locks")?;
        let daemons = take(&mut section, DAEMONS)?;
        let mut stages = BTreeMap::new();
        for (stage, value) in section {
            known_stage(&stage, &format!("processors.{stage}"))?;
            let Value::Array(_) = value else {
                return Err(format!("processors.{stage}: write it as [[processors.{stage}]]"));
            };
            stages.insert(stage.clone(), read(value, &stage)?);
        }
        let staggered =
            limitation.staggered.into_iter().map(|(stage, interval)| (stage, interval.0)).collect();
        let config = ProcessorsConfig {
            stages,
            concurrent: limitation.concurrent,
            staggered,
            ext_locks,
            daemons,
        };
        config.check_limits()?;
        for (stage, processors) in &config.stages {
            for (index, settings) in processors.iter().enumerate() {
                config
                    .check_processor(stage, settings)
                    .map_err(|error| format!("processors.{stage} #{index}: {error}"))?;
            }
        }
        for (index, settings) in config.daemons.iter().enumerate() {
            check_daemon(settings)
                .map_err(|error| format!("processors.{DAEMONS} #{index}: {error}"))?;
        }
        Ok(config)
    }

    fn check_limits(&self) -> Result<(), String> {
        for (stage, count) in &self.concurrent {
            let key = format!("processors.limitation.concurrent.{stage}");
            known_stage(stage, &key)?;
            if *count == 0 {
                return Err(format!("{key} must be at least 1"));
            }
        }
        for stage in self.staggered.keys() {
            known_stage(stage, &format!("processors.limitation.staggered.{stage}"))?;
        }
        Ok(())
    }

    fn check_processor(&self, stage: &str, settings: &Settings) -> Result<(), String> {
        if settings.concurrent == Some(0) {
            return Err("concurrent must be at least 1".into());
        }
        if settings.weight == 0 {
            return Err("weight must be at least 1".into());
        }
        if settings.bin.is_none() && !is_builtin(stage) {
            return Err(
                "this worker was built without the proofs, so it needs bin, the program to run"
                    .into(),
            );
        }
        for (name, count) in &settings.locks.0 {
            match self.ext_locks.get(name) {
                None => {
                    return Err(format!(
                        "locks: there is no lock {name:?} in [processors.ext_locks]: add {name} = {count} there"
                    ));
                }
                Some(total) if count > total => {
                    return Err(format!(
                        "locks: {count} of lock {name:?} are asked for, [processors.ext_locks] has {total}"
                    ));
                }
                Some(_) => {}
            }
        }
        check_placement(settings)
    }
}

fn check_daemon(settings: &Settings) -> Result<(), String> {
    if settings.bin.is_none() {
        return Err("bin is missing: name the program to keep running".into());
    }
    if settings.concurrent.is_some() || settings.weight != 1 || !settings.locks.0.is_empty() {
        return Err("concurrent, weight and locks are for the processors of a stage".into());
    }
    check_placement(settings)
}

fn check_placement(settings: &Settings) -> Result<(), String> {
    let Some(cpus) = &settings.cgroup.cpuset else { return Ok(()) };
    parse_cpus(cpus)
        .map(drop)
        .map_err(|error| format!("cgroup.cpuset {cpus:?}: {error}; write it like \"0-3,7\""))
}

fn known_stage(stage: &str, key: &str) -> Result<(), String> {
    if STAGES.contains(&stage) {
        Ok(())
    } else {
        Err(format!("{key}: {stage} is no stage; the stages are {}", STAGES.join(", ")))
    }
}

fn take<T: DeserializeOwned + Default>(section: &mut Table, key: &str) -> Result<T, String> {
    section.remove(key).map_or_else(|| Ok(T::default()), |value| read(value, key))
}

fn read<T: DeserializeOwned>(value: Value, key: &str) -> Result<T, String> {
    let read = config::read(value, &format!("processors.{key}"), &[]);
    read.map(|(value, _)| value).map_err(|error| error.to_string())
}

/// The CPUs of a list like `0-3,7`.
pub fn parse_cpus(text: &str) -> Result<BTreeSet<usize>, String> {
    let number = |text: &str| match text.parse::<usize>() {
        Ok(number) if number < MAX_CPUS => Ok(number),
        _ => Err(format!("{text:?} is no CPU's number")),
    };
    let mut cpus = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("{part:?} ends before it begins"));
        }
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_those_of_the_kernel() {
        assert_eq!(parse_cpus("0-3,7").unwrap(), [0, 1, 2, 3, 7].into());
        assert_eq!(parse_cpus("5").unwrap(), [5].into());
        for wrong in ["", "a", "1-", "-1", "3-1", "1,,2", "99999999", "0-3:1/2", "1\n2", "0 - 3"] {
            assert!(parse_cpus(wrong).is_err(), "{wrong:?}");
        }
    }

    fn check(text: &str) -> Result<ProcessorsConfig, String> {
        ProcessorsConfig::check(toml::from_str(text).unwrap())
    }

    #[test]
    fn every_stage_has_processors_limits_and_locks() {
        for stage in STAGES {
            let config = check(&format!(
                "limitation.concurrent.{stage} = 2\nlimitation.staggered.{stage} = '5m'\next_locks = {{ gpu = 2 }}\n
                [[{stage}]]\nbin = 'x'\nlocks = ['gpu', 'gpu']\n[[{stage}]]\nbin = 'x'\nlocks = {{ gpu = 1 }}"
            ));
            let config = config.unwrap();
            let locks: Vec<_> =
                config.stages[stage].iter().map(|settings| settings.locks.0["gpu"]).collect();
            assert_eq!(locks, [2, 1]);
            assert_eq!(
                (config.concurrent[stage], config.staggered[stage]),
                (2, Duration::from_secs(300))
            );
        }
    }

    #[test]
    fn what_is_left_out_has_damocles_defaults() {
        let settings = &check("[[c2]]\nbin = 'x'").unwrap().stages["c2"][0];
        assert_eq!(
            (settings.stable_wait, settings.inherit_envs, settings.auto_restart),
            (Duration::from_secs(5), true, true)
        );
        assert_eq!((settings.concurrent, settings.weight, &settings.args), (None, 1, &None));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_way_out() {
        let refused = |text: &str, parts: &[&str]| {
            let error = check(text).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        refused("[[c3]]\nbin = 'x'", &["processors.c3", "window_post"]);
        refused("[c2]\nbin = 'x'", &["[[processors.c2]]"]);
        refused(
            "[[c2]]\nbin = 'x'\n[[c2]]\nbin = 'x'\nconcurrent = 0",
            &["processors.c2 #1", "concurrent"],
        );
        refused("[[c2]]\nbin = 'x'\nweight = 0", &["weight"]);
        refused("[[c2]]\nbin = 'x'\nlocks = ['gpu']", &["processors.c2 #0", "\"gpu\"", "gpu = 1"]);
        refused(
            "ext_locks = { gpu = 1 }\n[[c2]]\nbin = 'x'\nlocks = { gpu = 2 }",
            &["2 of lock \"gpu\"", "has 1"],
        );
        refused("[[c2]]\nbin = 'x'\ncgroup.cpuset = '3-1'", &["cpuset", "3-1", "0-3,7"]);
        refused("limitation.concurrent.c3 = 1", &["limitation.concurrent.c3", "window_post"]);
        refused("limitation.concurrent.c2 = 0", &["limitation.concurrent.c2", "at least 1"]);
        refused("limitation.staggered.c3 = '1m'", &["limitation.staggered.c3"]);
        refused("limitation.staggered.c2 = 'soon'", &["processors.limitation"]);
        refused("[[sealing_daemons]]\nargs = []", &["sealing_daemons #0", "bin"]);
        refused(
            "[[sealing_daemons]]\nbin = 'x'\nconcurrent = 1",
            &["sealing_daemons #0", "concurrent"],
        );
    }
}
