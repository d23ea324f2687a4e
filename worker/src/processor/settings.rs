//! `[processors]` of the configuration: who computes a stage, and how much of it at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::LazyLock,
    time::Duration,
};

use damocles_daemon::config::{Fault, KeyPath};
use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::tasks::{STAGES, is_builtin};

/// More CPUs than any machine has.
pub(super) const MAX_CPUS: usize = 1 << 16;
const DAEMONS: &str = "sealing_daemons";

/// `[processors]`, as it is written.
#[derive(Debug, Default, Serialize)]
pub struct ProcessorsSection {
    #[serde(flatten)]
    stages: BTreeMap<String, Vec<Settings>>,
    // As `limitation.concurrent` was called before.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<BTreeMap<String, usize>>,
    limitation: Limitation,
    ext_locks: BTreeMap<String, usize>,
    sealing_daemons: Vec<Settings>,
    /// Files with tree-d of a sector of zeros, by sector size.
    pub static_tree_d: BTreeMap<String, PathBuf>,
}

// A stage is a key like any other.
static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    STAGES
        .into_iter()
        .chain(["limit", "limitation", "ext_locks", DAEMONS, "static_tree_d"])
        .collect()
});

impl<'de> Deserialize<'de> for ProcessorsSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = ProcessorsSection;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut section = ProcessorsSection::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "limit" => section.limit = Some(map.next_value()?),
                        "limitation" => section.limitation = map.next_value()?,
                        "ext_locks" => section.ext_locks = map.next_value()?,
                        DAEMONS => section.sealing_daemons = map.next_value()?,
                        "static_tree_d" => section.static_tree_d = map.next_value()?,
                        stage if STAGES.contains(&stage) => {
                            section.stages.insert(key, map.next_value()?);
                        }
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(section)
            }
        }

        deserializer.deserialize_struct("processors", &KEYS, Keys)
    }
}

impl ProcessorsSection {
    /// Whether `limit` is there and does nothing: as in damocles `limitation.concurrent` counts as a
    /// whole.
    pub fn is_limit_overruled(&self) -> bool {
        self.limit.is_some() && self.limitation.concurrent.is_some()
    }
}

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
    /// What is shown to piece servers that a sector manager redirects to.
    pub piece_token: Option<SecretString>,
}

/// One `[[processors.<stage>]]`, or one of the `[[processors.sealing_daemons]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The program; the worker's own if absent.
    pub bin: Option<PathBuf>,
    /// Its arguments; `processor <stage>` if absent, none for one of the daemons.
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CgroupSettings {
    /// What its group is called; after the stage and its position if absent.
    pub group_name: Option<String>,
    /// The processors that it may run on, as the kernel lists them: `0-3,7`.
    pub cpuset: Option<String>,
}

/// Units of locks by their name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Locks(pub BTreeMap<String, usize>);

// damocles writes a list of names, of which each counts once.
impl<'de> Deserialize<'de> for Locks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesOrUnits;

        impl<'de> Visitor<'de> for NamesOrUnits {
            type Value = Locks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names, or a table of how much of each, { gpu = 1 }")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Locks, A::Error> {
                let mut locks = Locks::default();
                while let Some(name) = names.next_element()? {
                    *locks.0.entry(name).or_default() += 1;
                }
                Ok(locks)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut units: A) -> Result<Locks, A::Error> {
                let mut locks = Locks::default();
                while let Some((name, count)) = units.next_entry()? {
                    locks.0.insert(name, count);
                }
                Ok(locks)
            }
        }

        deserializer.deserialize_any(NamesOrUnits)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Limitation {
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrent: Option<BTreeMap<String, usize>>,
    staggered: BTreeMap<String, Interval>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Interval(#[serde(with = "humantime_serde")] Duration);

#[cfg(test)]
impl Settings {
    /// Those of a program, for tests.
    pub(super) fn of(bin: PathBuf) -> Settings {
        Settings {
            bin: Some(bin),
            args: None,
            envs: BTreeMap::new(),
            inherit_envs: true,
            stable_wait: five_seconds(),
            auto_restart: true,
            concurrent: None,
            weight: 1,
            locks: Locks::default(),
            numa_preferred: None,
            cgroup: CgroupSettings::default(),
        }
    }
}

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
    /// Checks the section.
    pub fn check(section: ProcessorsSection) -> Result<Self, Vec<Fault>> {
        let ProcessorsSection { stages, limit, limitation, ext_locks, sealing_daemons, .. } =
            section;
        let (table, concurrent) = match (limitation.concurrent, limit) {
            (Some(concurrent), _) => (&["limitation", "concurrent"][..], concurrent),
            (None, limit) => (&["limit"][..], limit.unwrap_or_default()),
        };
        let staggered: BTreeMap<_, _> =
            limitation.staggered.into_iter().map(|(stage, interval)| (stage, interval.0)).collect();
        let mut faults = no_stages(table, concurrent.keys());
        faults.extend(no_stages(&["limitation", "staggered"], staggered.keys()));
        let none = concurrent.iter().filter(|(_, count)| **count == 0);
        faults.extend(none.map(|(stage, count)| at_least_one(limit_of(table, stage), *count)));
        let config = ProcessorsConfig {
            stages,
            concurrent,
            staggered,
            ext_locks,
            daemons: sealing_daemons,
            piece_token: None,
        };
        let stages = config.stages.iter().map(|(stage, of)| (stage.as_str(), of));
        for (kind, processors) in stages.chain([(DAEMONS, &config.daemons)]) {
            for (index, settings) in processors.iter().enumerate() {
                let entry = Entry { kind, index };
                match kind {
                    DAEMONS => faults.extend(check_daemon(entry, settings)),
                    _ => faults.extend(config.check_processor(entry, settings)),
                }
                faults.extend(check_placement(entry, settings));
            }
        }
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    fn check_processor(&self, entry: Entry<'_>, settings: &Settings) -> Vec<Fault> {
        let mut faults = vec![];
        if settings.concurrent == Some(0) {
            faults.push(at_least_one(entry.at(&["concurrent"]), 0));
        }
        if settings.weight == 0 {
            faults.push(at_least_one(entry.at(&["weight"]), 0));
        }
        if settings.bin.is_none() && !is_builtin(entry.kind) {
            let lacking =
                "this worker was built without the proofs, so it needs bin, the program to run";
            faults.push(entry.lacks("bin", lacking));
        }
        for (name, count) in &settings.locks.0 {
            let wrong = match self.ext_locks.get(name) {
                None => format!(
                    "locks: there is no lock {name:?} in [processors.ext_locks]: add {name} = {count} there"
                ),
                Some(total) if count > total => format!(
                    "locks: {count} of lock {name:?} are asked for, [processors.ext_locks] has {total}"
                ),
                Some(_) => continue,
            };
            let locks = KeyPath::of(&["processors", "ext_locks"]);
            faults.push(entry.refuses(&["locks"], &wrong).resting_on([locks]));
        }
        faults
    }
}

// One of the processors of a stage, or of the daemons.
#[derive(Clone, Copy)]
struct Entry<'a> {
    kind: &'a str,
    index: usize,
}

impl Entry<'_> {
    fn at(self, keys: &[&str]) -> KeyPath {
        KeyPath::of(&["processors", self.kind]).index(self.index).join(KeyPath::of(keys))
    }

    fn refuses(self, keys: &[&str], sentence: &str) -> Fault {
        Fault::at(self.at(keys), format!("processors.{} #{}: {sentence}", self.kind, self.index))
    }

    fn lacks(self, key: &str, sentence: &str) -> Fault {
        self.refuses(&[], sentence).resting_on([self.at(&[key])])
    }
}

fn at_least_one(at: KeyPath, found: usize) -> Fault {
    Fault::takes(at, format_args!("the number {found}"), "a whole number, 1 or more")
}

fn check_daemon(entry: Entry<'_>, settings: &Settings) -> Option<Fault> {
    if settings.bin.is_none() {
        return Some(entry.lacks("bin", "bin is missing: name the program to keep running"));
    }
    let is_of_stage =
        settings.concurrent.is_some() || settings.weight != 1 || !settings.locks.0.is_empty();
    let wrong = "concurrent, weight and locks are for the processors of a stage";
    is_of_stage.then(|| entry.refuses(&[], wrong))
}

// Where a stage stands in a table of limits.
fn limit_of(table: &[&str], stage: &str) -> KeyPath {
    KeyPath::of(&["processors"]).join(KeyPath::of(table)).key(stage)
}

fn no_stages<'a>(table: &[&str], stages: impl Iterator<Item = &'a String>) -> Vec<Fault> {
    let unknown = stages.filter(|stage| !STAGES.contains(&stage.as_str()));
    let refused = |stage: &String| {
        let at = limit_of(table, stage);
        let known = STAGES.join(", ");
        let sentence = format!("{at}: {stage} is no stage; the stages are {known}");
        Fault::at(at, sentence)
    };
    unknown.map(refused).collect()
}

fn check_placement(entry: Entry<'_>, settings: &Settings) -> Option<Fault> {
    let cpus = settings.cgroup.cpuset.as_ref()?;
    let error = parse_cpus(cpus).err()?;
    let wrong = format!("cgroup.cpuset {cpus:?}: {error}; write it like \"0-3,7\"");
    Some(entry.refuses(&["cgroup", "cpuset"], &wrong))
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
    use damocles_daemon::config::Document;

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
        let checked = Document::parse(text, "w.toml")
            .and_then(|file| file.read::<ProcessorsSection>(&[]))
            .map_err(|error| error.to_string())?;
        ProcessorsConfig::check(checked.0).map_err(|faults| faults[0].to_string())
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
    fn limit_is_the_old_name_of_a_limitation_and_gives_way_to_the_new_one() {
        let limits = |text: &str| check(text).unwrap().concurrent.into_iter().collect::<Vec<_>>();
        assert_eq!(limits("limit = { pc1 = 3, c2 = 1 }"), [("c2".into(), 1), ("pc1".into(), 3)]);
        let both = "limit = { pc1 = 3, c2 = 1 }\nlimitation.concurrent = { pc1 = 4 }";
        assert_eq!(limits(both), [("pc1".into(), 4)]);
        let beside = "limit.c2 = 1\nlimitation.staggered.pc1 = '5min'";
        assert_eq!(limits(beside), [("c2".into(), 1)]);
        assert!(
            check("limit.pc3 = 1").unwrap_err().contains("processors.limit.pc3: pc3 is no stage")
        );
        let none = check("limit.c2 = 0").unwrap_err();
        assert!(none.contains("processors.limit.c2") && none.contains("1 or more"), "{none}");
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
        refused("[[c3]]\nbin = 'x'", &["`c3`", "window_post"]);
        refused("[c2]\nbin = 'x'", &["[[c2]]"]);
        refused(
            "[[c2]]\nbin = 'x'\n[[c2]]\nbin = 'x'\nconcurrent = 0",
            &["`processors.c2.concurrent`", "1 or more"],
        );
        refused("[[c2]]\nbin = 'x'\nweight = 0", &["weight"]);
        refused("[[c2]]\nbin = 'x'\nlocks = ['gpu']", &["processors.c2 #0", "\"gpu\"", "gpu = 1"]);
        refused(
            "ext_locks = { gpu = 1 }\n[[c2]]\nbin = 'x'\nlocks = { gpu = 2 }",
            &["2 of lock \"gpu\"", "has 1"],
        );
        refused("[[c2]]\nbin = 'x'\ncgroup.cpuset = '3-1'", &["cpuset", "3-1", "0-3,7"]);
        refused("limitation.concurrent.c3 = 1", &["limitation.concurrent.c3", "window_post"]);
        refused("limitation.concurrent.c2 = 0", &["limitation.concurrent.c2", "1 or more"]);
        refused("limitation.staggered.c3 = '1m'", &["limitation.staggered.c3"]);
        refused("limitation.staggered.c2 = 'soon'", &["limitation.staggered.c2"]);
        refused("[[sealing_daemons]]\nargs = []", &["sealing_daemons #0", "bin"]);
        refused(
            "[[sealing_daemons]]\nbin = 'x'\nconcurrent = 1",
            &["sealing_daemons #0", "concurrent"],
        );
    }
}
