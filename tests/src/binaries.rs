//! Where the programs are. Those of this workspace are beside the running test, and are refused
//! when they are older than their sources: a crate of tests gets no `CARGO_BIN_EXE_…` of other
//! crates, so nothing else keeps them up to date.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

use crate::repository;

macro_rules! built {
    ($($(#[$doc:meta])* $function:ident = $name:literal),* $(,)?) => {
        $($(#[$doc])* pub fn $function() -> &'static Path {
            static PATH: OnceLock<PathBuf> = OnceLock::new();
            PATH.get_or_init(|| up_to_date($name))
        })*
    };
}

built! {
    /// The worker, and the tool beside it.
    worker = "damocles-worker",
    /// The manager, the mock, and the operators' tools.
    manager = "damocles-manager",
    /// The external processor of `src/bin/fixture-processor.rs`.
    fixture_processor = "fixture-processor",
    /// The screen of `src/bin/fixture-screen.rs`.
    fixture_screen = "fixture-screen",
    /// The external processor of `src/bin/vc-processor.rs`.
    vc_processor = "vc-processor",
    /// The verifier of `src/bin/verify-window-post.rs`.
    verify_window_post = "verify-window-post",
    /// The helper of [`crate::watchdog`].
    watchdog = "watchdog",
}

/// A nats-server that is new enough: `deploy/nats/install.sh` decides which, and gets one if there
/// is none.
pub fn nats_server() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let script = repository().join("deploy/nats/install.sh");
        let output = Command::new(&script).arg("--print-path").output().unwrap();
        assert!(
            output.status.success(),
            "{} found no nats-server:\n{}",
            script.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    })
}

/// The `nats` command-line client of `deploy/nats/install.sh --cli`; `None` if it is not installed.
pub fn nats_client() -> Option<PathBuf> {
    Some(repository().join(".tools/bin/nats")).filter(|path| path.exists())
}

/// The directory of the built programs: that of the running program, or above it for a test.
pub fn directory() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let running = std::env::current_exe().unwrap();
        let directory = running.parent().unwrap();
        if directory.ends_with("deps") {
            directory.parent().unwrap().to_owned()
        } else {
            directory.to_owned()
        }
    })
}

fn up_to_date(name: &str) -> PathBuf {
    let program = directory().join(name);
    let Ok(built) = modified(&program) else {
        panic!("{} is not there: run `make build`", program.display())
    };
    for source in sources(&program) {
        // A source that is gone was deleted or renamed after the build.
        if modified(&source).is_ok_and(|changed| changed <= built) {
            continue;
        }
        panic!("{} is older than {}: run `make build`", program.display(), source.display());
    }
    program
}

// What cargo wrote beside the program: one line `program: source source …`, blanks in names
// escaped.
fn sources(program: &Path) -> Vec<PathBuf> {
    let list = program.with_extension("d");
    let text = fs::read_to_string(&list)
        .unwrap_or_else(|error| panic!("{}: {error}: run `make build`", list.display()));
    let (_, sources) = text.split_once(": ").unwrap_or_default();
    let escaped = sources.trim_end().replace("\\ ", "\0");
    escaped
        .split(' ')
        .filter(|source| !source.is_empty())
        .map(|source| source.replace('\0', " ").into())
        .collect()
}

fn modified(path: &Path) -> std::io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}
