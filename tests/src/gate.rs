//! Holds the fixture processor's answers until a test lets them go: a FIFO, which the fixture opens
//! for reading.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, mkfifoat};

/// Closed at first; once open, it stays open.
#[derive(Debug)]
pub struct Gate {
    path: PathBuf,
    opened: Option<File>,
}

impl Gate {
    /// Makes a closed gate at `path`.
    pub fn new(path: PathBuf) -> Gate {
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        Gate { path, opened: None }
    }

    /// What the fixture takes as `--hold`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets everybody through who waits, and everybody who comes later.
    pub fn open(&mut self) {
        // For reading too, because opening for writing alone would wait for a reader.
        self.opened = Some(OpenOptions::new().read(true).write(true).open(&self.path).unwrap());
    }
}
