//! The history is read from the stream of events, which has each of them once.

use e2e::{testbed::Testbed, worker::WorkerConfig};
use serde_json::{Value, json};
use shared_msgs::{
    command::{Outcome, Verb},
    event::{Event, EventId, EventKind},
    id::Id,
};

// Far from the server's clock, which is what --since goes by.
const AT: u64 = 1_600_000_000_000;

fn event(kind: EventKind, n: u64) -> Event {
    Event { id: EventId { store: Id::NIL, n }, ..Event::new(kind, AT + n) }
}

fn step(index: u32, sector: &str, n: u64) -> Event {
    let (from, to) = (Some("C1Done".into()), Some("TreeDBuilt".into()));
    Event {
        index: Some(index),
        sector_id: Some(sector.into()),
        from,
        to,
        ..event(EventKind::Transition, n)
    }
}

// Each line without its time, blanks squeezed.
fn happened(stdout: &str) -> Vec<String> {
    stdout
        .lines()
        .map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "))
        .collect()
}

#[tokio::test]
async fn events_are_listed_in_order_and_chosen_by_worker_thread_and_sector() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (by, reason) = (Some("alice@h".into()), Some("disk swap".into()));
    let pause = Event {
        index: Some(1),
        outcome: Some(Outcome::Paused),
        by,
        reason,
        ..event(EventKind::Command(Verb::Pause), 3)
    };
    bed.bus.record("127.0.0.1", &event(EventKind::WorkerStarted, 1)).await;
    bed.bus.record("127.0.0.1", &step(0, "s-t010000-2", 2)).await;
    bed.bus.record("127.0.0.1", &pause).await;
    bed.bus.record("w2", &step(0, "s-t010000-3", 4)).await;

    let all = bed.util_worker(&["history"]).await.expect(0);
    assert_eq!(
        happened(&all.stdout),
        [
            "127.0.0.1 - - worker started",
            "127.0.0.1 #0 s-t010000-2 C1Done -> TreeDBuilt",
            "127.0.0.1 #1 - pause: paused, by alice@h: disk swap",
            "w2 #0 s-t010000-3 C1Done -> TreeDBuilt",
        ]
    );
    assert!(all.stdout.starts_with("2020-09-13T12:26:40.001Z  127.0.0.1"), "{}", all.stdout);
    assert_eq!(all.stderr, "");

    let count = async |args: &[&str]| {
        bed.util_worker(&[&["history"], args].concat()).await.expect(0).stdout.lines().count()
    };
    assert_eq!(count(&["127.0.0.1"]).await, 3);
    assert_eq!(count(&["damocles.v1.cmd.w2"]).await, 1);
    assert_eq!(count(&["127.0.0.1", "1"]).await, 1);
    assert_eq!(count(&["--sector", "s-t010000-3"]).await, 1);
    assert_eq!(count(&["--since", "1h"]).await, 4);
    assert_eq!(count(&["--since", "0s"]).await, 0);
    assert_eq!(count(&["--since", "yesterday"]).await, 4);
    assert_eq!(count(&["--since", "2020-09-13 12:26"]).await, 4);
    assert_eq!(count(&["--since", "9999-12-31T00:00:00+08:00"]).await, 0);

    let lines = bed.util_worker(&["history", "w2", "-o", "jsonl"]).await.expect(0).json();
    assert_eq!(
        (&lines["worker"], &lines["seq"], &lines["id"]["n"]),
        (&"w2".into(), &4.into(), &4.into())
    );
    let array = bed.util_worker(&["history", "-o", "json"]).await.expect(0).json();
    assert_eq!(array.as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn a_history_without_events_ends_at_once_and_says_so() {
    let bed = Testbed::start().await;
    let no_stream = bed.util_worker(&["history"]).await.expect(1);
    assert!(
        no_stream.stderr.contains("DAMOCLES_EVENTS") && no_stream.stderr.contains("hint: "),
        "{}",
        no_stream.stderr
    );

    let _manager = bed.mock_manager().await;
    bed.bus.record("w1", &step(0, "s-t010000-2", 1)).await;
    let none = bed.util_worker(&["history", "--since=0s"]).await.expect(0);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "note: no such event is kept\n"));
    bed.util_worker(&["history", "--follow", "-o", "json"]).await.expect(2);
}

#[tokio::test]
async fn events_that_cannot_be_read_are_counted_and_cost_no_other() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    for body in ["garbage", "{}", "\u{1b}[31m"] {
        bed.bus.record_raw("damocles.v1.event.w1.transition", body.into()).await;
    }
    bed.bus.record("w1", &step(0, "s-t010000-2", 1)).await;
    let history = bed.util_worker(&["history"]).await.expect(0);
    assert_eq!(happened(&history.stdout), ["w1 #0 s-t010000-2 C1Done -> TreeDBuilt"]);
    assert!(
        history.stderr.contains("event 1 on damocles.v1.event.w1.transition cannot be read"),
        "{}",
        history.stderr
    );
    assert!(history.stderr.contains("3 events could not be read"), "{}", history.stderr);
}

#[tokio::test]
async fn following_goes_on_over_an_outage_with_no_gap_and_no_double() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    bed.bus.record("w1", &step(0, "s-t010000-1", 1)).await;
    let mut follow = bed.start_util_worker("follow", &["history", "w1", "--follow", "-o", "jsonl"]);
    // One that has nothing to show yet must not begin with what is too old.
    let mut fresh =
        bed.start_util_worker("fresh", &["history", "--follow", "--since", "0s", "-o", "jsonl"]);
    follow.log().line_with(&["s-t010000-1\""]).await;
    let prefix = &bed.bus.prefix;
    bed.bus.read_by(&prefix.events_stream(), &prefix.events_of_all()).await;
    for number in 2..5 {
        bed.nats.kill9().await;
        bed.nats.restart().await;
        bed.bus.record("w1", &step(0, &format!("s-t010000-{number}"), number)).await;
        bed.bus.record("other", &step(0, "s-t010000-99", number)).await;
        follow.log().line_with(&[&format!("s-t010000-{number}\"")]).await;
    }
    let read = |lines: Vec<String>| -> Vec<u64> {
        let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events
            .filter(|event| event["worker"] == "w1")
            .map(|event| event["id"]["n"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(read(follow.log().lines()), [1, 2, 3, 4]);
    fresh.log().line_with(&["s-t010000-4\""]).await;
    assert_eq!(read(fresh.log().lines()), [2, 3, 4]);
    assert!(follow.interrupt().await.success());
    assert!(fresh.terminate().await.success());
}

#[tokio::test]
async fn a_worker_writes_its_steps_its_failures_and_what_it_was_told_into_its_history() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    // Kept as soon as the stream is there.
    bed.bus.record("other", &event(EventKind::WorkerStarted, 1)).await;
    let follow = bed.start_util_worker("follow", &["history", "w1", "--follow"]);
    let mut worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until_stuck("w1").await;
    bed.util_worker(&["resume", "w1", "0", "TreeDBuilt", "--reason", "parameters are there"])
        .await
        .expect(0);
    follow
        .log()
        .line_with(&[
            "#0  s-t010000-1  resume: C1Done -> TreeDBuilt, by ",
            ": parameters are there",
        ])
        .await;
    assert!(worker.terminate().await.success());
    follow.log().line_with(&["worker stopped"]).await;

    let history = bed.util_worker(&["history", "w1"]).await.expect(0);
    let happened = happened(&history.stdout);
    let position = |what: &str| {
        happened
            .iter()
            .position(|line| line.contains(what))
            .unwrap_or_else(|| panic!("no {what:?} in {happened:#?}"))
    };
    let steps = [
        "worker started",
        "#0 s-t010000-1 PC2Done -> ",
        "-> C1Done",
        "failed in C1Done: permanent: ",
        "resume: ",
        "worker stopped",
    ];
    let positions = steps.map(position);
    assert!(positions.is_sorted() && positions[0] == 0, "{happened:#?}");
}

#[tokio::test]
async fn a_workers_own_tool_shows_its_history_alone() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    bed.bus.record("w1", &step(0, "s-t010000-1", 1)).await;
    bed.bus.record("w1", &step(1, "s-t010000-2", 2)).await;
    bed.bus.record("w2", &step(0, "s-t010000-3", 3)).await;
    let history = async |args: &[&str]| {
        let args = [&["worker", "--name", "w1", "history"], args].concat();
        happened(&bed.worker_cli(&args).await.expect(0).stdout)
    };
    let [first, second] =
        ["w1 #0 s-t010000-1", "w1 #1 s-t010000-2"].map(|of| format!("{of} C1Done -> TreeDBuilt"));
    assert_eq!(history(&[]).await, [first, second.clone()]);
    assert_eq!(history(&["--index", "1"]).await, [second]);
}

#[tokio::test]
async fn what_nobody_knows_is_exit_3_and_what_has_no_event_is_not() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    bed.bus.record("recorded", &step(1, "s-t010000-2", 1)).await;
    let threads = json!([{"index": 0, "sector_id": "s-t010000-7", "state": "C1Done"}]);
    let snapshot = json!({"instance_id": Id::NIL, "seq": 1, "threads": threads});
    bed.bus.report("reported", &serde_json::from_value(snapshot).unwrap()).await;
    bed.bus.listed("the worker", |workers| workers.len() == 1).await;

    for args in [
        &["recorded", "--since", "0s"][..],
        &["recorded", "1", "--since", "0s"],
        &["--sector", "s-t010000-2", "--since", "0s"],
        &["reported"],
        &["reported", "0"],
        &["--sector", "s-t010000-7"],
        &["reported", "--sector", "s-t010000-2"],
    ] {
        let output = bed.util_worker(&[&["history"], args].concat()).await.expect(0);
        assert_eq!(output.stderr, "note: no such event is kept\n", "{args:?}");
    }
    for (args, named) in [
        (&["nosuch"][..], "nosuch"),
        (&["recorded", "77"], "thread 77"),
        (&["reported", "77"], "thread 77"),
        (&["--sector", "s-t010000-99"], "s-t010000-99"),
        (&["reported", "--sector", "s-t010000-99"], "s-t010000-99"),
    ] {
        let output = bed.util_worker(&[&["history"], args].concat()).await.expect(3);
        assert!(output.stdout.is_empty() && output.stderr.contains(named), "{}", output.stderr);
    }
    let none = bed.util_worker(&["history", "nosuch", "-o", "json"]).await.expect(3);
    assert_eq!(none.json(), Value::Array(vec![]));
    let mut follow = bed.start_util_worker("follow", &["history", "nosuch", "--follow"]);
    follow.log().line_with(&["note: no such worker: nosuch", "this waits for the first one"]).await;
    assert!(follow.interrupt().await.success());
    let own = ["worker", "--name", "reported", "history", "--index", "77"];
    bed.worker_cli(&own).await.expect(3);
    for wrong in [["--sector", "banana"], ["--since", "banana"]] {
        let output = bed.util_worker(&[&["history"], &wrong[..]].concat()).await.expect(2);
        assert!(output.stderr.contains("banana"), "{}", output.stderr);
    }
}
