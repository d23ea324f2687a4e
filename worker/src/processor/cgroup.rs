//! A control group with a set of CPUs for a child process, in the kernel's version 2 or version 1
//! (`Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/cpusets.rst`). Plain files: a group is
//! a directory.
//!
//! ```text
//!  <hierarchy>/damocles/<pid of this worker>/<name of the child>
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

use tracing::warn;

use crate::store::files::at;

const TOP: &str = "damocles";
const CPUS: &str = "cpuset.cpus";
const MEMORY_NODES: &str = "cpuset.mems";
const MEMBERS: &str = "cgroup.procs";
const CONTROLLERS: &str = "cgroup.controllers";
const HANDED_DOWN: &str = "cgroup.subtree_control";

/// A control group; removed when it is dropped, which works once its processes have ended.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
enum Hierarchy {
    Version1(PathBuf),
    Version2(PathBuf),
}

impl Cgroup {
    /// Makes a group that may use these CPUs. Says why it cannot.
    pub(crate) fn create(name: &str, cpus: &str) -> io::Result<Cgroup> {
        let mounts = fs::read_to_string("/proc/self/mounts")
            .map_err(|error| at(Path::new("/proc/self/mounts"), error))?;
        let none = || io::Error::other("this host has no control groups with cpuset");
        let hierarchy = find(&mounts).ok_or_else(none)?;
        let mounted = match &hierarchy {
            Hierarchy::Version1(path) | Hierarchy::Version2(path) => path.join(TOP),
        };
        remove_leftovers(&mounted);
        Self::create_in(&hierarchy, &process::id().to_string(), name, cpus)
    }

    fn create_in(
        hierarchy: &Hierarchy,
        worker: &str,
        name: &str,
        cpus: &str,
    ) -> io::Result<Cgroup> {
        let mut path = match hierarchy {
            Hierarchy::Version1(mounted) | Hierarchy::Version2(mounted) => mounted.clone(),
        };
        for part in [TOP, worker, name] {
            match hierarchy {
                // Each group hands its controller down to the groups below it.
                Hierarchy::Version2(_) => hand_down(&path)?,
                Hierarchy::Version1(_) => {}
            }
            let above = path.clone();
            path.push(part);
            make(&path)?;
            if let Hierarchy::Version1(_) = hierarchy {
                // A new group has no CPUs and no memory, so nobody can be in it.
                inherit(&above, &path, CPUS)?;
                inherit(&above, &path, MEMORY_NODES)?;
            }
        }
        let cgroup = Cgroup { path };
        write(&cgroup.path.join(CPUS), cpus)?;
        Ok(cgroup)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a process with all its threads into it.
    pub(crate) fn add(&self, pid: u32) -> io::Result<()> {
        write(&self.path.join(MEMBERS), &pid.to_string())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            warn!(cgroup = %self.path.display(), %error, "a control group stays");
        }
        // The worker's own group goes with the last one in it.
        for above in self.path.ancestors().skip(1).take(2) {
            if fs::remove_dir(above).is_err() {
                break;
            }
        }
    }
}

fn find(mounts: &str) -> Option<Hierarchy> {
    let mounted = |kind: &str, wanted: &dyn Fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, found, options) = (fields.next()?, fields.next()?, fields.next()?);
            (found == kind && wanted(path, options)).then(|| PathBuf::from(path))
        })
    };
    let has_cpuset = |path: &str, _: &str| {
        fs::read_to_string(Path::new(path).join(CONTROLLERS)).is_ok_and(|text| lists_cpuset(&text))
    };
    let second = mounted("cgroup2", &has_cpuset).map(Hierarchy::Version2);
    second.or_else(|| {
        mounted("cgroup", &|_, options| options.split(',').any(|option| option == "cpuset"))
            .map(Hierarchy::Version1)
    })
}

fn lists_cpuset(controllers: &str) -> bool {
    controllers.split_whitespace().any(|controller| controller == "cpuset")
}

fn hand_down(path: &Path) -> io::Result<()> {
    let file = path.join(HANDED_DOWN);
    if fs::read_to_string(&file).is_ok_and(|text| lists_cpuset(&text)) {
        Ok(())
    } else {
        write(&file, "+cpuset")
    }
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at(path, error)),
        _ => Ok(()),
    }
}

fn inherit(above: &Path, below: &Path, file: &str) -> io::Result<()> {
    let source = above.join(file);
    let value = fs::read_to_string(&source).map_err(|error| at(&source, error))?;
    write(&below.join(file), value.trim())
}

fn write(file: &Path, value: &str) -> io::Result<()> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("{value:?} to {}: {error}", file.display()))
    };
    fs::write(file, value).map_err(named)
}

// Groups of workers that were killed. One that still has processes cannot be removed, and stays.
fn remove_leftovers(top: &Path) {
    let entries =
        |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    for worker in entries(top).filter(|path| path.is_dir()) {
        let runs = worker.file_name().is_some_and(|pid| Path::new("/proc").join(pid).exists());
        if runs {
            continue;
        }
        for group in entries(&worker).filter(|path| path.is_dir()) {
            fs::remove_dir(group).ok();
        }
        fs::remove_dir(worker).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn version_1_hands_cpus_and_memory_down() {
        let directory = tempfile::tempdir().unwrap();
        let mounted = directory.path();
        fs::write(mounted.join(CPUS), "0-7\n").unwrap();
        fs::write(mounted.join(MEMORY_NODES), "0\n").unwrap();
        let cgroup =
            Cgroup::create_in(&Hierarchy::Version1(mounted.to_owned()), "4711", "pc1-0", "0-3")
                .unwrap();
        cgroup.add(42).unwrap();
        let path = mounted.join("damocles/4711/pc1-0");
        assert_eq!(cgroup.path(), path);
        assert_eq!(
            (read(&path.join(CPUS)), read(&path.join(MEMORY_NODES)), read(&path.join(MEMBERS))),
            ("0-3".into(), "0".into(), "42".into())
        );
        assert_eq!(read(&mounted.join("damocles/4711/cpuset.cpus")), "0-7");
    }

    #[test]
    fn version_2_hands_the_controller_down() {
        let directory = tempfile::tempdir().unwrap();
        let mounted = directory.path();
        let cgroup =
            Cgroup::create_in(&Hierarchy::Version2(mounted.to_owned()), "4711", "pc1-0", "0-3")
                .unwrap();
        assert_eq!(read(&cgroup.path().join(CPUS)), "0-3");
        for group in ["", "damocles", "damocles/4711"] {
            assert_eq!(read(&mounted.join(group).join(HANDED_DOWN)), "+cpuset");
        }
    }

    #[test]
    fn a_hierarchy_that_cannot_be_written_to_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = Hierarchy::Version1(directory.path().join("missing"));
        assert!(
            Cgroup::create_in(&missing, "1", "pc1-0", "0")
                .unwrap_err()
                .to_string()
                .contains("missing/damocles")
        );
    }

    #[test]
    fn the_hierarchy_with_cpusets_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let second = directory.path().display().to_string();
        let mounts = format!(
            "tmpfs /sys tmpfs rw 0 0\ncgroup /v1/cpu cgroup rw,cpu 0 0\ncgroup /v1/cpuset cgroup rw,cpuset 0 0\ncgroup2 {second} cgroup2 rw 0 0\n"
        );
        assert_eq!(find(&mounts), Some(Hierarchy::Version1("/v1/cpuset".into())));
        fs::write(directory.path().join(CONTROLLERS), "cpuset cpu\n").unwrap();
        assert_eq!(find(&mounts), Some(Hierarchy::Version2(second.into())));
        assert_eq!(find("proc /proc proc rw 0 0\n"), None);
    }
}
