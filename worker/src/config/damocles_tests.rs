//! Files as workers of damocles have them, of our own making: each loads as it is.

use std::{path::Path, time::Duration};

use damocles_daemon::config::Document;
use shared_msgs::plan::Plan;

use super::{Config, Effective};

macro_rules! files {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!("damocles/", $name, ".toml")))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "minimal",
    "mock",
    "first-releases",
    "between-releases",
    "locks",
    "deals",
    "window-post",
    "found-stores",
    "processors",
    "plans"
];

fn load(name: &str) -> (Config, Vec<String>) {
    let (_, text) = FILES.iter().find(|(known, _)| *known == name).expect(name);
    let document = Document::parse(text, "w.toml").expect(name);
    Config::read(&document).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn attached(config: &Config) -> Vec<(Option<&str>, &Path)> {
    config.attached.iter().map(|store| (store.name.as_deref(), store.location.as_path())).collect()
}

#[test]
fn each_loads_and_only_what_can_have_no_effect_is_warned_of() {
    let addr = "sector_manager.rpc_client.addr";
    let warned: &[(&str, &[&str])] = &[
        ("minimal", &[addr]),
        ("mock", &[addr, "metrics.enable"]),
        ("first-releases", &["worker.rpc_server", addr]),
        (
            "between-releases",
            &[
                addr,
                "attached_selection.enable_space_weighted",
                "worker.local_pieces_dir",
                "processors.limit",
            ],
        ),
        ("locks", &[addr]),
        ("deals", &[addr, "sector_manager.rpc_client.headers"]),
        ("window-post", &[addr]),
        ("found-stores", &[addr]),
        ("processors", &[addr]),
        (
            "plans",
            &[addr, "sector_manager.rpc_client.headers", "metrics.enable", "metrics.http_listen"],
        ),
    ];
    assert_eq!(warned.len(), FILES.len());
    for (name, keys) in warned {
        let (config, warnings) = load(name);
        config.check_computable().expect(name);
        let mut keys: Vec<_> =
            keys.iter().map(|key| format!("w.toml: `{key}` has no effect")).collect();
        let mut unexpected = vec![];
        for warning in &warnings {
            match keys.iter().position(|key| warning.starts_with(key)) {
                Some(position) => drop(keys.remove(position)),
                None => unexpected.push(warning),
            }
        }
        assert!(unexpected.is_empty() && keys.is_empty(), "{name}: {unexpected:?}, not {keys:?}");
        assert!(!format!("{config:?} {warnings:?}").contains("hunter2"), "{name}");
    }
    let relay = &load("minimal").1[0];
    assert!(relay.contains("damocles-manager daemon --sector-manager"), "{relay}");
}

#[test]
fn each_is_shown_whole() {
    for (name, text) in FILES {
        let effective = Effective::of(&Document::parse(text, "w.toml").unwrap()).expect(name);
        let shown = format!("{:?}", effective.settings);
        assert!(
            shown.contains("sealing_thread[0].location") && !shown.contains("hunter2"),
            "{name}"
        );
    }
}

#[test]
fn old_names_mean_what_they_meant() {
    let (config, _) = load("first-releases");
    let limits: Vec<_> = config.processors.concurrent.into_iter().collect();
    assert_eq!(limits, [("c2".into(), 1), ("pc1".into(), 3), ("pc2".into(), 2)]);
    let (config, _) = load("first-releases");
    assert_eq!(attached(&config), [(Some("long-term-1"), Path::new("/mnt/long-term-1"))]);

    let (config, _) = load("between-releases");
    assert_eq!(config.processors.concurrent["pc1"], 4);
    assert_eq!(config.local_pieces_dirs, [Path::new("/mnt/pieces-a"), Path::new("/mnt/pieces-b")]);
    assert_eq!(
        attached(&config),
        [
            (None, Path::new("/mnt/long-term-1")),
            (Some("long-term-2"), Path::new("/mnt/long-term-2"))
        ]
    );

    let (config, _) = load("found-stores");
    assert_eq!(config.scan_persist_stores, ["/fil/storage2", "/storage/*"]);
    assert_eq!(attached(&config), [(Some("storage1"), Path::new("/fil/storage1"))]);
}

#[test]
fn sizes_and_pieces_are_read_as_they_are_spelt() {
    let (config, _) = load("deals");
    assert_eq!(config.local_pieces_dirs, [Path::new("/mnt/pieces")]);
    let space: Vec<_> =
        config.threads.iter().map(|thread| thread.sealing.deals().min_used_space).collect();
    assert_eq!(space, [Some(1 << 29), Some(8_000_000_000)]);
    let retries: Vec<_> =
        config.threads.iter().map(|thread| thread.sealing.request_task_max_retries).collect();
    assert_eq!(retries, [1, 3]);
    let sizes = load("locks").0.threads[0].sealing.allocation(Plan::Sealer).allowed_proof_types;
    assert_eq!(sizes.map(|types| types.len()), Some(4), "two variants of two sizes");
}

#[test]
fn a_thread_without_a_location_only_proves_and_keeps_its_record_in_the_state_directory() {
    let (config, _) = load("window-post");
    for (index, thread) in config.threads.iter().enumerate() {
        assert!(thread.in_state_directory && thread.hot.plan == Plan::Wdpost);
        assert!(thread.location.ends_with(format!("w.toml/{index}")), "{:?}", thread.location);
        assert_eq!(thread.sealing.recover_interval, Duration::from_secs(15));
    }
    assert!(config.attached.iter().all(|store| store.readonly));
    assert!(load("plans").0.threads.iter().all(|thread| !thread.in_state_directory));
}
