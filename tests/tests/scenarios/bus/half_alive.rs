//! Nothing is half alive: what has ended, does not store or cannot be written is said or mended.
//!
//! A log that cannot be written holds nobody up, a task that ends is noticed, a stream that is
//! deleted is made anew, and what JetStream does not store is said.

use async_nats::jetstream::{
    self,
    stream::{Config, DiscardPolicy},
};
use e2e::{
    bus::refused,
    event_log::EventLog,
    outputs::{dead_pipe, full_disk, stopped_terminal},
    state_watch::{is_in_c2, is_paused, waits_for},
    testbed::{Testbed, sector},
    worker::{Worker, WorkerConfig},
};
use shared_msgs::{
    command::{CommandRequest, Outcome, Verb, verb},
    error::ErrorKind,
    event::EventKind,
    snapshot::{PausedBy, WorkerSnapshot, WorkerStatus},
};

fn says_so(snapshot: &WorkerSnapshot) -> bool {
    snapshot.status == WorkerStatus::Stopped
}

#[tokio::test]
async fn a_log_that_cannot_be_written_or_is_not_read_holds_nobody_up() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (_unread, stopped) = stopped_terminal();
    for (name, output) in [("dead", dead_pipe()), ("full", full_disk()), ("stopped", stopped)] {
        let mut worker = bed.prepare_worker(name, &WorkerConfig::new(name).fixture_c2(&[]));
        let newest = if name == "dead" { 0 } else { bed.allocated().await };
        worker.start_logging_into(output);
        // It goes on from sector to sector, each of which is a dozen lines in its log.
        bed.requests.until_finalized(sector(newest + 3)).await;
        bed.bus.pause(name, 0).await.unwrap();
        bed.states
            .until_thread(name, 0, "it pauses", |thread| is_paused(thread, PausedBy::Operator))
            .await;
        bed.bus.resume(name, 0, None).await.unwrap();
        assert!(worker.terminate().await.success(), "{name}");
        bed.states.until(name, "its last report", says_so).await;
    }
}

#[tokio::test]
async fn a_worker_and_a_manager_whose_terminal_goes_away_stop_as_they_should() {
    let mut bed = Testbed::start().await;
    let mut manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it reports", |_| true).await;
    assert!(worker.process().hang_up().await.success());
    bed.states.until("w1", "its last report", says_so).await;
    worker.log().line_with(&["stopping", "signal=\"SIGHUP\""]).await;
    assert!(manager.process().hang_up().await.success());
    manager.process().log().line_with(&["stopping", "signal=\"SIGHUP\""]).await;
}

#[tokio::test]
async fn a_worker_that_is_asked_twice_gives_up_the_stage_that_runs() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let mut worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;
    worker.process().ask_to_end();
    worker.log().line_with(&["stopping", "signal=\"SIGTERM\""]).await;
    assert!(worker.terminate().await.success());
    worker.log().line_with(&["stages that still run are given up", "why=\"SIGTERM\""]).await;
    bed.states.until("w1", "its last report", says_so).await;
    gate.open();
    worker.start();
    bed.requests.until_finalized(sector(1)).await;
}

// Waits for the end of a worker one of whose tasks has panicked; it must say which.
async fn ends_because(worker: &mut Worker, does: &str) {
    let status = worker.process().ended().await;
    let output = worker.log().to_end().await;
    assert_eq!(status.code(), Some(1), "{does}:\n{output}");
    let reason = format!("error: the task that {does} has ended: panicked: failpoint");
    assert!(output.lines().any(|line| line.starts_with(&reason)), "{does}:\n{output}");
    assert!(
        output.contains("panicked: failpoint task:") && output.contains("place="),
        "{does}:\n{output}"
    );
}

#[tokio::test]
async fn a_worker_that_has_lost_one_of_its_tasks_ends_and_says_which() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let beside = "[[processors.sealing_daemons]]\nbin = '/bin/sleep'\nargs = ['1000']\n";
    let config = WorkerConfig::new("w1").fixture_c2(&[]).raw(beside);
    let mut worker = bed.prepare_worker("worker", &config);
    for (task, does) in [
        ("snapshots", "publishes snapshots"),
        ("events", "publishes events"),
        ("lease", "keeps the lease"),
        ("heartbeats", "sends heartbeats"),
        ("reports", "reports state changes"),
        ("processor", "owns processor c2-0"),
        ("daemon", "keeps daemon sleep running"),
    ] {
        worker.start_to_panic_at(&format!("task:{task}"), "panic");
        ends_because(&mut worker, does).await;
    }
    worker.start_to_panic_at("task:commands", "panic");
    let pid = worker.pid();
    bed.states.until("w1", "it reports", |snapshot| snapshot.pid == pid).await;
    bed.bus.client.publish(bed.bus.command("w1", verb::LIST), "{}".into()).await.unwrap();
    ends_because(&mut worker, "serves commands").await;
    // What still lives of it says goodbye.
    bed.states
        .until("w1", "its last report", |snapshot| says_so(snapshot) && snapshot.pid == pid)
        .await;
}

#[tokio::test]
async fn a_thread_whose_task_has_ended_shows_it_and_the_others_go_on() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.prepare_worker("worker", &WorkerConfig::new("w1").threads(2).idle());
    worker.start_to_panic_at("owner:pause", "panic");
    bed.states.until("w1", "they wait", |snapshot| snapshot.summary.waiting == 2).await;
    let internal = |refusal: ErrorKind| match refusal {
        ErrorKind::Internal { detail } => detail,
        refusal => panic!("{refusal:?}"),
    };
    let in_hand = internal(refused(bed.bus.pause("w1", 0).await));
    assert!(
        in_hand.starts_with("thread #0: its task has ended: panicked: failpoint owner:pause"),
        "{in_hand}"
    );
    assert!(
        in_hand.ends_with("restart the worker: nobody knows how far the command came"),
        "{in_hand}"
    );
    let thread = bed
        .states
        .until_thread("w1", 0, "it shows it", |thread| is_paused(thread, PausedBy::Error))
        .await;
    let shown = thread.last_err.unwrap();
    assert!(
        shown.starts_with("critical: its task has ended: panicked: ")
            && shown.ends_with("restart the worker"),
        "{shown}"
    );
    let later = internal(refused(bed.bus.resume("w1", 0, None).await));
    assert!(later.ends_with("restart the worker: nothing was done"), "{later}");

    let other = bed.bus.order("w1", Verb::Cordon, &CommandRequest::to(1)).await.unwrap();
    assert_eq!(other.outcome, Outcome::Cordoned);
    bed.states.until_thread("w1", 1, "it is cordoned", waits_for("uncordon")).await;
    assert!(worker.terminate().await.success());
    bed.states.until("w1", "its last report", says_so).await;
}

#[tokio::test]
async fn a_step_that_panics_is_its_threads_failure_and_can_be_resumed() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.prepare_worker("worker", &WorkerConfig::new("w1").fixture_c2(&[]));
    worker.start_to_panic_at("stage:PC1", "1*panic");
    let thread = bed
        .states
        .until_thread("w1", 0, "it failed", |thread| is_paused(thread, PausedBy::Error))
        .await;
    assert_eq!(thread.last_err.as_deref(), Some("critical: panicked: failpoint stage:PC1 panic"));
    bed.bus.resume("w1", 0, None).await.unwrap();
    bed.requests.until_finalized(sector(1)).await;
}

#[tokio::test]
async fn an_answer_that_panics_is_a_refusal_and_the_next_one_is_given() {
    let mut bed = Testbed::start().await;
    let mut worker = bed.prepare_worker("worker", &WorkerConfig::new("w1").idle());
    worker.start_to_panic_at("answer:list", "1*panic");
    bed.states.until("w1", "it reports", |_| true).await;
    let answer = bed.bus.ask::<WorkerSnapshot>("w1", verb::LIST, &serde_json::json!({})).await;
    assert!(
        matches!(refused(answer), ErrorKind::Internal { detail } if detail.contains("panicked: failpoint answer:list"))
    );
    assert_eq!(bed.bus.list("w1").await.name, "w1");
}

#[tokio::test]
async fn a_stream_of_events_that_was_deleted_is_made_anew_and_the_history_goes_on() {
    let mut bed = Testbed::start().await;
    let mut manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").threads(2).idle());
    bed.states.until("w1", "they wait", |snapshot| snapshot.summary.waiting == 2).await;
    let following = bed.start_util_worker("history", &["history", "--follow", "-o", "jsonl"]);
    following.log().line_with(&["worker_started"]).await;
    let log = EventLog::make(&bed.bus).await;
    log.until_kind(EventKind::WorkerStarted, 1).await;

    log.delete().await;
    bed.bus.pause("w1", 0).await.unwrap();
    manager.process().log().line_with(&["stream DAMOCLES_EVENTS was deleted"]).await;
    bed.bus.stream("DAMOCLES_EVENTS").await;
    let log = EventLog::make(&bed.bus).await;
    log.until_kind(EventKind::Command(Verb::Pause), 1).await;
    following.log().line_with(&["\"pause\""]).await;
    bed.bus.pause("w1", 1).await.unwrap();
    log.until_kind(EventKind::Command(Verb::Pause), 2).await;
}

#[tokio::test]
async fn buckets_that_were_deleted_are_made_anew_by_a_manager_that_stays_connected() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it reports", |_| true).await;
    let jetstream = jetstream::new(bed.bus.client.clone());
    for bucket in [bed.bus.prefix.state_bucket(), bed.bus.prefix.lease_bucket()] {
        jetstream.delete_key_value(&bucket).await.unwrap();
        let stored = bed.bus.stream(&format!("KV_{bucket}")).await;
        assert!(stored.config.max_messages_per_subject == 1, "{bucket}");
    }
    let seen = |workers: &[shared_msgs::api::WorkerView]| {
        workers.iter().any(|worker| worker.name == "w1" && !worker.lost)
    };
    bed.bus.listed("the worker", seen).await;
    // It is read from the bucket that was made anew.
    let second = bed.start_mock_manager("second");
    second.answers(&bed.bus).await;
    bed.bus.listed("the worker", seen).await;
}

#[tokio::test]
async fn a_history_that_jetstream_does_not_store_is_said_by_the_worker_and_by_list() {
    let mut bed = Testbed::start().await;
    let jetstream = jetstream::new(bed.bus.client.clone());
    let full = Config {
        name: bed.bus.prefix.events_stream(),
        subjects: vec![bed.bus.prefix.events_of_all()],
        max_messages: 1,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    jetstream.create_stream(full.clone()).await.unwrap();
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").idle().nats("store_patience", "'1s'"));
    bed.states.until("w1", "it reports", |_| true).await;
    bed.bus.pause("w1", 0).await.unwrap();
    worker
        .log()
        .line_with(&["WARN", "the history stands still", "maximum messages exceeded"])
        .await;
    let still = bed
        .states
        .until("w1", "it says so", |snapshot| snapshot.history_stands_still.is_some())
        .await;
    let standstill = still.history_stands_still.unwrap();
    assert!(
        standstill.elapsed_ms >= 1_000 && standstill.why.contains("maximum messages exceeded"),
        "{standstill:?}"
    );
    bed.bus
        .listed("it stands still", |workers| workers[0].report.history_stands_still.is_some())
        .await;
    let list = bed.util_worker(&["list"]).await.expect(0);
    assert!(
        list.stderr.contains("note: the history of w1 stands still since ")
            && list.stderr.contains("maximum messages"),
        "{}",
        list.stderr
    );
    let json = bed.util_worker(&["list", "-o", "json"]).await.expect(0).json();
    assert!(json[0]["history_stands_still"]["elapsed_ms"].as_u64() >= Some(1_000), "{json}");

    jetstream.update_stream(Config { max_messages: -1, ..full }).await.unwrap();
    worker.log().line_with(&["INFO", "the history goes on"]).await;
    EventLog::make(&bed.bus).await.until_kind(EventKind::Command(Verb::Pause), 1).await;
    bed.states.until("w1", "it is over", |snapshot| snapshot.history_stands_still.is_none()).await;
    bed.bus.listed("it is over", |workers| workers[0].report.history_stands_still.is_none()).await;
    assert_eq!(bed.util_worker(&["list"]).await.expect(0).stderr, "");
}

#[tokio::test]
async fn states_that_jetstream_does_not_store_are_said_by_the_manager_and_by_list() {
    let mut bed = Testbed::start().await;
    let config = bed.scratch.path().join("manager.toml");
    std::fs::write(&config, "[nats]\nstore_patience = '2s'\n").unwrap();
    let mut manager = bed.mock_manager_with(&["-c", config.to_str().unwrap()]).await;
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it reports", |_| true).await;
    let jetstream = jetstream::new(bed.bus.client.clone());
    let bucket = format!("KV_{}", bed.bus.prefix.state_bucket());
    let whole = bed.bus.stream(&bucket).await.config;
    jetstream.update_stream(Config { max_message_size: 1, ..whole.clone() }).await.unwrap();
    manager.process().log().line_with(&["WARN", "JetStream does not store the states", "w1"]).await;
    bed.bus.listed("nothing is stored", |workers| workers[0].unstored_ms.is_some()).await;
    let list = bed.util_worker(&["list"]).await.expect(0);
    assert!(
        list.stderr.contains(
            "note: the history of w1 stands still: JetStream has stored none of its reports"
        ),
        "{}",
        list.stderr
    );

    jetstream.update_stream(whole).await.unwrap();
    manager
        .process()
        .log()
        .line_with(&["INFO", "JetStream stores the workers' states again"])
        .await;
    bed.bus.listed("it is stored again", |workers| workers[0].unstored_ms.is_none()).await;
    assert_eq!(bed.util_worker(&["list"]).await.expect(0).stderr, "");
}
