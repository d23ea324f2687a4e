//! `--log-format json` logs one JSON object a line, to the last word; texts hide nothing in it.

use std::process::{Command, Stdio};

use e2e::{binaries, cli, testbed::Testbed, worker::WorkerConfig};
use serde_json::Value;

async fn ended(bed: &Testbed, config: &str, environment: &[(&str, &str)]) -> Vec<Value> {
    let worker = bed.prepare_worker("logging", &WorkerConfig::new("w1"));
    worker.write_config(config);
    let mut daemon = Command::new(binaries::worker());
    daemon.args(["daemon", "-c"]).arg(worker.config_file()).env("NATS_URL", bed.nats.url());
    daemon.envs(environment.iter().copied());
    daemon.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = cli::finish(daemon, b"").await.expect(1).stderr;
    said.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[tokio::test]
async fn each_line_is_one_json_object_and_the_reason_of_the_end_is_the_last() {
    let bed = Testbed::start().await;
    let config = "[worker]\nname = 'w1'\nrpc_server.port = 17890\n";
    let lines = ended(&bed, config, &[("DAMOCLES_LOG_FORMAT", "json")]).await;
    let [warning, error] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&warning["level"], &error["level"]), (&"WARN".into(), &"ERROR".into()));
    for line in [warning, error] {
        assert!(line["timestamp"].is_string() && line["target"].is_string(), "{line}");
    }
    let said = error["fields"]["message"].as_str().expect("a message");
    assert!(said.contains("[[sealing_thread]]"), "{said}");
}

#[tokio::test]
async fn what_a_text_hides_is_escaped() {
    let bed = Testbed::start().await;
    let worker = bed.prepare_worker("hidden", &WorkerConfig::new("w1"));
    worker.write_config("[worker]\nname = 'w1'\nping_interval = '\u{202e}\u{9b}31m'\n");
    let mut daemon = Command::new(binaries::worker());
    daemon.args(["--log-format", "json", "daemon", "-c"]).arg(worker.config_file());
    daemon.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = cli::finish(daemon, b"").await.expect(1).stderr;
    assert!(!said.contains(['\u{202e}', '\u{9b}']), "{said:?}");
    let line: Value = serde_json::from_str(&said).expect(&said);
    assert!(line["fields"]["message"].as_str().is_some_and(|said| said.contains("31m")), "{said}");
}

#[tokio::test]
async fn a_rust_log_that_is_not_understood_is_said() {
    let bed = Testbed::start().await;
    let environment = [("DAMOCLES_LOG_FORMAT", "json"), ("RUST_LOG", "damocles=loud")];
    let lines = ended(&bed, "[worker]\nname = 'w1'\n", &environment).await;
    let said = lines[0]["fields"]["message"].as_str().expect("a message");
    assert!(said.contains("RUST_LOG") && said.contains("damocles=loud"), "{said}");
}
