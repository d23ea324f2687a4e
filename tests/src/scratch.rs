//! A test's directory: gone when the test passes, kept and named when it fails.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A directory of its own for each test.
#[derive(Debug)]
pub struct Scratch(Option<TempDir>);

impl Scratch {
    /// Makes one, named after the running test.
    pub fn new() -> Scratch {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default().replace("::", "-");
        Scratch(Some(tempfile::Builder::new().prefix(&format!("e2e-{test}-")).tempdir().unwrap()))
    }

    /// Its path, as long as this lives.
    pub fn path(&self) -> &Path {
        self.0.as_ref().unwrap().path()
    }

    /// Makes a directory in it.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch::new()
    }
}

impl Drop for Scratch {
    #[expect(clippy::print_stderr, reason = "shown with the failing test's output")]
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(directory) = self.0.take()
        {
            eprintln!("logs and stores of this test are kept in {}", directory.keep().display());
        }
    }
}
