//! Texts of others are shown with all that would not be seen, or would act on the terminal, escaped.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::process::{Command, Stdio};

use e2e::{
    binaries,
    cli::{self, CliOutput},
    testbed::Testbed,
    worker::WorkerConfig,
};
use serde_json::{Value, json};
use shared_msgs::{id::Id, snapshot::WorkerSnapshot};

/// A line end, a control sequence by one character, text from right to left, and nothing to see.
const HOSTILE: &str = "w\n\u{9b}31m\u{202e}\u{200b}\u{2028}1";
const SHOWN: &str = "w\\n\\u{9b}31m\\u{202e}\\u{200b}\\u{2028}1";

fn is_hidden(character: char) -> bool {
    (character.is_control() && character != '\n')
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
}

#[track_caller]
fn hides_nothing(what: &str, text: &str) {
    assert!(!text.contains(is_hidden), "{what} shows {text:?}");
}

// A text that is escaped, on one line.
#[track_caller]
fn shows(what: &str, text: &str) {
    hides_nothing(what, text);
    assert!(text.lines().any(|line| line.contains(SHOWN)), "{what} shows {text}");
}

fn snapshot() -> WorkerSnapshot {
    let thread = json!({
        "index": 0, "location": HOSTILE, "plan": HOSTILE, "sector_id": HOSTILE, "state": HOSTILE, "stage": HOSTILE,
        "status": {"kind": "waiting", "for": HOSTILE}, "last_err": HOSTILE, "end_pending": HOSTILE,
    });
    let snapshot = json!({
        "instance_id": Id::NIL, "seq": 1, "ping_interval_ms": 3_600_000, "host": HOSTILE, "version": HOSTILE,
        "dest": HOSTILE, "summary": {"threads": 1}, "threads": [thread], "history_stands_still": {"elapsed_ms": 1, "why": HOSTILE},
    });
    serde_json::from_value(snapshot).unwrap()
}

async fn both(bed: &Testbed, code: i32, args: &[&str]) -> CliOutput {
    match args[0] {
        "worker" => bed.worker_cli(args).await.expect(code),
        _ => bed.util_worker(args).await.expect(code),
    }
}

#[tokio::test]
async fn a_workers_texts_are_escaped_in_tables_lines_json_and_errors() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    bed.bus.report(HOSTILE, &snapshot()).await;
    bed.bus.listed("the worker", |workers| workers.len() == 1).await;

    // Nobody answers for it: its last report is shown, and an error names it and its host.
    for command in [&["list"][..], &["info", HOSTILE]] {
        let code = if command.len() == 1 { 0 } else { 4 };
        for output in ["plain", "wide"] {
            let shown = both(&bed, code, &[command, &["-o", output]].concat()).await;
            shows(&format!("{command:?}"), &shown.stdout);
            shows(&format!("{command:?}"), &shown.stderr);
        }
        let document = both(&bed, code, &[command, &["-o", "json"]].concat()).await;
        hides_nothing(&format!("{command:?} -o json"), &document.stdout);
        assert!(document.stdout.contains("\\u009b31m\\u202e\\u200b\\u2028"), "{}", document.stdout);
        let value = document.json();
        let found = value.pointer("/0/host").or(value.pointer("/threads/0/last_err"));
        assert_eq!(found, Some(&Value::from(HOSTILE)), "{command:?}");
        let lines = both(&bed, code, &[command, &["-o", "jsonl"]].concat()).await;
        hides_nothing(&format!("{command:?} -o jsonl"), &lines.stdout);
        assert!(serde_json::from_str::<Value>(&lines.stdout).is_ok(), "{}", lines.stdout);
    }
    for args in [
        &["pause", HOSTILE, "0"][..],
        &["pause", "-w", "w*", "--timeout", "1s"],
        &["cordon", HOSTILE],
        &["worker", "--name", HOSTILE, "list"],
    ] {
        shows(&format!("{args:?}"), &both(&bed, 4, args).await.stderr);
    }
    shows("remove", &both(&bed, 5, &["remove", HOSTILE]).await.stderr);
    hides_nothing("a wrong argument", &both(&bed, 2, &["pause", "w1", HOSTILE]).await.stderr);
}

#[tokio::test]
async fn what_a_command_says_is_escaped_in_logs_and_in_the_history() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until_thread("w1", 0, "it waits", |thread| thread.status.name() == "waiting").await;
    bed.util_worker(&["pause", "w1", "0", "--reason", HOSTILE]).await.expect(0);
    worker.log().line_with(&[SHOWN]).await;
    for line in worker.log().lines() {
        hides_nothing("the log", &line);
    }
    let history = bed.util_worker(&["history", "w1", "0"]).await.expect(0);
    shows("history", &history.stdout);
    let lines = bed.util_worker(&["history", "w1", "0", "-o", "jsonl"]).await.expect(0);
    hides_nothing("history -o jsonl", &lines.stdout);
    let reasons: Vec<Value> =
        lines.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(reasons.iter().any(|event| event["reason"] == HOSTILE), "{reasons:?}");
}

#[tokio::test]
async fn a_payload_and_a_configuration_file_hide_nothing_either() {
    let bed = Testbed::start().await;
    let payload = serde_json::to_vec(&json!({ "name": HOSTILE })).unwrap();
    for args in [&["util", "decode"][..], &["util", "decode", "--pretty"]] {
        let shown = cli::run(binaries::manager(), args, &bed.nats.url(), &payload).await.expect(0);
        hides_nothing("decode", &shown.stdout);
        assert_eq!(shown.json()["name"], HOSTILE);
    }
    let worker = bed.prepare_worker("hidden", &WorkerConfig::new("w1"));
    worker.write_config("[worker]\nping_interval = '\u{202e}\u{9b}31m'\n");
    let mut daemon = Command::new(binaries::worker());
    daemon.args(["daemon", "-c"]).arg(worker.config_file()).env("NATS_URL", bed.nats.url());
    daemon.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = cli::finish(daemon, b"").await.expect(1).stderr;
    hides_nothing("a configuration error", &said);
    assert!(said.contains("31m"), "{said}");
}
