//! A small file system that can be full.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A tmpfs, mounted until it is dropped.
#[derive(Debug)]
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one of so many KiB at a directory, which is made. `None` where this process may not
    /// mount; the Makefile names the tests that do not run then.
    pub fn mount(path: &Path, kib: u64) -> Option<Tmpfs> {
        fs::create_dir_all(path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(path);
        let mounted = mount
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then(|| Tmpfs(path.to_owned()))
    }

    /// Lets nothing be written any more, as the system does to a disk after an error.
    pub fn make_readonly(&self) {
        let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status();
        assert!(
            remounted.is_ok_and(|status| status.success()),
            "{} cannot be made read-only",
            self.0.display()
        );
    }

    /// Takes all the space that is left, until it is given back.
    pub fn fill(&self) {
        use std::io::Write;
        let mut ballast = fs::File::create(self.ballast()).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
    }

    /// Gives the space back.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still have a file open.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "{} is still mounted",
            self.0.display()
        );
    }
}
