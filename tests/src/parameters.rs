//! Groth16 parameters for proofs that are real. Tests without them see C2 fail, as a fresh machine does.

use std::{path::PathBuf, process::Command, time::Duration};

use crate::{binaries, cli};

/// How long a test waits for a proof, or for its parameters: a machine may have one core, and other work.
pub const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// A directory with window-PoSt parameters for 2 KiB sectors. The first test that asks makes them, in seconds; others
/// wait for it, and later runs find them.
pub async fn window_post() -> PathBuf {
    let directory = binaries::directory().parent().unwrap().join("tmp/parameters");
    let mut command = Command::new(binaries::worker());
    command.args(["generator", "groth-params", "--sector-size", "2KiB", "--for", "window-post", "--path"]).arg(&directory);
    cli::finish_within(PATIENCE, command, b"").await.expect(0);
    directory
}

/// The directory with all parameters for 2 KiB sectors, which this process's proofs library uses too.
pub fn all() -> PathBuf {
    let directory = std::env::var_os("FIL_PROOFS_PARAMETER_CACHE").map(PathBuf::from);
    directory.unwrap_or_else(|| panic!("FIL_PROOFS_PARAMETER_CACHE names no parameters: run `make test-proofs`"))
}
