//! Nobody is there, or nobody answers: exit codes 2, 3 and 4, a sentence, never a panic.

use std::process::{Command, Stdio};

use damocles_client::call::CallError;
use e2e::{binaries, cli, state_watch::is_stuck, testbed::Testbed, worker::WorkerConfig};
use shared_msgs::error::ErrorKind;

#[tokio::test]
async fn a_thread_or_a_worker_that_does_not_exist_is_exit_3() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1").threads(2).idle());
    bed.states.until("w1", "it reports", |_| true).await;
    for verb in ["pause", "resume"] {
        worker.cli(&[verb, "--index", "2"]).await.expect(3);
        bed.util_worker(&[verb, "w1", "2"]).await.expect(3);
        bed.util_worker(&[verb, "nobody", "0"]).await.expect(3);
    }
    bed.util_worker(&["info", "nobody"]).await.expect(3);
    bed.worker_cli(&["worker", "--name", "nobody", "list"]).await.expect(3);
}

#[tokio::test]
async fn wrong_arguments_are_exit_2() {
    let bed = Testbed::start().await;
    for args in [
        &["worker", "pause"][..],
        &["worker", "resume", "--index", "x"],
        &["worker", "stop"],
        &["daemon", "--nonsense"],
        &[],
    ] {
        let output = bed.worker_cli(args).await.expect(2);
        assert_eq!(output.stdout, "");
    }
    for args in [
        &["pause", "w1"][..],
        &["resume", "w1"],
        &["resume", "w1", "-1"],
        &["info"],
        &["remove"],
        &["list", "--expiration", "soon"],
    ] {
        let output = bed.util_worker(args).await.expect(2);
        assert_eq!(output.stdout, "");
    }
}

#[tokio::test]
async fn without_nats_every_command_is_exit_4() {
    let mut bed = Testbed::start().await;
    let worker = bed.prepare_worker("worker", &WorkerConfig::new("w1"));
    bed.nats.stop().await;
    for args in [&["list"][..], &["pause", "--index", "0"], &["resume", "--index", "0"]] {
        let output = worker.cli(args).await.expect(4);
        assert!(
            output.stderr.contains(bed.nats.url().trim_start_matches("nats://")),
            "{}",
            output.stderr
        );
    }
    for args in [
        &["list"][..],
        &["info", "w1"],
        &["pause", "w1", "0"],
        &["resume", "w1", "0"],
        &["remove", "w1"],
    ] {
        bed.util_worker(args).await.expect(4);
    }
}

#[tokio::test]
async fn a_worker_that_hangs_is_exit_4_after_the_timeout() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until_thread("w1", 0, "stuck", is_stuck).await;
    worker.process().freeze();
    worker.cli(&["--timeout", "300ms", "list"]).await.expect(4);
    let pause = worker.cli(&["--timeout", "300ms", "pause", "--index", "0"]).await.expect(4);
    assert!(pause.stderr.contains("unknown"), "{}", pause.stderr);
    bed.util_worker(&["--timeout", "300ms", "info", "w1"]).await.expect(4);
    worker.process().thaw();
    worker.cli(&["list"]).await.expect(0);
}

#[tokio::test]
async fn a_worker_that_is_gone_is_exit_4_and_info_prints_its_last_report() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until_stuck("w1").await;
    worker.kill9().await;
    bed.bus.unserved(&bed.bus.command("w1", "list")).await;

    let pause = bed.util_worker(&["pause", "w1", "0"]).await.expect(4);
    assert!(pause.stdout.is_empty() && pause.stderr.contains(" old"), "{pause:?}");
    worker.cli(&["resume", "--index", "0"]).await.expect(4);
    let info = bed.util_worker(&["info", "w1"]).await.expect(4);
    assert_eq!(info.rows()[0][2..4], ["s-t010000-1", "true"]);
    assert_eq!(info.rows()[0][5], "C1Done");
    assert!(info.stderr.contains(" old"), "{}", info.stderr);
}

#[tokio::test]
async fn a_reader_that_has_gone_away_is_no_error() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").threads(3).idle());
    bed.states.until("w1", "it reports", |_| true).await;
    for (program, args) in [
        (binaries::worker(), &["worker", "--name", "w1", "list"][..]),
        (binaries::manager(), &["util", "worker", "list"]),
        (binaries::manager(), &["util", "worker", "info", "w1", "-o", "json"]),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(program);
        command
            .args(args)
            .env("NATS_URL", bed.nats.url())
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped());
        let output = cli::finish(command, b"").await.expect(0);
        assert_eq!(output.stderr, "");
    }
}

#[tokio::test]
async fn a_refusal_is_heard_by_whoever_has_little_time_too() {
    let users = |rights: &str| {
        format!(
            "no_auth_user: all\nauthorization: {{users: [{{user: all, password: all{rights}}}]}}"
        )
    };
    let mut bed = Testbed::start_configured(&users("")).await;
    let config = WorkerConfig::new("w1").idle().nats("lease_ttl", "'1s'");
    let _worker = bed.worker(&config);
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;
    // From now on it cannot renew its lease.
    let rights = ", permissions: {publish: {deny: [\"$KV.DAMOCLES_LEASE.>\"]}}";
    bed.nats.reload(&users(rights)).await;
    let unconfirmed = |error: &CallError| matches!(error, CallError::Refused(body) if body.kind == ErrorKind::LeaseUnconfirmed);
    while !bed.bus.pause("w1", 0).await.is_err_and(|error| unconfirmed(&error)) {}
    let output = bed.util_worker(&["--timeout", "600ms", "pause", "w1", "0"]).await.expect(5);
    assert!(output.stderr.contains("cannot confirm"), "{}", output.stderr);
}
