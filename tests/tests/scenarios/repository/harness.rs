//! The harness ends what it starts, and its fixtures do what they are told.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use e2e::{binaries, cli, gate::Gate, nats_server::NatsServer, process::Process, scratch::Scratch};

const TASKS: &[u8] = b"{\"id\":1,\"task\":{}}\n{\"id\":2,\"task\":{}}\n";

async fn fixture(args: &[&str]) -> Vec<serde_json::Value> {
    let output = cli::run(binaries::fixture_processor(), args, "", TASKS).await.expect(0);
    let mut lines = output.stdout.lines();
    assert_eq!(lines.next(), Some("c2 processor ready"));
    lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn a_killed_nats_server_comes_back_on_its_port_with_what_it_stored() {
    let scratch = Scratch::new();
    let mut server = NatsServer::start(scratch.path()).await;
    let url = server.url();
    let jetstream = async_nats::jetstream::new(async_nats::connect(&url).await.unwrap());
    let bucket = async_nats::jetstream::kv::Config { bucket: "B".into(), ..Default::default() };
    jetstream.create_key_value(bucket).await.unwrap().put("key", "value".into()).await.unwrap();

    server.kill9().await;
    server.restart().await;
    assert_eq!(server.url(), url);
    let jetstream = async_nats::jetstream::new(async_nats::connect(&url).await.unwrap());
    let value = jetstream.get_key_value("B").await.unwrap().get("key").await.unwrap();
    assert_eq!(value.unwrap(), "value");
}

#[tokio::test]
async fn whatever_a_process_started_ends_with_it() {
    let scratch = Scratch::new();
    let mut shell = Command::new("sh");
    shell.args(["-c", "sleep 1000 & echo started; wait"]);
    let mut process = Process::spawn("sh", shell, &scratch.path().join("sh.log"));
    process.log().line_with(&["started"]).await;
    process.kill9().await;
    // The end of the output is the end of everybody who could write to it.
    assert_eq!(process.log().to_end().await, "started");
}

#[tokio::test]
async fn the_watchdog_kills_what_a_dead_owner_left() {
    let mut watchdog = Command::new(binaries::watchdog()).stdin(Stdio::piped()).spawn().unwrap();
    let mut left = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
    let mut taken_off = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
    let mut list = watchdog.stdin.take().unwrap();
    writeln!(list, "+{}\n+{}\n-{}", left.id(), taken_off.id(), taken_off.id()).unwrap();
    drop(list);
    assert!(watchdog.wait().unwrap().success());
    assert!(!left.wait().unwrap().success());
    assert!(taken_off.try_wait().unwrap().is_none());
    taken_off.kill().unwrap();
    taken_off.wait().unwrap();
}

#[tokio::test]
async fn the_fixture_processor_fails_as_often_as_it_is_told_over_all_its_runs() {
    let scratch = Scratch::new();
    let count = scratch.path().join("count");
    let args =
        ["c2", "--fail", "no GPU", "--fail-times", "1", "--count-file", count.to_str().unwrap()];
    let answers = [fixture(&args).await, fixture(&args).await].concat();
    assert_eq!(
        answers.iter().map(|answer| answer["err_msg"].as_str()).collect::<Vec<_>>(),
        [Some("no GPU"), None, None, None]
    );
    assert_eq!(answers[1]["output"]["proof"].as_array().unwrap().len(), 192);
}

#[tokio::test]
async fn the_fixture_processor_ends_with_its_input_while_it_holds_an_answer() {
    let scratch = Scratch::new();
    let gate = Gate::new(scratch.path().join("gate"));
    assert_eq!(fixture(&["c2", "--hold", gate.path().to_str().unwrap()]).await.len(), 0);
}
