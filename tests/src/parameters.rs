//! Groth16 parameters for proofs that are real. Tests without them see C2 fail, as a fresh machine
//! does.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    binaries,
    cli::{self, CliOutput},
    scratch::Scratch,
};

/// How long a test waits for a proof, or for its parameters: a machine may have one core, and other
/// work.
pub const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// A directory with window-PoSt parameters for 2 KiB sectors. The first test that asks makes them,
/// in seconds; others wait for it, and later runs find them.
pub async fn window_post() -> PathBuf {
    let directory = binaries::directory().parent().unwrap().join("tmp/parameters");
    make(&["--sector-size", "2KiB", "--for", "window-post"], &directory).await.expect(0);
    directory
}

/// Whether window-PoSt proofs are those of sectors, given by number and commitment; see
/// `src/bin/verify-window-post.rs`.
pub async fn verify_window_post(claim: &serde_json::Value) -> bool {
    let mut command = Command::new(binaries::verify_window_post());
    command.env("FIL_PROOFS_PARAMETER_CACHE", window_post().await);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output =
        cli::finish_within(PATIENCE, command, claim.to_string().as_bytes()).await.expect(0);
    output.json().as_bool().unwrap()
}

/// A test's own copy of them.
pub async fn copy_of_window_post(scratch: &Scratch) -> PathBuf {
    let (shared, copy) = (window_post().await, scratch.directory("parameters"));
    for file in std::fs::read_dir(shared).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    copy
}

/// `damocles-worker generator groth-params … --path DIRECTORY`.
pub async fn make(args: &[&str], directory: &Path) -> CliOutput {
    let mut command = command(args, directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    cli::finish_within(PATIENCE, command, b"").await
}

/// The same, for a test that runs it in its own way.
pub fn command(args: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(binaries::worker());
    command.args(["generator", "groth-params"]).args(args).arg("--path").arg(directory);
    command
}

/// The directory with all parameters for 2 KiB sectors, which this process's proofs library uses
/// too.
pub fn all() -> PathBuf {
    let directory = std::env::var_os("FIL_PROOFS_PARAMETER_CACHE").map(PathBuf::from);
    directory.unwrap_or_else(|| {
        panic!("FIL_PROOFS_PARAMETER_CACHE names no parameters: run `make test-proofs`")
    })
}
