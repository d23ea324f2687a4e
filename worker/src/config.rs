//! The worker's configuration: damocles's keys, and a `[nats]` section.
//!
//! - [`sealing`]: how a thread seals; [`hot`]: the file in its location that is read again before
//!   each job

pub mod hot;
pub(crate) mod sealing;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    time::Duration,
};

use damocles_client::connect::NatsOptions;
use damocles_daemon::config::{ConfigError, Effect, Ignored, WithoutEffect, load, read};
use serde::Deserialize;
use shared_msgs::{plan::Plan, sector_manager::SectorSize};
use toml::{Table, Value};

pub use self::sealing::Sealing;
use self::{hot::HotConfig, sealing::bytes_of};
use crate::processor::{
    settings::ProcessorsConfig,
    task::{Task, VerifySeal, VerifySnap},
    tasks::{is_builtin, tasks_of},
};

// What damocles users may have in their files, and has no effect here.
const WITHOUT_EFFECT: &[WithoutEffect] = &[
    ("worker.scan_persist_stores", Effect::NotYet),
    ("worker.rpc_server", Effect::Replaced),
    ("sector_manager", Effect::Replaced),
    ("metrics.enable", Effect::NotYet),
    ("metrics.http_listen", Effect::NotYet),
];

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
    /// The stores for finished sectors, in order.
    pub attached: Vec<AttachedConfig>,
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
    /// What it does and how, as its own file has it at the moment.
    pub hot: HotConfig,
    /// How it does it, if its own file does not say otherwise.
    pub sealing: Sealing,
}

/// One store for finished sectors, `[[attached]]`.
#[derive(Debug, Deserialize)]
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
#[derive(Deserialize)]
#[serde(default)]
struct File {
    worker: WorkerSection,
    sealing: Table,
    sealing_thread: Vec<ThreadSection>,
    attached: Vec<AttachedConfig>,
    processors: Table,
    nats: NatsOptions,
    // Nothing of it has an effect.
    metrics: Metrics,
}

#[derive(Default, Deserialize)]
struct Metrics {}

#[derive(Deserialize)]
#[serde(default)]
struct WorkerSection {
    name: Option<String>,
    #[serde(with = "humantime_serde")]
    ping_interval: Duration,
    #[serde(with = "humantime_serde")]
    grace: Duration,
    local_pieces_dirs: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct ThreadSection {
    location: PathBuf,
    #[serde(default)]
    plan: Plan,
    #[serde(default)]
    sealing: Table,
}

impl Default for WorkerSection {
    fn default() -> Self {
        WorkerSection {
            name: None,
            ping_interval: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            local_pieces_dirs: vec![],
        }
    }
}

impl Default for File {
    fn default() -> Self {
        File {
            worker: WorkerSection::default(),
            sealing: Table::new(),
            sealing_thread: vec![],
            attached: vec![],
            processors: Table::new(),
            nats: NatsOptions::default(),
            metrics: Metrics {},
        }
    }
}

impl Config {
    /// Reads and checks a configuration file; returns what to warn about beside it.
    pub fn load(path: &Path) -> Result<(Config, Vec<String>), ConfigError> {
        let (file, mut warnings) = load::<File>(path, WITHOUT_EFFECT)?;
        let path = path.display().to_string();
        let checked = Config::check(file);
        match checked.and_then(|read| read.0.check_computable().map(|()| read)) {
            Ok((config, ignored)) => {
                warnings.extend(ignored.iter().map(|ignored| format!("{path}: {ignored}")));
                Ok((config, warnings))
            }
            Err(error) => Err(ConfigError::Invalid { path, error }),
        }
    }

    fn check(mut file: File) -> Result<(Config, Vec<Ignored>), String> {
        if file.worker.ping_interval < Duration::from_millis(100) {
            return Err("worker.ping_interval must be at least 100ms".into());
        }
        let mut ignored = Sealing::check_keys(&file.sealing, "sealing")?;
        let mut threads = Vec::with_capacity(file.sealing_thread.len());
        for (index, section) in file.sealing_thread.into_iter().enumerate() {
            ignored.extend(Sealing::check_keys(&section.sealing, "sealing_thread.sealing")?);
            let entry = format!("sealing_thread #{index} ({})", section.location.display());
            threads.push(
                check_thread(section, &file.sealing)
                    .map_err(|error| format!("{entry}: {error}"))?,
            );
        }
        let static_tree_d = static_tree_d(file.processors.remove("static_tree_d"))?;
        let absolute = |path: PathBuf| {
            std::path::absolute(&path)
                .map_err(|error| format!("worker.local_pieces_dirs: {}: {error}", path.display()))
        };
        let config = Config {
            local_pieces_dirs: file
                .worker
                .local_pieces_dirs
                .into_iter()
                .map(absolute)
                .collect::<Result<_, _>>()?,
            static_tree_d,
            name: file.worker.name,
            ping_interval: file.worker.ping_interval,
            grace: file.worker.grace,
            threads,
            attached: file.attached,
            processors: ProcessorsConfig::check(file.processors)?,
            nats: file.nats,
        };
        Ok((config, ignored))
    }

    // What this build cannot do itself needs a processor.
    fn check_computable(&self) -> Result<(), String> {
        let mut missing: Vec<&str> = self.threads.iter().flat_map(tasks_of_thread).collect();
        missing.retain(|task| !is_builtin(task) && !self.processors.stages.contains_key(*task));
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!(
            "this worker was built without the proofs: it needs [[processors.<stage>]] for {missing:?}"
        ))
    }
}

fn tasks_of_thread(thread: &ThreadConfig) -> Vec<&'static str> {
    let stages = thread.hot.plan.rows().iter().filter_map(|row| row.stage);
    let mut tasks: Vec<_> = stages.flat_map(tasks_of).copied().collect();
    if thread.sealing.ignore_proof_check {
        tasks.retain(|task| ![VerifySeal::STAGE, VerifySnap::STAGE].contains(task));
    }
    tasks
}

fn check_thread(section: ThreadSection, common: &Table) -> Result<ThreadConfig, String> {
    let ThreadSection { location, plan, sealing: own } = section;
    let sealing = Sealing::merged(common, &own)?;
    // In its own file it is a way to have a thread take nothing new; here it can only be a slip.
    if sealing.disable_cc && !sealing.enable_deals {
        return Err("sealing.disable_cc without sealing.enable_deals leaves nothing to seal: set enable_deals = true".into());
    }
    Ok(ThreadConfig {
        location,
        sealing,
        hot: HotConfig { plan, common: common.clone(), own, has_file: true },
    })
}

fn static_tree_d(table: Option<Value>) -> Result<HashMap<u64, PathBuf>, String> {
    let Some(table) = table else { return Ok(HashMap::new()) };
    let (files, _) = read::<BTreeMap<String, PathBuf>>(table, "processors.static_tree_d", &[])
        .map_err(|error| error.to_string())?;
    let checked = files.into_iter().map(|(size, path)| {
        let named = |error: String| {
            format!("processors.static_tree_d: {size} = {}: {error}", path.display())
        };
        let bytes = bytes_of(&size).filter(|bytes| SectorSize::of_bytes(*bytes).is_some());
        let bytes = bytes.ok_or_else(|| named(format!("{size:?} is no sector size")))?;
        let path = path.canonicalize().map_err(|error| named(error.to_string()))?;
        Ok((bytes, path))
    });
    checked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processor::tasks::STAGES;

    fn check(text: &str) -> Result<(Config, Vec<String>), String> {
        let (file, mut warnings) =
            damocles_daemon::config::parse::<File>(text, "w.toml", WITHOUT_EFFECT)
                .map_err(|error| error.to_string())?;
        let (config, ignored) = Config::check(file)?;
        warnings.extend(ignored.iter().map(Ignored::to_string));
        Ok((config, warnings))
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
    fn a_damocles_file_loads_with_warnings_for_what_has_no_effect() {
        let text = "
            [worker]
            name = 'w'
            rpc_server.port = 17890
            [sector_manager]
            rpc_client.addr = '/ip4/127.0.0.1/tcp/1789'
            [sealing]
            enable_deals = true
            request_task_max_retries = 3
            [[sealing_thread]]
            location = './a'
            [[attached]]
            location = './remote'
            [processors.static_tree_d]
            32GiB = './Cargo.toml'
            [processors.limitation.concurrent]
            pc1 = 2
            [[processors.c2]]
            bin = './c2'
            cgroup.cpuset = '1-2'
            [[processors.unseal]]
            bin = './unseal'
        ";
        let (config, warnings) = check(text).unwrap();
        assert_eq!(config.processors.stages.len(), 2);
        for key in ["worker.rpc_server", "sector_manager", "sealing.request_task_max_retries"] {
            assert!(
                warnings.iter().any(|warning| warning.contains(&format!("`{key}`"))),
                "{key}: {warnings:?}"
            );
        }
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
                .contains("sealing_thread #0")
        );
        assert!(refused("[[processors.c3]]\nbin='x'").contains("c3"));
        assert!(refused("[[processors.c2]]\nbin='x'\nconcurrent=0").contains("concurrent"));
        assert!(refused("[worker]\nping_interval='1ms'").contains("ping_interval"));
        assert!(refused("[worker]\ngrace='soon'").contains("grace"));
    }
}
