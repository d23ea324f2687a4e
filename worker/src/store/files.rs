//! Work on files, whose errors name the path; and which paths may be worked on.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use rustix::fs::Access;

/// Names the path in an error.
pub(crate) fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Removes a file or a directory with all in it. One that is not there is no error; another names
/// the path.
pub(crate) fn remove_path(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path, error)),
        _ => Ok(()),
    }
}

/// An empty directory at `path`, whatever was there before.
pub(crate) fn fresh_dir(path: &Path) -> io::Result<()> {
    remove_path(path)?;
    fs::create_dir_all(path).map_err(|error| at(path, error))
}

/// Refuses work for which the disk has no room: the proofs library writes through memory maps, and
/// a full disk under one kills the process.
pub(crate) fn require_space(path: &Path, bytes: u64) -> io::Result<()> {
    let stat = rustix::fs::statvfs(path).map_err(|error| at(path, error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    let short = format!(
        "{}: No space left on device: {free} bytes are free, the stage needs {bytes}",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::StorageFull, short))
}

/// Whether files can be made in a directory, or the directory itself. Says how it is now; an error
/// names what is in the way.
pub(crate) fn writable(path: &Path) -> Result<&'static str, String> {
    let found = path.ancestors().find_map(|above| Some((above, fs::metadata(above).ok()?)));
    let Some((above, metadata)) = found else {
        return Err(format!("{} cannot be looked at", path.display()));
    };
    if !metadata.is_dir() {
        return Err(format!("{} is no directory", above.display()));
    }
    rustix::fs::access(above, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| at(above, error.into()).to_string())?;
    Ok(if above == path { "can be written to" } else { "is made at the start" })
}

/// Whether a path names something below a directory, without a way out of it (`..`).
pub(crate) fn is_inside(path: &Path, directory: &Path) -> bool {
    let plain =
        path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    plain && path.strip_prefix(directory).is_ok_and(|rest| rest.components().next().is_some())
}

/// Refuses a file whose directory, with all links followed, lies in none of these: a link that
/// somebody put there must not lead out. The directories themselves are the operator's, and may be
/// links.
pub(crate) fn require_inside(path: &Path, directories: &[PathBuf]) -> io::Result<()> {
    // What does not exist yet is no link.
    let existing = path.ancestors().skip(1).find(|ancestor| fs::symlink_metadata(ancestor).is_ok());
    let existing = existing.unwrap_or(path);
    let real = existing.canonicalize().map_err(|error| at(existing, error))?;
    if directories.iter().any(|directory| {
        directory.canonicalize().is_ok_and(|directory| real.starts_with(directory))
    }) {
        return Ok(());
    }
    let out = format!(
        "{} leads out of the directory that it is in, to {}: a link there is not followed",
        path.display(),
        real.display()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_does_not_fit_on_the_disk_is_refused_with_its_path() {
        let directory = tempfile::tempdir().unwrap();
        require_space(directory.path(), 1).unwrap();
        let error = require_space(directory.path(), u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains(directory.path().to_str().unwrap()));
    }

    #[test]
    fn a_link_out_of_a_directory_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for made in ["pieces/a", "pieces/b", "victim"] {
            fs::create_dir_all(path(made)).unwrap();
        }
        let link = |to: &str, from: &str| std::os::unix::fs::symlink(path(to), path(from)).unwrap();
        link("victim", "pieces/out");
        link("nowhere", "pieces/dangling");
        link("pieces/a", "pieces/in");
        link("pieces", "alias");
        let directories = [path("pieces"), path("alias")];
        for inside in ["pieces/x", "pieces/a/x", "pieces/new/deep/x", "pieces/in/x", "alias/b/x"] {
            require_inside(&path(inside), &directories).unwrap();
        }
        for outside in
            ["pieces/out/x", "pieces/out/new/x", "pieces/dangling/x", "alias/out/x", "victim/x"]
        {
            assert!(require_inside(&path(outside), &directories).is_err(), "{outside}");
        }
    }
}
