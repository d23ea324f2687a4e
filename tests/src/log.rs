//! What a child process prints, as lines: kept in a file, and waited for.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    thread,
};

use tokio::{sync::watch, time::timeout};

use crate::DEADLINE;

/// The lines of one run of a process. Its file holds those of earlier runs too.
#[derive(Clone, Debug)]
pub struct Log {
    lines: watch::Receiver<Vec<String>>,
    path: PathBuf,
}

impl Log {
    /// Reads `output` to its end in a thread of its own, so that the writer never waits for the
    /// test.
    pub(crate) fn start(output: impl Read + Send + 'static, path: &Path) -> Log {
        let (sender, lines) = watch::channel(Vec::new());
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        thread::spawn(move || copy_lines(BufReader::new(output), file, &sender));
        Log { lines, path: path.to_owned() }
    }

    /// Where the lines are kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Waits for the process's end, and returns all that it printed.
    pub async fn to_end(&self) -> String {
        let mut lines = self.lines.clone();
        let end = async { while lines.changed().await.is_ok() {} };
        assert!(
            timeout(DEADLINE, end).await.is_ok(),
            "more than {DEADLINE:?} of output, see {}",
            self.path.display()
        );
        self.lines().join("\n")
    }

    /// Waits for a line that holds all of `parts`, and returns it.
    pub async fn line_with(&self, parts: &[&str]) -> String {
        self.nth_line_with(1, parts).await
    }

    /// Waits for the `n`th line that holds all of `parts`, and returns it.
    pub async fn nth_line_with(&self, n: usize, parts: &[&str]) -> String {
        let wanted = |line: &&String| parts.iter().all(|part| line.contains(part));
        let mut lines = self.lines.clone();
        let nth = |lines: &Vec<String>| lines.iter().filter(wanted).nth(n - 1).cloned();
        match timeout(DEADLINE, lines.wait_for(|lines| nth(lines).is_some())).await {
            Ok(Ok(lines)) => nth(&lines).unwrap_or_default(),
            Ok(Err(_)) => panic!(
                "the process ended without a line with {parts:?}, see {}",
                self.path.display()
            ),
            Err(_) => {
                panic!("no line with {parts:?} within {DEADLINE:?}, see {}", self.path.display())
            }
        }
    }
}

fn copy_lines(mut output: impl BufRead, mut file: File, lines: &watch::Sender<Vec<String>>) {
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
        // A full disk must not stop the process that is watched.
        let _ = file.write_all(&line);
        lines.send_modify(|lines| lines.push(String::from_utf8_lossy(&line).trim_end().to_owned()));
        line.clear();
    }
}
