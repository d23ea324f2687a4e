use proptest::prelude::*;
use shared_msgs::{
    id::Id,
    snapshot::{WorkerSnapshot, WorkerStatus, is_expired},
    subject::Prefix,
};

use super::*;

pub(super) const PING: u64 = 1_000;

pub(super) fn id(instance: u8) -> Id {
    format!("00000000-0000-0000-0000-0000000000{instance:02x}").parse().unwrap()
}

pub(super) fn snapshot(instance: u8, seq: u64) -> WorkerSnapshot {
    let json = serde_json::json!({"instance_id": id(instance), "seq": seq, "ping_interval_ms": PING, "dest": "evil", "name": "evil"});
    serde_json::from_value(json).unwrap()
}

pub(super) fn name(text: &str) -> WorkerName {
    text.parse().unwrap()
}

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn registry() -> Registry {
    Registry::new(Prefix::default(), ms(60_000))
}

// What is shown of the only worker.
pub(super) fn shown(registry: &Registry, now: u64) -> WorkerView {
    registry.list(None, ms(now)).next().unwrap()
}

fn hear(registry: &mut Registry, instance: u8, seq: u64, now: u64) -> Heard {
    registry.hear(&name("w"), &snapshot(instance, seq), ms(now), Duration::ZERO)
}

// The newest instance and its snapshot's number.
pub(super) fn newest(registry: &Registry) -> (Id, u64) {
    let worker = &registry.workers[&name("w")];
    (worker.report.instance_id, worker.seq)
}

#[test]
fn a_worker_whose_reports_are_not_stored_for_a_minute_is_shown_so() {
    let mut registry = registry();
    let publish = |registry: &mut Registry, seq, now| {
        if hear(registry, 1, seq, now) == Heard::Newest {
            registry.published(&name("w"), ms(now));
        }
    };
    publish(&mut registry, 1, 0);
    assert_eq!(shown(&registry, 90_000).unstored_ms, None, "there may be no JetStream");
    registry.storing_expected(Some(ms(10_000)));
    publish(&mut registry, 2, 50_000);
    assert_eq!(shown(&registry, 69_999).unstored_ms, None);
    assert_eq!(shown(&registry, 70_000).unstored_ms, Some(60_000), "since the connection was made");
    assert_eq!(registry.unstored(ms(75_000)).collect::<Vec<_>>(), [(&name("w"), ms(65_000))]);
    registry.stored(&name("w"));
    assert_eq!(
        (shown(&registry, 200_000).unstored_ms, registry.unstored(ms(200_000)).count()),
        (None, 0)
    );
    // It is stored before it is heard live.
    hear(&mut registry, 1, 3, 200_000);
    registry.stored(&name("w"));
    publish(&mut registry, 3, 200_001);
    assert_eq!(shown(&registry, 300_000).unstored_ms, None);
    publish(&mut registry, 4, 300_000);
    registry.storing_expected(None);
    assert_eq!(shown(&registry, 400_000).unstored_ms, None);
}

#[test]
fn within_an_instance_the_higher_seq_wins() {
    let mut registry = registry();
    assert_eq!(hear(&mut registry, 1, 5, 0), Heard::Newest);
    assert_eq!(hear(&mut registry, 1, 4, 10), Heard::Stale);
    assert_eq!(hear(&mut registry, 1, 5, 20), Heard::Stale);
    assert_eq!(shown(&registry, 100).last_ping_ms, 100);
    assert_eq!(hear(&mut registry, 1, 6, 100), Heard::Newest);
    assert_eq!(shown(&registry, 100).last_ping_ms, 0);
}

#[test]
fn an_instance_never_seen_before_supersedes_whatever_its_seq() {
    let mut registry = registry();
    hear(&mut registry, 1, 500, 0);
    assert_eq!(hear(&mut registry, 2, 1, 10), Heard::Newest);
    assert_eq!(newest(&registry), (id(2), 1));
    assert!(!shown(&registry, 10).duplicate);
}

#[test]
fn a_superseded_instance_that_talks_on_is_ignored_and_flagged_until_it_is_silent() {
    let mut registry = registry();
    hear(&mut registry, 1, 5, 0);
    hear(&mut registry, 2, 1, 10);
    assert_eq!(hear(&mut registry, 1, 5, 20), Heard::Stale);
    assert!(!shown(&registry, 20).duplicate, "an old message says nothing new");
    assert_eq!(hear(&mut registry, 1, 6, 1_000), Heard::SecondWorker);
    assert_eq!(hear(&mut registry, 1, 7, 1_100), Heard::Stale, "said once");
    assert_eq!(newest(&registry), (id(2), 1));
    assert!(shown(&registry, 1_100 + 3 * PING).duplicate);
    assert!(!shown(&registry, 1_101 + 3 * PING).duplicate);
}

#[test]
fn a_superseded_instance_is_taken_back_when_the_newest_one_has_gone() {
    let mut registry = registry();
    hear(&mut registry, 1, 5, 0);
    hear(&mut registry, 2, 1, 10);
    hear(&mut registry, 1, 6, 20);
    assert_eq!(hear(&mut registry, 1, 7, 11 + 3 * PING), Heard::Newest);
    assert_eq!(newest(&registry), (id(1), 7));
    assert!(!shown(&registry, 11 + 3 * PING).duplicate);

    let stopped = WorkerSnapshot { status: WorkerStatus::Stopped, ..snapshot(1, 8) };
    registry.hear(&name("w"), &stopped, ms(4_000), Duration::ZERO);
    assert_eq!(hear(&mut registry, 2, 2, 4_001), Heard::Newest, "a stopped one is gone at once");
}

#[test]
fn a_stored_snapshot_does_not_supersede_what_was_heard_after_it() {
    let mut registry = registry();
    hear(&mut registry, 2, 1, 1_000);
    let stored = |registry: &mut Registry, instance, seq, age| {
        registry.hear(&name("w"), &snapshot(instance, seq), ms(1_010), ms(age))
    };
    assert_eq!(stored(&mut registry, 1, 9, 500), Heard::Stale);
    assert_eq!(newest(&registry), (id(2), 1));
    assert_eq!(stored(&mut registry, 3, 1, 5), Heard::Newest, "what was stored later does");
    assert_eq!(
        stored(&mut registry, 2, 2, 8),
        Heard::Stale,
        "an instance's last words before it was superseded are no sign of life"
    );
    assert!(!shown(&registry, 1_010).duplicate);
}

#[test]
fn a_load_gives_a_known_snapshot_its_true_age() {
    let mut registry = registry();
    hear(&mut registry, 1, 5, 1_000);
    registry.load(&name("w"), &snapshot(1, 4), ms(1_000), ms(900));
    assert_eq!(
        shown(&registry, 1_000).last_ping_ms,
        0,
        "an older snapshot says nothing of this one"
    );
    registry.load(&name("w"), &snapshot(1, 5), ms(1_000), ms(700));
    assert_eq!(shown(&registry, 1_000).last_ping_ms, 700);
}

#[test]
fn ages_reach_back_before_the_manager_started() {
    let mut registry = registry();
    registry.hear(&name("w"), &snapshot(1, 1), ms(10), ms(3_600_000));
    assert_eq!(shown(&registry, 20).last_ping_ms, 3_600_010);
    assert!(is_expired(ms(3_001), PING) && !is_expired(ms(3_000), PING));
    assert!(!is_expired(Duration::MAX, u64::MAX));
}

#[test]
fn identity_and_dest_come_from_the_subject_and_texts_are_cut() {
    let mut registry = registry();
    let long = WorkerSnapshot {
        host: "h".repeat(100_000),
        version: "v".repeat(100_000),
        ..snapshot(1, 1)
    };
    registry.hear(&name("127.0.0.1"), &long, ms(0), ms(0));
    let view = shown(&registry, 0);
    assert_eq!(
        (view.name.as_str(), view.report.dest.as_str()),
        ("127.0.0.1", "damocles.v1.cmd.127=2E0=2E0=2E1")
    );
    assert!(view.report.host.len() <= 256 && view.report.version.len() <= 256);
}

#[test]
fn a_flood_of_names_is_bounded_and_leaves_the_known_ones_alone() {
    let mut registry = registry();
    for worker in 0..MAX_WORKERS {
        registry.hear(&name(&worker.to_string()), &snapshot(1, 1), ms(0), ms(0));
    }
    assert_eq!(registry.hear(&name("one more"), &snapshot(1, 1), ms(0), ms(0)), Heard::Full);
    assert_eq!(registry.hear(&name("7"), &snapshot(1, 2), ms(0), ms(0)), Heard::Newest);
}

#[test]
fn a_load_drops_what_is_neither_stored_nor_heard_since() {
    let mut registry = registry();
    for (worker, heard) in [("stored", 0), ("gone", 0), ("live", 50)] {
        registry.hear(&name(worker), &snapshot(1, 1), ms(heard), ms(0));
    }
    registry.keep(&BTreeSet::from([name("stored")]), ms(40));
    let names: Vec<_> = registry.list(None, ms(60)).map(|view| view.name).collect();
    assert_eq!(names, ["live", "stored"]);
    registry.remove(&name("live"));
    assert_eq!(registry.len(), 1);
    assert_eq!(registry.hear(&name("live"), &snapshot(1, 2), ms(70), ms(0)), Heard::Newest);
}

#[test]
fn the_list_is_sorted_and_goes_on_after_a_name_that_may_be_gone() {
    let mut registry = registry();
    for worker in ["c", "a", "d"] {
        registry.hear(&name(worker), &snapshot(1, 1), ms(0), ms(0));
    }
    let names = |after: &str| {
        registry.list(Some(&name(after)), ms(0)).map(|view| view.name).collect::<Vec<_>>()
    };
    assert_eq!(names("a"), ["c", "d"]);
    assert_eq!(names("b"), ["c", "d"]);
    assert_eq!(names("d"), Vec::<String>::new());
}

// A message: which of three instances, its number, milliseconds since the one before.
fn messages() -> impl Strategy<Value = Vec<(u8, u64, u64)>> {
    prop::collection::vec((1u8..=3, 0u64..12, 0u64..2 * PING), 1..60)
}

proptest! {
    #[test]
    fn it_never_goes_back(messages in messages()) {
        let mut registry = registry();
        // The shadow: the newest instance, the highest number of each, and when the newest one was
        // last heard.
        let (mut current, mut highest, mut last, mut now) = (0u8, [None::<u64>; 4], 0, 0);
        for (instance, seq, pause) in messages {
            now += pause;
            let seen = highest[instance as usize];
            let news = seen.is_none_or(|highest| seq > highest);
            let expired = now - last > 3 * PING;
            let expected = news && (instance == current || seen.is_none() || expired);
            prop_assert_eq!(hear(&mut registry, instance, seq, now) == Heard::Newest, expected);
            if news {
                highest[instance as usize] = Some(seq);
            }
            if expected {
                (current, last) = (instance, now);
            }
            prop_assert_eq!(newest(&registry), (id(current), highest[current as usize].unwrap()));
            prop_assert_eq!(shown(&registry, now).last_ping_ms, now - last);
        }
    }

    #[test]
    fn the_order_within_an_instance_does_not_matter(seqs in prop::collection::vec(0u64..100, 1..20)) {
        let mut registry = registry();
        for seq in &seqs {
            hear(&mut registry, 1, *seq, 0);
        }
        prop_assert_eq!(newest(&registry).1, *seqs.iter().max().unwrap());
        prop_assert_eq!(registry.len(), 1);
    }

    #[test]
    fn a_load_on_top_of_live_messages_ends_as_live_messages_alone(seqs in prop::collection::vec(1u64..50, 1..20), stored in 0u64..50, at in 0usize..20) {
        // The stored snapshot is one of those that were published: its number is not above the
        // highest heard.
        let highest = *seqs.iter().max().unwrap();
        let mut registry = registry();
        for (position, seq) in seqs.iter().enumerate() {
            if position == at {
                registry.hear(&name("w"), &snapshot(1, stored.min(highest)), ms(100), ms(60));
            }
            hear(&mut registry, 1, *seq, 100);
        }
        prop_assert_eq!(newest(&registry), (id(1), highest));
    }
}
