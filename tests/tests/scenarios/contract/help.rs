//! `--help` of every command is what `tests/contract/` has, so that a change of it is seen.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::{
    path::Path,
    process::{Command, Stdio},
};

use e2e::{binaries, cli, contract};

// As in a terminal of 100 columns, with none of the variables that help shows.
async fn help(program: &Path, path: &[String]) -> String {
    said(program, &[path, &["--help".to_owned()]].concat(), 100).await
}

async fn said(program: &Path, words: &[String], columns: usize) -> String {
    let mut command = Command::new(program);
    command
        .args(words)
        .env("COLUMNS", columns.to_string())
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

async fn all_commands(program: &Path) -> Vec<Vec<String>> {
    let (mut found, mut paths) = (vec![], vec![vec![]]);
    while let Some(path) = paths.pop() {
        let below = commands(&help(program, &path).await).into_iter().rev();
        paths.extend(below.map(|name| [path.clone(), vec![name]].concat()));
        found.push(path);
    }
    found
}

// What every command has stands once, in the topics behind the commands.
async fn all(program: &Path) -> String {
    let name = program.file_name().unwrap().to_str().unwrap().to_owned();
    let mut text = String::new();
    let helps =
        all_commands(program).await.into_iter().map(|path| [path, vec!["--help".into()]].concat());
    let topics = ["nats", "log", "states"].map(|topic| vec!["help".to_owned(), topic.to_owned()]);
    for words in helps.chain(topics) {
        let help = said(program, &words, 100).await;
        let lines: String = help.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        text += &format!("$ {name} {}\n{}\n\n", words.join(" "), lines.trim_end());
    }
    text
}

// A line of a paragraph that ends too early: what begins the next one would have had room.
fn broken_by_hand(help: &str, columns: usize) -> Option<(&str, &str)> {
    let lines: Vec<_> = help.lines().collect();
    lines.windows(2).map(|pair| (pair[0], pair[1])).find(|(line, next)| {
        // The topics stand below each other.
        let is_topic = |line: &str| line.contains(" options: damocles-");
        let is_text = |line: &str| !line.is_empty() && !line.starts_with(' ') && !is_topic(line);
        let word = next.split(' ').next().unwrap_or_default();
        is_text(line) && is_text(next) && line.chars().count() + 1 + word.chars().count() < columns
    })
}

async fn fits(program: &Path) {
    for path in all_commands(program).await {
        for columns in [80, 100] {
            let help =
                said(program, &[path.clone(), vec!["--help".into()]].concat(), columns).await;
            // Usage lines are as long as they are.
            for part in help.split("\n\n").filter(|part| !part.starts_with("Usage:")) {
                let long = part.lines().find(|line| line.chars().count() > columns);
                assert_eq!(long, None, "{path:?} in {columns} columns");
                assert_eq!(broken_by_hand(part, columns), None, "{path:?} in {columns} columns");
            }
            // A command that was wrapped does not begin an example's line.
            let examples = help.lines().skip_while(|line| !line.starts_with("Example")).skip(1);
            for line in examples.take_while(|line| !line.is_empty()) {
                assert!(line.starts_with("  "), "{path:?} in {columns} columns: {line}");
            }
        }
    }
}

#[tokio::test]
async fn the_help_of_the_worker_is_as_it_was() {
    contract::assert_is("damocles-worker.help.txt", &all(binaries::worker()).await);
}

#[tokio::test]
async fn the_help_of_the_manager_is_as_it_was() {
    contract::assert_is("damocles-manager.help.txt", &all(binaries::manager()).await);
}

#[tokio::test]
async fn help_is_broken_into_lines_once_by_the_width_of_the_terminal() {
    for program in [binaries::worker(), binaries::manager()] {
        fits(program).await;
    }
}
