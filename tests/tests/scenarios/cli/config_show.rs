//! `config show` prints each value with where it comes from, and no secret.

use std::process::{Command, Stdio};

use e2e::{
    binaries,
    cli::{self, CliOutput},
    testbed::Testbed,
    worker::WorkerConfig,
};

async fn show(command: &mut Command, options: &[&str]) -> CliOutput {
    let mut shown = Command::new(command.get_program());
    shown.args(command.get_args()).args(options);
    for (name, value) in command.get_envs() {
        value.map(|value| shown.env(name, value));
    }
    shown.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    cli::finish(shown, b"").await.expect(0)
}

// The rows of the table, by key.
fn row(output: &CliOutput, key: &str) -> (String, String) {
    let rows = output.rows();
    let row = rows.iter().find(|row| row[0] == key);
    let row = row.expect(key);
    (row[1].to_owned(), row[2].to_owned())
}

#[tokio::test]
async fn a_workers_values_say_whether_they_are_of_a_file_the_environment_an_option_or_nobody() {
    let bed = Testbed::start().await;
    let worker = bed.prepare_worker("worker", &WorkerConfig::new("w1"));
    worker.write_config(
        "[worker]\nname = 'w1'\n[nats]\nuser = 'u'\npassword = 'hunter2'\n\
         [sealing]\nmax_retries = 3\n[[sealing_thread]]\nlocation = './a'\n\
         [[processors.c2]]\nbin = 'x'\nenvs = { API_TOKEN = 'hunter2', LEVEL = 'x' }\n",
    );
    let file = worker.config_file().display().to_string();
    let mut command = Command::new(binaries::worker());
    command.args(["config", "show", "-c", &file, "--timeout", "7s"]);
    command.env("NATS_URL", "nats://me:hunter2@nats1:4222");
    let output = show(&mut command, &[]).await;
    for (key, value, from) in [
        ("worker.name", "\"w1\"", format!("{file}:2")),
        ("worker.grace", "\"10s\"", "default".into()),
        ("sealing_thread[0].sealing.max_retries", "3", format!("{file}:7")),
        ("processors.c2[0].envs.API_TOKEN", "\"(hidden)\"", format!("{file}:12")),
        ("processors.c2[0].envs.LEVEL", "\"x\"", format!("{file}:12")),
        ("nats.server", "\"nats://(hidden)@nats1:4222\"", "$NATS_URL".into()),
        ("nats.password", "\"(hidden)\"", format!("{file}:5")),
        ("nats.timeout", "\"7s\"", "--timeout".into()),
        ("nats.prefix", "\"damocles\"", "default".into()),
        ("nats.creds", "-", "default".into()),
    ] {
        assert_eq!(row(&output, key), (value.to_owned(), from), "{key}");
    }
    assert!(!output.stdout.contains("hunter2"), "{}", output.stdout);
    let json = show(&mut command, &["-o", "json"]).await.json();
    let settings = json.as_array().expect("a list");
    let of = |key: &str| settings.iter().find(|setting| setting["key"] == key).expect(key);
    assert_eq!(
        (&of("worker.name")["from"], &of("worker.name")["line"]),
        (&"file".into(), &2.into())
    );
    assert_eq!(of("nats.server")["variable"], "NATS_URL");
    assert_eq!(of("nats.timeout")["option"], "--timeout");
    assert!(!json.to_string().contains("hunter2"), "{json}");
}

#[tokio::test]
async fn a_managers_values_are_shown_without_any_file_too() {
    let mut command = Command::new(binaries::manager());
    command.args(["config", "show"]).env("NATS_PASSWORD", "hunter2").env("NATS_USER", "u");
    let output = show(&mut command, &[]).await;
    assert_eq!(
        row(&output, "nats.server"),
        ("\"nats://127.0.0.1:4222\"".to_owned(), "default".to_owned())
    );
    assert_eq!(
        row(&output, "nats.password"),
        ("\"(hidden)\"".to_owned(), "$NATS_PASSWORD".to_owned())
    );
    assert!(!output.stdout.contains("hunter2"), "{}", output.stdout);
}
