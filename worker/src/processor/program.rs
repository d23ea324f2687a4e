//! Whether a processor's program can be started, before anybody starts it.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use rustix::fs::Access;

use super::settings::Settings;

/// The file that is run for `bin`: found as the system finds it, with the PATH that the processor
/// gets. An error says why it cannot be run.
pub(crate) fn find(bin: &Path, settings: &Settings) -> Result<PathBuf, String> {
    if bin.components().count() > 1 || bin.is_absolute() || bin.starts_with(".") {
        return runnable(bin).map(|()| bin.to_owned());
    }
    let own = settings.envs.get("PATH").map(OsString::from);
    let path = own.or_else(|| env::var_os("PATH")).unwrap_or_default();
    let candidates = env::split_paths(&path).map(|directory| directory.join(bin));
    let mut refused = format!("{} is in no directory of PATH", bin.display());
    for candidate in candidates.filter(|candidate| candidate.exists()) {
        match runnable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn runnable(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let metadata = path.metadata().map_err(|error| format!("{shown}: {error}"))?;
    if !metadata.is_file() {
        return Err(format!("{shown} is no file"));
    }
    rustix::fs::access(path, Access::EXEC_OK)
        .map_err(|_| format!("{shown} is not executable: chmod +x {shown}"))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_program_is_found_as_the_system_finds_it_and_said_why_it_cannot_be_run() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("prover");
        let of = |path: &Path| {
            let mut settings = Settings::of(program.clone());
            settings.envs.insert("PATH".into(), path.display().to_string());
            settings
        };
        let settings = of(directory.path());
        let find = |bin: &str| super::find(Path::new(bin), &settings);
        assert!(find("prover").unwrap_err().contains("is in no directory of PATH"));
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
        for bin in ["prover", program.to_str().unwrap()] {
            assert!(find(bin).unwrap_err().contains("is not executable"), "{bin}");
        }
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("prover"), Ok(program.clone()));
        assert_eq!(find(program.to_str().unwrap()), Ok(program.clone()));
        assert!(find("/nowhere/prover").unwrap_err().starts_with("/nowhere/prover: "));
        assert!(find(directory.path().to_str().unwrap()).unwrap_err().contains("is no file"));
    }
}
