//! Running a command-line tool to its end, as a user does.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{io::AsyncWriteExt, time::timeout};

use crate::{DEADLINE, process::clean_environment};

/// What a command left behind.
#[derive(Debug)]
pub struct CliOutput {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed for its caller.
    pub stdout: String,
    /// What it printed beside that: notes and errors.
    pub stderr: String,
    shown: String,
}

impl CliOutput {
    /// Fails the test unless the exit code is `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> CliOutput {
        let CliOutput { code: got, stdout, stderr, shown } = &self;
        assert_eq!(
            *got,
            Some(code),
            "exit code of `{shown}`\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        );
        self
    }

    /// The rows of a table without its header, by column; columns stand at least two blanks apart.
    pub fn rows(&self) -> Vec<Vec<&str>> {
        self.stdout.lines().skip(1).map(columns).collect()
    }

    /// The header of a table, by column.
    pub fn header(&self) -> Vec<&str> {
        self.stdout.lines().next().map(columns).unwrap_or_default()
    }

    /// The JSON document on stdout.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("`{}` printed no JSON: {error}\n{}", self.shown, self.stdout)
        })
    }
}

fn columns(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect()
}

/// Runs a program with `stdin` as its input. Without a `--timeout` it waits for its answer as long
/// as a test does.
pub async fn run(program: &Path, args: &[&str], nats_url: &str, stdin: &[u8]) -> CliOutput {
    let mut command = Command::new(program);
    command
        .args(args)
        .env("NATS_URL", nats_url)
        .env("NATS_TIMEOUT", format!("{}s", DEADLINE.as_secs()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    finish(command, stdin).await
}

/// Runs a program on a terminal of its own, where `typed` is typed; what it prints comes together, as
/// one sees it. Its arguments are plain words, for `script` of util-linux hands them to a shell.
pub async fn run_on_terminal(
    program: &Path,
    args: &[&str],
    nats_url: &str,
    typed: &str,
) -> CliOutput {
    let line = format!("{} {}", program.display(), args.join(" "));
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("NATS_URL", nats_url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    finish(command, typed.as_bytes()).await
}

/// Runs a prepared command with `stdin` as its input.
pub async fn finish(command: Command, stdin: &[u8]) -> CliOutput {
    finish_within(DEADLINE, command, stdin).await
}

/// Like [`finish`], for a command that has more to do.
pub async fn finish_within(patience: Duration, mut command: Command, stdin: &[u8]) -> CliOutput {
    clean_environment(&mut command);
    let shown = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    let running = async {
        let mut child = command.kill_on_drop(true).spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A command that does not read its input is no failure.
            let _ = input.write_all(stdin).await;
        }
        child.wait_with_output().await
    };
    match timeout(patience, running).await {
        Ok(Ok(output)) => CliOutput {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            shown,
        },
        Ok(Err(error)) => panic!("cannot run {shown}: {error}"),
        Err(_) => panic!("{shown} did not end within {patience:?}"),
    }
}
