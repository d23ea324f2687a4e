//! The worker's configuration: damocles's keys, and a `[nats]` section.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use shared_msgs::{
    config::{ConfigError, Effect, KnownKey, load},
    connect::{KNOWN_NATS_KEYS, NatsSection},
    plan::Plan,
    sealer::{AllocateSectorSpec, SealProofType},
};
use toml::Table;

use crate::{plan::driver, processor::settings::ProcessorsConfig};

/// What every sector needs: a build without the proofs needs processors for it.
const SEALING_STAGES: [&str; 6] = ["add_pieces", "tree_d", "pc1", "pc2", "c1", "c2"];

/// Every key that damocles users have; [`KNOWN_NATS_KEYS`] come beside them.
const KNOWN_KEYS: &[KnownKey] = &[
    ("worker.name", Effect::Works),
    ("worker.ping_interval", Effect::Works),
    ("worker.local_pieces_dirs", Effect::NotYet),
    ("worker.scan_persist_stores", Effect::NotYet),
    ("worker.rpc_server", Effect::Replaced),
    ("sector_manager", Effect::Replaced),
    ("metrics.enable", Effect::NotYet),
    ("metrics.http_listen", Effect::NotYet),
    ("sealing.allowed_miners", Effect::Works),
    ("sealing.allowed_sizes", Effect::Works),
    ("sealing.enable_deals", Effect::NotYet),
    ("sealing.disable_cc", Effect::NotYet),
    ("sealing.max_deals", Effect::NotYet),
    ("sealing.min_deal_space", Effect::NotYet),
    ("sealing.max_retries", Effect::Works),
    ("sealing.seal_interval", Effect::Works),
    ("sealing.recover_interval", Effect::Works),
    ("sealing.rpc_polling_interval", Effect::Works),
    ("sealing.ignore_proof_check", Effect::Works),
    ("sealing.request_task_max_retries", Effect::NotYet),
    ("sealing.verify_after_pc2", Effect::NotYet),
    ("sealing_thread[].location", Effect::Works),
    ("sealing_thread[].plan", Effect::Works),
    ("sealing_thread[].sealing.allowed_miners", Effect::Works),
    ("sealing_thread[].sealing.allowed_sizes", Effect::Works),
    ("sealing_thread[].sealing.enable_deals", Effect::NotYet),
    ("sealing_thread[].sealing.disable_cc", Effect::NotYet),
    ("sealing_thread[].sealing.max_deals", Effect::NotYet),
    ("sealing_thread[].sealing.min_deal_space", Effect::NotYet),
    ("sealing_thread[].sealing.max_retries", Effect::Works),
    ("sealing_thread[].sealing.seal_interval", Effect::Works),
    ("sealing_thread[].sealing.recover_interval", Effect::Works),
    ("sealing_thread[].sealing.rpc_polling_interval", Effect::Works),
    ("sealing_thread[].sealing.ignore_proof_check", Effect::Works),
    ("sealing_thread[].sealing.request_task_max_retries", Effect::NotYet),
    ("sealing_thread[].sealing.verify_after_pc2", Effect::NotYet),
    ("attached[].name", Effect::Works),
    ("attached[].location", Effect::Works),
    ("attached[].readonly", Effect::Works),
    ("processors.limitation.concurrent", Effect::Works),
    ("processors.limitation.staggered", Effect::Works),
    ("processors.ext_locks", Effect::Works),
    ("processors.static_tree_d", Effect::NotYet),
    ("processors.*[].bin", Effect::Works),
    ("processors.*[].args", Effect::Works),
    ("processors.*[].envs", Effect::Works),
    ("processors.*[].inherit_envs", Effect::Works),
    ("processors.*[].stable_wait", Effect::Works),
    ("processors.*[].auto_restart", Effect::Works),
    ("processors.*[].concurrent", Effect::Works),
    ("processors.*[].weight", Effect::Works),
    ("processors.*[].locks", Effect::Works),
    ("processors.*[].numa_preferred", Effect::Works),
    ("processors.*[].cgroup.cpuset", Effect::Works),
];

/// A worker's configuration, checked.
#[derive(Debug)]
pub struct Config {
    /// The worker's name, if one is set.
    pub name: Option<String>,
    /// How often the worker reports at least.
    pub ping_interval: Duration,
    /// The sealing threads, in order; their position is their index.
    pub threads: Vec<ThreadConfig>,
    /// The attached stores.
    pub attached: Vec<AttachedConfig>,
    /// Who computes the stages, and how much at once.
    pub processors: ProcessorsConfig,
    /// How to reach NATS.
    pub nats: NatsSection,
}

/// One sealing thread.
#[derive(Debug)]
pub struct ThreadConfig {
    /// Its store.
    pub location: PathBuf,
    /// What it does.
    pub plan: Plan,
    /// How it does it.
    pub sealing: Sealing,
}

/// One attached store.
#[derive(Debug, Deserialize)]
pub struct AttachedConfig {
    /// The name that the sector manager knows it by; its location if absent.
    pub name: Option<String>,
    /// Its path.
    pub location: PathBuf,
    /// Nothing is written to it.
    #[serde(default)]
    pub readonly: bool,
}

/// How a thread seals: `[sealing]`, with what `sealing.*` of the thread says in its place.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Sealing {
    /// Actor ids of the miners to seal for; all if absent.
    pub allowed_miners: Option<Vec<u64>>,
    /// Sector sizes to seal, e.g. `32GiB`; all if absent.
    pub allowed_sizes: Option<Vec<String>>,
    /// Retries of a stage after temporary failures.
    pub max_retries: u32,
    /// Time between two questions for a sector while there is none.
    #[serde(with = "humantime_serde")]
    pub seal_interval: Duration,
    /// Time before a retry.
    #[serde(with = "humantime_serde")]
    pub recover_interval: Duration,
    /// Time between two questions for what became of a message on chain.
    #[serde(with = "humantime_serde")]
    pub rpc_polling_interval: Duration,
    /// Go on with a proof that was not verified.
    pub ignore_proof_check: bool,
}

impl Default for Sealing {
    fn default() -> Self {
        Sealing {
            allowed_miners: None,
            allowed_sizes: None,
            max_retries: 5,
            seal_interval: Duration::from_secs(30),
            recover_interval: Duration::from_secs(60),
            rpc_polling_interval: Duration::from_secs(180),
            ignore_proof_check: false,
        }
    }
}

impl Sealing {
    /// Which sectors to ask for.
    pub fn allocation(&self) -> AllocateSectorSpec {
        let proofs = |sizes: &Vec<String>| sizes.iter().filter_map(|size| proof_of_size(size)).collect();
        AllocateSectorSpec { allowed_miners: self.allowed_miners.clone(), allowed_proof_types: self.allowed_sizes.as_ref().map(proofs) }
    }
}

fn proof_of_size(text: &str) -> Option<SealProofType> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let unit: u64 = match &text[digits..] {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    SealProofType::of_sector_size(text[..digits].parse::<u64>().ok()?.checked_mul(unit)?)
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
    nats: NatsSection,
}

#[derive(Deserialize)]
#[serde(default)]
struct WorkerSection {
    name: Option<String>,
    #[serde(with = "humantime_serde")]
    ping_interval: Duration,
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
        WorkerSection { name: None, ping_interval: Duration::from_secs(10) }
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
            nats: NatsSection::default(),
        }
    }
}

fn known_keys() -> Vec<KnownKey> {
    [KNOWN_KEYS, KNOWN_NATS_KEYS].concat()
}

impl Config {
    /// Reads and checks a configuration file; returns what to warn about beside it.
    pub fn load(path: &Path) -> Result<(Config, Vec<String>), ConfigError> {
        let (file, warnings) = load::<File>(path, &known_keys())?;
        let invalid = |error: String| ConfigError::Invalid { path: path.display().to_string(), error };
        Ok((Config::check(file).map_err(invalid)?, warnings))
    }

    fn check(file: File) -> Result<Config, String> {
        if file.worker.ping_interval < Duration::from_millis(100) {
            return Err("worker.ping_interval must be at least 100ms".into());
        }
        let mut threads = Vec::with_capacity(file.sealing_thread.len());
        for (index, section) in file.sealing_thread.into_iter().enumerate() {
            let entry = format!("sealing_thread #{index} ({})", section.location.display());
            threads.push(check_thread(section, &file.sealing).map_err(|error| format!("{entry}: {error}"))?);
        }
        let config = Config {
            name: file.worker.name,
            ping_interval: file.worker.ping_interval,
            threads,
            attached: file.attached,
            processors: ProcessorsConfig::check(file.processors)?,
            nats: file.nats,
        };
        config.check_whole()?;
        Ok(config)
    }

    fn check_whole(&self) -> Result<(), String> {
        let mut names = BTreeMap::new();
        for (index, store) in self.attached.iter().enumerate() {
            if let Some(earlier) = names.insert(store.store_name(), index) {
                return Err(format!("attached #{earlier} and #{index} have the same name {:?}", store.store_name()));
            }
        }
        if cfg!(feature = "builtin-proofs") {
            return Ok(());
        }
        let missing: Vec<_> = SEALING_STAGES.iter().filter(|stage| !self.processors.stages.contains_key(**stage)).collect();
        if !missing.is_empty() && !self.threads.is_empty() {
            return Err(format!("this worker was built without the proofs: it needs [[processors.<stage>]] for {missing:?}"));
        }
        if self.threads.iter().any(|thread| !thread.sealing.ignore_proof_check) {
            return Err("this worker was built without the proofs and cannot verify any: set sealing.ignore_proof_check".into());
        }
        Ok(())
    }
}

impl AttachedConfig {
    /// The store's name.
    pub fn store_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.location.display().to_string())
    }
}

fn check_thread(section: ThreadSection, common: &Table) -> Result<ThreadConfig, String> {
    if !driver::runs(section.plan) {
        return Err(format!("plan {} does not run in this version yet; use sealer", section.plan));
    }
    let mut merged = common.clone();
    merged.extend(section.sealing);
    let sealing: Sealing = merged.try_into().map_err(|error: toml::de::Error| format!("sealing: {}", error.message()))?;
    for size in sealing.allowed_sizes.iter().flatten() {
        if proof_of_size(size).is_none() {
            return Err(format!("sealing.allowed_sizes: {size:?} is no sector size; they are 2KiB, 8MiB, 512MiB, 32GiB and 64GiB"));
        }
    }
    Ok(ThreadConfig { location: section.location, plan: section.plan, sealing })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(Config, Vec<String>), String> {
        let (file, warnings) = shared_msgs::config::parse::<File>(text, "w.toml", &known_keys()).map_err(|error| error.to_string())?;
        Config::check(file).map(|config| (config, warnings))
    }

    #[cfg(feature = "builtin-proofs")]
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

    #[cfg(feature = "builtin-proofs")]
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
            [[sealing_thread]]
            location = './a'
            [[attached]]
            location = './remote'
            [processors.static_tree_d]
            32GiB = './tree-d'
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
        for key in ["worker.rpc_server", "sector_manager", "sealing.enable_deals", "processors.static_tree_d"] {
            assert!(warnings.iter().any(|warning| warning.contains(&format!("`{key}`"))), "{key}: {warnings:?}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_way_out() {
        let refused = |text: &str| check(text).expect_err("accepted");
        assert!(refused("[sealing]\nmax_retrys = 1").contains("did you mean `sealing.max_retries`?"));
        assert!(refused("[[sealing_thread]]\nlocation='a'\nplan='snapup'").contains("sealing_thread #0 (a)"));
        assert!(refused("[[sealing_thread]]\nlocation='a'\nplan='snap'").contains("snapup"));
        assert!(refused("[[sealing_thread]]\nlocation='a'\nsealing.allowed_sizes=['3GiB']").contains("3GiB"));
        assert!(refused("[sealing]\nmax_retries='x'\n[[sealing_thread]]\nlocation='a'").contains("sealing_thread #0"));
        assert!(refused("[[processors.c3]]\nbin='x'").contains("c3"));
        assert!(refused("[[processors.c2]]\nbin='x'\nconcurrent=0").contains("concurrent"));
        assert!(refused("[worker]\nping_interval='1ms'").contains("ping_interval"));
        assert!(refused("[[attached]]\nlocation='a'\nname='x'\n[[attached]]\nlocation='b'\nname='x'").contains("#0 and #1"));
    }

    #[test]
    fn sector_sizes_become_proof_types() {
        let sealing = Sealing { allowed_sizes: Some(vec!["2KiB".into(), "32GiB".into()]), ..Sealing::default() };
        assert_eq!(sealing.allocation().allowed_proof_types, Some(vec![SealProofType(5), SealProofType(8)]));
    }
}
