//! Little is left: open files, and room in a message.

use std::time::Duration;

use e2e::{
    bus::refused,
    state_watch::{is_paused, is_stuck},
    testbed::Testbed,
    worker::WorkerConfig,
};
use shared_msgs::{
    command::{Verb, verb},
    error::ErrorKind,
    snapshot::{PausedBy, WorkerSnapshot},
};

const THREADS: usize = 24;

#[tokio::test]
async fn threads_that_find_no_open_file_left_wait_and_go_on() {
    let mut bed = Testbed::start().await;
    bed.wait_up_to(Duration::from_secs(300));
    let _manager = bed.mock_manager().await;
    let mut worker = bed.prepare_worker(
        "worker",
        &WorkerConfig::new("w1").threads(THREADS).sealing("max_retries", "100000"),
    );
    worker.start_with_open_files(64, 64);
    // Without parameters nobody gets further.
    bed.states
        .until("w1", "all stuck", |snapshot| {
            snapshot.threads.iter().filter(|thread| is_stuck(thread)).count() == THREADS
        })
        .await;
    let errors = bed
        .states
        .seen()
        .iter()
        .flat_map(|(_, snapshot)| &snapshot.threads)
        .filter_map(|thread| thread.last_err.as_deref());
    let errors: Vec<_> = errors.collect();
    let unexpected = errors
        .iter()
        .find(|error| !error.starts_with("temporary: ") && !error.contains("No cached parameters"));
    assert_eq!(unexpected, None);
    assert!(
        errors.iter().any(|error| error.contains("Too many open files")),
        "nobody ran out of open files: this test tried nothing"
    );
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn the_soft_limit_of_open_files_is_raised_at_start() {
    let mut bed = Testbed::start().await;
    let mut worker = bed.prepare_worker("worker", &WorkerConfig::new("w1").threads(THREADS).idle());
    worker.start_with_open_files(64, 4096);
    worker.log().line_with(&["raised the limit of open files", "64", "4096"]).await;
    bed.states.until("w1", "it reports", |_| true).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", worker.pid())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(
        open_files.split_whitespace().filter(|word| *word == "4096").count(),
        2,
        "{open_files}"
    );
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn answers_fit_into_what_nats_carries_whatever_the_errors() {
    let mut bed = Testbed::start_configured("max_payload: 65536").await;
    bed.wait_up_to(Duration::from_secs(120));
    let _manager = bed.mock_manager().await;
    // Quotes and backslashes take twice the room in JSON.
    let error = "\"\\".repeat(3000);
    let config = WorkerConfig::new("w1")
        .threads(THREADS)
        .fixture("c2", &["--fail", &error], "")
        .sealing("max_retries", "0");
    let worker = bed.worker(&config);
    let all_failed = |snapshot: &WorkerSnapshot| {
        snapshot.threads.iter().filter(|thread| is_paused(thread, PausedBy::Error)).count()
            == THREADS
    };
    bed.states.until("w1", "all failed", all_failed).await;

    let listed = bed.bus.list("w1").await;
    assert_eq!(listed.threads.len(), THREADS);
    for thread in &listed.threads {
        let error = thread.last_err.as_deref().unwrap();
        assert!(error.starts_with("permanent: \"\\") && error.ends_with("(cut)"), "{error}");
    }
    assert_eq!(bed.util_worker(&["info", "w1"]).await.expect(0).rows().len(), THREADS);
    worker.cli(&["list"]).await.expect(0);
    bed.util_worker(&["list"]).await.expect(0);
    bed.util_worker(&["resume", "w1", "0"]).await.expect(0);
    bed.util_worker(&["resume", "--all", "--dry-run"]).await.expect(0);
    let paused = bed.util_worker(&["pause", "--all", "-o", "json"]).await.expect(0);
    assert!(!paused.stderr.contains("hangs"), "{}", paused.stderr);
    // A refusal that quotes a long request is cut too.
    let long = format!(r#"{{"selector":{{"error":"({}"}}}}"#, "x".repeat(30_000));
    let answer = bed.bus.raw(&bed.bus.command("w1", Verb::Pause.name()), long).await;
    assert!(String::from_utf8_lossy(&answer.payload).contains("bad_request"));
}

#[tokio::test]
async fn an_answer_that_cannot_fit_is_refused_and_the_worker_is_not_said_to_hang() {
    let bed = Testbed::start_configured("max_payload: 8192").await;
    let worker = bed.worker(&WorkerConfig::new("w1").threads(64).idle());
    bed.bus.served(&bed.bus.command("w1", verb::LIST)).await;
    let answer: Result<WorkerSnapshot, _> =
        bed.bus.ask("w1", verb::LIST, &serde_json::json!({})).await;
    assert!(
        matches!(refused(answer), ErrorKind::AnswerTooLarge { bytes, max_bytes } if bytes > max_bytes && max_bytes < 8192)
    );
    let said = worker.cli(&["list"]).await.expect(1).stderr;
    assert!(said.contains("max_payload") && !said.contains("hangs"), "{said}");
    bed.util_worker(&["cordon", "w1", "0"]).await.expect(0);
}
