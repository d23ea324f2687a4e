//! The worker's configuration: damocles's keys, and a `[nats]` section.
//!
//! - [`sealing`]: how a thread seals; [`hot`]: the file in its location that is read again before
//!   each job; [`effective`]: every value, with where it comes from; [`size`]: sizes in every
//!   spelling
//!
//! A file of a damocles-worker of any release loads unchanged: the tests have one of each shape in
//! `config/damocles/`. What is in it and cannot have an effect is named in a warning.

#[cfg(test)]
mod damocles_tests;
mod effective;
pub mod hot;
pub(crate) mod sealing;
mod size;
#[cfg(test)]
mod wrong_tests;

use std::{
    collections::HashMap,
    hash::Hash,
    path::{Path, PathBuf},
    time::Duration,
};

use damocles_client::connect::NatsOptions;
use damocles_daemon::config::{ConfigError, Document, Effect, Fault, KeyPath, WithoutEffect};
use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};
use shared_msgs::{duration::human, plan::Plan, sector_manager::SectorSize};

pub(crate) use self::effective::Effective;
pub use self::sealing::Sealing;
use self::{hot::HotConfig, sealing::Options, size::bytes_of};
use crate::{
    processor::{
        settings::{ProcessorsConfig, ProcessorsSection},
        task::{Task, VerifySeal, VerifySnap},
        tasks::{is_builtin, tasks_of},
    },
    store::place::state_directory,
};

// What damocles users may have in their files, and has no effect here.
const WITHOUT_EFFECT: &[WithoutEffect] = &[
    ("worker.rpc_server", Effect::Replaced),
    ("sector_manager.rpc_client.addr", Effect::Because(RELAY)),
    ("sector_manager.rpc_client.headers", Effect::Because(RELAY)),
    ("attached_selection.enable_space_weighted", Effect::Because(SELECTION)),
    ("metrics.enable", Effect::NotYet),
    ("metrics.http_listen", Effect::NotYet),
];
const RELAY: &str = "the worker asks over the bus; whom a sector manager is asked for it by, is `damocles-manager daemon --sector-manager`";
const SELECTION: &str = "nor has it in damocles since v0.4.0";

const NO_LOCATION: &str = "`sealing_thread.location` is missing: name the directory of the thread; only one with plan = \"wdpost\" needs none";
const MIN_PING_INTERVAL: Duration = Duration::from_millis(100);

/// A worker's configuration, checked.
#[derive(Debug)]
pub struct Config {
    /// The worker's name, if one is set.
    pub name: Option<String>,
    /// How often the worker reports at least.
    pub ping_interval: Duration,
    /// How long running stages may take to end when the worker is stopped.
    pub grace: Duration,
    /// The sealing threads, in order; their position is their index.
    pub threads: Vec<ThreadConfig>,
    /// The stores for finished sectors, in order, but for those that are found.
    pub attached: Vec<AttachedConfig>,
    /// Patterns of directories that are stores for finished sectors if they say so themselves, see
    /// [`crate::store::sector_store`].
    pub scan_persist_stores: Vec<String>,
    /// Where pieces are looked for, and brought to; absolute.
    pub local_pieces_dirs: Vec<PathBuf>,
    /// Files with tree-d of a sector of zeros, by sector size in bytes.
    pub static_tree_d: HashMap<u64, PathBuf>,
    /// Who computes the stages, and how much at once.
    pub processors: ProcessorsConfig,
    /// How to reach NATS.
    pub nats: NatsOptions,
}

/// One sealing thread, `[[sealing_thread]]`.
#[derive(Debug)]
pub struct ThreadConfig {
    /// The directory of its store and of its sector's files, as the configuration spells it.
    pub location: PathBuf,
    /// The configuration names none: it is one of the state directory.
    pub in_state_directory: bool,
    /// What it does and how, as its own file has it at the moment.
    pub hot: HotConfig,
    /// How it does it, if its own file does not say otherwise.
    pub sealing: Sealing,
}

/// One store for finished sectors, `[[attached]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttachedConfig {
    /// The name that the sector manager knows it by; its canonical path if absent.
    pub name: Option<String>,
    /// An absolute or relative path of a directory.
    pub location: PathBuf,
    /// Nothing is written to it.
    #[serde(default)]
    pub readonly: bool,
}

// The file as it is written.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct File {
    worker: WorkerSection,
    sealing: Sealing,
    sealing_thread: Vec<ThreadSection>,
    #[serde(alias = "Attached")]
    attached: Vec<AttachedConfig>,
    // As stores were attached before there could be several.
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_store: Option<AttachedConfig>,
    processors: ProcessorsSection,
    // What the command line and the environment say is shown with it.
    #[serde(skip_serializing)]
    nats: NatsOptions,
    // Nothing of these has an effect.
    sector_manager: SectorManager,
    attached_selection: Nothing,
    metrics: Nothing,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct SectorManager {
    rpc_client: Nothing,
    #[serde(serialize_with = "hidden")]
    piece_token: Option<SecretString>,
}

// That there is one is shown, and nothing else.
fn hidden<S: Serializer>(secret: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| "(hidden)").serialize(to)
}

#[derive(Default, Serialize, Deserialize)]
struct Nothing {}

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct WorkerSection {
    name: Option<String>,
    #[serde(with = "humantime_serde")]
    ping_interval: Duration,
    #[serde(with = "humantime_serde")]
    grace: Duration,
    // As it was written before there could be several.
    #[serde(skip_serializing_if = "Option::is_none")]
    local_pieces_dir: Option<PathBuf>,
    local_pieces_dirs: Vec<PathBuf>,
    #[serde(alias = "ScanPersistStores")]
    scan_persist_stores: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct ThreadSection {
    location: Option<PathBuf>,
    #[serde(default)]
    plan: Plan,
    #[serde(default)]
    sealing: Sealing,
}

impl Default for WorkerSection {
    fn default() -> Self {
        WorkerSection {
            name: None,
            ping_interval: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            local_pieces_dir: None,
            local_pieces_dirs: vec![],
            scan_persist_stores: vec![],
        }
    }
}

impl Config {
    /// Reads and checks a configuration file; returns what to warn about beside it.
    pub fn load(path: &Path) -> Result<(Config, Vec<String>), ConfigError> {
        let document = Document::load(path)?;
        let (config, warnings) = Config::read(&document)?;
        config.check_computable().map_err(|fault| document.refuse(fault))?;
        Ok((config, warnings))
    }

    fn read(document: &Document) -> Result<(Config, Vec<String>), ConfigError> {
        let mut overruled = vec![];
        let (config, mut warnings) = document.read_checked(WITHOUT_EFFECT, |file| {
            overruled = self::overruled(&file);
            Config::check(file, document)
        })?;
        warnings.extend(overruled.iter().map(|said| format!("{}: {said}", document.path())));
        Ok((config, warnings))
    }

    fn check(file: File, document: &Document) -> Result<Config, Vec<Fault>> {
        let mut faults = check_worker(&file);
        let wrong = file.nats.wrong().into_iter();
        faults.extend(wrong.map(|(key, why)| Fault::at(KeyPath::of(&["nats", key]), why)));
        faults.extend(twice(&file));
        let common = document.table(&KeyPath::of(&["sealing"]));
        let mut threads = Vec::with_capacity(file.sealing_thread.len());
        for (index, section) in file.sealing_thread.into_iter().enumerate() {
            let at = KeyPath::of(&["sealing_thread"]).index(index);
            let options =
                Options { common: common.clone(), own: document.table(&options_of(index)) };
            let in_state_directory = section.location.is_none();
            if in_state_directory && section.plan != Plan::Wdpost {
                let location = at.clone().key("location");
                faults.push(Fault::at(at, NO_LOCATION).resting_on([location]));
            }
            let location = section.location.unwrap_or_else(|| own_place(document.path(), index));
            match check_sealing(index, &location, &options) {
                Ok(sealing) => {
                    let hot = HotConfig { plan: section.plan, options, has_file: true };
                    threads.push(ThreadConfig { location, in_state_directory, sealing, hot });
                }
                Err(fault) => faults.push(fault),
            }
        }
        let mut local_pieces_dirs = file.worker.local_pieces_dirs;
        if local_pieces_dirs.is_empty() {
            local_pieces_dirs.extend(file.worker.local_pieces_dir);
        }
        let local_pieces_dirs = absolute(local_pieces_dirs, &mut faults);
        let static_tree_d = static_tree_d(&file.processors, &mut faults);
        match ProcessorsConfig::check(file.processors) {
            Ok(processors) if faults.is_empty() => Ok(Config {
                local_pieces_dirs,
                static_tree_d,
                name: file.worker.name,
                ping_interval: file.worker.ping_interval,
                grace: file.worker.grace,
                threads,
                attached: file.remote_store.into_iter().chain(file.attached).collect(),
                scan_persist_stores: file.worker.scan_persist_stores,
                processors: ProcessorsConfig {
                    piece_token: file.sector_manager.piece_token,
                    ..processors
                },
                nats: file.nats,
            }),
            checked => Err(checked.err().into_iter().flatten().chain(faults).collect()),
        }
    }

    // What this build cannot do itself needs a processor.
    fn check_computable(&self) -> Result<(), Fault> {
        let mut missing: Vec<&str> = self.threads.iter().flat_map(tasks_of_thread).collect();
        missing.retain(|task| !is_builtin(task) && !self.processors.stages.contains_key(*task));
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let lacking = format!(
            "this worker was built without the proofs: it needs [[processors.<stage>]] for {missing:?}"
        );
        Err(Fault::at(KeyPath::root(), lacking))
    }
}

// Old keys that do nothing beside the new ones, as in damocles.
fn overruled(file: &File) -> Vec<String> {
    let WorkerSection { local_pieces_dir, local_pieces_dirs, .. } = &file.worker;
    let dirs = local_pieces_dir.is_some() && !local_pieces_dirs.is_empty();
    let pairs = [
        (dirs, "worker.local_pieces_dir", "worker.local_pieces_dirs"),
        (
            file.processors.is_limit_overruled(),
            "processors.limit",
            "processors.limitation.concurrent",
        ),
    ];
    let said = |(_, old, new)| format!("`{old}` has no effect beside `{new}`");
    pairs.into_iter().filter(|(overruled, ..)| *overruled).map(said).collect()
}

// Where a thread keeps what it is doing if no location is named: two workers of one file are the
// same worker, which is noticed.
fn own_place(file: &str, thread: usize) -> PathBuf {
    let file = Path::new(file);
    let file = file.canonicalize().or_else(|_| std::path::absolute(file)).unwrap_or_default();
    let file = file.strip_prefix("/").unwrap_or(&file);
    state_directory().join("threads").join(file).join(thread.to_string())
}

fn check_worker(file: &File) -> Vec<Fault> {
    let at = |key| KeyPath::of(&["worker", key]);
    let WorkerSection { name, ping_interval, .. } = &file.worker;
    let too_often = (*ping_interval < MIN_PING_INTERVAL).then(|| {
        let least = format!("a duration of at least {}", human(MIN_PING_INTERVAL));
        Fault::takes(at("ping_interval"), human(*ping_interval), &least)
    });
    let prefix = file.nats.prefix.clone().unwrap_or_default();
    let no_name = name.as_deref().and_then(|name| prefix.worker_named(name).err());
    let no_name = no_name.map(|error| Fault::at(at("name"), format!("`worker.name`: {error}")));
    too_often.into_iter().chain(no_name).collect()
}

// Each thread works in a directory of its own, and a store's name says where a sector is. What is one
// directory by its disk only, is seen at the start.
fn twice(file: &File) -> Vec<Fault> {
    let mut faults = vec![];
    let locations = file.sealing_thread.iter().map(|thread| thread.location.as_ref());
    for (first, second, location) in repeated(locations) {
        let Some(location) = location else { continue };
        let at = KeyPath::of(&["sealing_thread"]).index(second).key("location");
        let location = location.display();
        let same = format!(
            "sealing_thread #{first} ({location}) and #{second} ({location}) are the same location: give each its own"
        );
        faults.push(Fault::at(at, same));
    }
    let attached = |index| KeyPath::of(&["attached"]).index(index);
    for (first, second, location) in repeated(file.attached.iter().map(|store| &store.location)) {
        let location = location.display();
        let same = format!(
            "attached #{first} ({location}) and #{second} ({location}) are the same directory: remove one of them"
        );
        faults.push(Fault::at(attached(second).key("location"), same));
    }
    let names = file.attached.iter().map(|store| store.name.as_ref());
    for (first, second, name) in repeated(names) {
        let Some(name) = name else { continue };
        let same = format!(
            "attached #{first} and #{second} have the same name {name:?}: give each its own"
        );
        faults.push(Fault::at(attached(second).key("name"), same));
    }
    faults
}

// Whatever is there before: its first position, and the second.
fn repeated<T: Eq + Hash + Copy>(all: impl Iterator<Item = T>) -> Vec<(usize, usize, T)> {
    let mut seen = HashMap::new();
    let again = all.enumerate().filter_map(|(position, one)| {
        let first = *seen.entry(one).or_insert(position);
        (first != position).then_some((first, position, one))
    });
    again.collect()
}

fn absolute(directories: Vec<PathBuf>, faults: &mut Vec<Fault>) -> Vec<PathBuf> {
    let at = |index| KeyPath::of(&["worker", "local_pieces_dirs"]).index(index);
    let absolute = |(index, path): (usize, PathBuf)| {
        let absolute = std::path::absolute(&path).map_err(|error| {
            let sentence =
                format!("worker.local_pieces_dirs: {:?}: {error}", path.display().to_string());
            faults.push(Fault::at(at(index), sentence));
        });
        absolute.ok()
    };
    directories.into_iter().enumerate().filter_map(absolute).collect()
}

fn tasks_of_thread(thread: &ThreadConfig) -> Vec<&'static str> {
    let stages = thread.hot.plan.rows().iter().filter_map(|row| row.stage);
    let mut tasks: Vec<_> = stages.flat_map(tasks_of).copied().collect();
    if thread.sealing.ignore_proof_check {
        tasks.retain(|task| ![VerifySeal::STAGE, VerifySnap::STAGE].contains(task));
    }
    tasks
}

fn options_of(index: usize) -> KeyPath {
    KeyPath::of(&["sealing_thread"]).index(index).key("sealing")
}

fn check_sealing(index: usize, location: &Path, options: &Options) -> Result<Sealing, Fault> {
    let own = options_of(index);
    let sealing = options.sealing().map_err(|fault| {
        let is_own = fault.path().keys().next().is_some_and(|key| options.own.contains_key(key));
        fault.within(if is_own { own.clone() } else { KeyPath::of(&["sealing"]) })
    })?;
    // In its own file it is a way to have a thread take nothing new; here it can only be a slip.
    if sealing.disable_cc && !sealing.enable_deals {
        let slip = format!(
            "sealing_thread #{index} ({}): sealing.disable_cc without sealing.enable_deals leaves nothing to seal: set enable_deals = true",
            location.display()
        );
        let deals = [own.clone(), KeyPath::of(&["sealing"])].map(|of| of.key("enable_deals"));
        return Err(Fault::at(own.key("disable_cc"), slip).resting_on(deals));
    }
    Ok(sealing)
}

fn static_tree_d(section: &ProcessorsSection, faults: &mut Vec<Fault>) -> HashMap<u64, PathBuf> {
    let checked = section.static_tree_d.iter().map(|(size, path)| {
        let refused = |error: String| {
            let at = KeyPath::of(&["processors", "static_tree_d", size]);
            let sentence =
                format!("processors.static_tree_d: {size} = {}: {error}", path.display());
            Fault::at(at, sentence)
        };
        let bytes = bytes_of(size).filter(|bytes| SectorSize::of_bytes(*bytes).is_some());
        let bytes = bytes.ok_or_else(|| {
            refused(format!("{size:?} is no sector size: write 2KiB, 8MiB, 512MiB, 32GiB or 64GiB"))
        })?;
        let path = path.canonicalize().map_err(|error| refused(error.to_string()))?;
        Ok((bytes, path))
    });
    let (read, wrong): (Vec<_>, Vec<_>) = checked.partition(Result::is_ok);
    faults.extend(wrong.into_iter().filter_map(Result::err));
    read.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processor::tasks::STAGES;

    fn check(text: &str) -> Result<(Config, Vec<String>), String> {
        let read = Document::parse(text, "w.toml").and_then(|document| Config::read(&document));
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn a_threads_sealing_options_stand_in_for_the_common_ones() {
        let (config, warnings) = check(
            "[sealing]\nmax_retries = 3\nrecover_interval = '2s'\n[[sealing_thread]]\nlocation = './a'\nsealing.max_retries = 0\n[[sealing_thread]]\nlocation = './b'",
        )
        .unwrap();
        assert!(warnings.is_empty());
        assert_eq!(config.threads[0].sealing.max_retries, 0);
        assert_eq!(config.threads[1].sealing.max_retries, 3);
        assert_eq!(config.threads[0].sealing.recover_interval, Duration::from_secs(2));
        assert_eq!(config.threads[0].sealing.seal_interval, Duration::from_secs(30));
    }

    #[test]
    fn processors_can_do_all_that_a_build_without_the_proofs_lacks() {
        let stages = |skip: &str| -> String {
            let stages = STAGES.iter().filter(|stage| **stage != skip);
            stages.map(|stage| format!("[[processors.{stage}]]\nbin = 'x'\n")).collect()
        };
        for plan in Plan::ALL {
            let thread = format!("[[sealing_thread]]\nlocation = 'a'\nplan = '{plan}'\n");
            let whole = check(&(thread.clone() + &stages(""))).unwrap().0;
            assert_eq!(whole.check_computable(), Ok(()), "{plan}");
            let tasks = tasks_of_thread(&whole.threads[0]);
            assert!(!tasks.is_empty(), "{plan}");
            for task in tasks {
                let lacking = check(&(thread.clone() + &stages(task))).unwrap().0;
                let refused = lacking.check_computable();
                assert_eq!(refused.is_ok(), is_builtin(task), "{plan} {task} {refused:?}");
            }
        }
    }

    #[test]
    fn who_ignores_proofs_needs_nobody_to_verify_them() {
        let thread = "[[sealing_thread]]\nlocation = 'a'\nsealing.ignore_proof_check = ";
        let needed =
            |ignore| tasks_of_thread(&check(&format!("{thread}{ignore}")).unwrap().0.threads[0]);
        assert!(needed(false).contains(&"verify_seal"));
        assert!(!needed(true).contains(&"verify_seal") && needed(true).contains(&"c2"));
    }

    #[test]
    fn the_grace_of_a_stop_is_ten_seconds_or_what_is_configured() {
        assert_eq!(check("").unwrap().0.grace, Duration::from_secs(10));
        assert_eq!(
            check("[worker]\ngrace = '2h'").unwrap().0.grace,
            Duration::from_secs(2 * 60 * 60)
        );
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_way_out() {
        let refused = |text: &str| check(text).expect_err("accepted");
        assert!(
            refused("[sealing]\nmax_retrys = 1").contains("did you mean `sealing.max_retries`?")
        );
        assert!(
            refused("[[sealing_thread]]\nlocation='a'\nsealing.disable_cc=true")
                .contains("sealing_thread #0 (a)")
        );
        assert!(refused("[processors.static_tree_d]\n'2KiB'='./none'").contains("./none"));
        assert!(refused("[processors.static_tree_d]\n'3KiB'='.'").contains("3KiB"));
        assert!(refused("[[sealing_thread]]\nlocation='a'\nplan='snap'").contains("snapup"));
        assert!(
            refused("[[sealing_thread]]\nlocation='a'\nsealing.allowed_sizes=['3GiB']")
                .contains("3GiB")
        );
        assert!(
            refused("[sealing]\nmax_retries='x'\n[[sealing_thread]]\nlocation='a'")
                .contains("line 2, column 13: `sealing.max_retries`")
        );
        assert!(refused("[[processors.c3]]\nbin='x'").contains("c3"));
        assert!(refused("[[processors.c2]]\nbin='x'\nconcurrent=0").contains("concurrent"));
        assert!(refused("[worker]\nping_interval='1ms'").contains("ping_interval"));
        assert!(refused("[worker]\ngrace='soon'").contains("grace"));
    }
}
