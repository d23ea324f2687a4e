//! `--help` of every command is what `tests/contract/` has, so that a change of it is seen.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::{
    path::Path,
    process::{Command, Stdio},
};

use e2e::{binaries, cli, contract};

// As in a terminal of 100 columns, with none of the variables that help shows.
async fn help(program: &Path, path: &[String]) -> String {
    let mut command = Command::new(program);
    command
        .args(path)
        .arg("--help")
        .env("COLUMNS", "100")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    cli::finish(command, b"").await.expect(0).stdout
}

fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(Into::into).collect()
}

// A help without the options that every command has, and those.
fn split(help: &str) -> (String, String) {
    let (mut own, mut shared, mut is_shared) = (String::new(), String::new(), false);
    for line in help.lines() {
        if !line.is_empty() && !line.starts_with(' ') {
            is_shared = ["NATS:", "Log:"].contains(&line);
        }
        let part = if is_shared { &mut shared } else { &mut own };
        *part += line.trim_end();
        part.push('\n');
    }
    (own.trim_end().to_owned(), shared)
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

// The options that every command has stand once, behind the program's own.
async fn all(program: &Path) -> String {
    let name = program.file_name().unwrap().to_str().unwrap().to_owned();
    let top = help(program, &[]).await;
    let (_, shared) = split(&top);
    let (mut text, mut paths) = (String::new(), vec![vec![]]);
    while let Some(path) = paths.pop() {
        let help = help(program, &path).await;
        let below = commands(&help).into_iter().rev();
        paths.extend(below.map(|name| [path.clone(), vec![name]].concat()));
        let (own, others) = split(&help);
        assert_eq!(words(&others), words(&shared), "{path:?}");
        let typed = [vec![name.clone()], path, vec!["--help".into()]].concat().join(" ");
        text += &format!("$ {typed}\n{own}\n\n");
    }
    text + &shared
}

#[tokio::test]
async fn the_help_of_the_worker_is_as_it_was() {
    contract::assert_is("damocles-worker.help.txt", &all(binaries::worker()).await);
}

#[tokio::test]
async fn the_help_of_the_manager_is_as_it_was() {
    contract::assert_is("damocles-manager.help.txt", &all(binaries::manager()).await);
}
