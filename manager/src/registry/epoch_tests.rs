use proptest::prelude::*;

use super::{
    tests::{PING, id, ms, name, newest, registry, shown, snapshot},
    *,
};

fn of_epoch(instance: u8, epoch: u64, seq: u64) -> WorkerSnapshot {
    WorkerSnapshot { epoch: Some(epoch), ..snapshot(instance, seq) }
}

fn hear(registry: &mut Registry, snapshot: &WorkerSnapshot, now: u64) -> Heard {
    registry.hear(&name("w"), snapshot, ms(now), Duration::ZERO)
}

fn lease(instance: u8) -> Lease {
    Lease { worker_id: Id::NIL, instance_id: id(instance), epoch: None, host: "h".into(), pid: 1 }
}

#[test]
fn the_higher_epoch_wins_however_late_it_is_heard_of() {
    let mut registry = registry();
    hear(&mut registry, &of_epoch(1, 5, 90), 1_000);
    let stored = registry.load(&name("w"), &of_epoch(2, 6, 1), ms(1_010), ms(500));
    assert_eq!((stored, newest(&registry)), (Heard::Newest, (id(2), 1)));
    assert_eq!(shown(&registry, 1_010).last_ping_ms, 500);
}

#[test]
fn a_lower_epoch_is_stale_even_from_an_instance_never_seen_and_flagged_when_it_talks_on() {
    let mut registry = registry();
    hear(&mut registry, &of_epoch(2, 6, 1), 0);
    assert_eq!(hear(&mut registry, &of_epoch(1, 5, 90), 10), Heard::Stale);
    assert!(!shown(&registry, 10).duplicate, "one message may be an old one");
    assert_eq!(hear(&mut registry, &of_epoch(1, 5, 90), 20), Heard::Stale);
    assert_eq!(hear(&mut registry, &of_epoch(1, 5, 91), 30), Heard::SecondWorker);
    assert!(shown(&registry, 30).duplicate);
    assert_eq!(
        hear(&mut registry, &of_epoch(1, 5, 92), 100 * PING),
        Heard::SecondWorker,
        "silence does not make an old epoch newer"
    );
    assert_eq!(newest(&registry), (id(2), 1));
}

#[test]
fn an_instance_that_gets_the_name_back_is_the_newest_again() {
    let mut registry = registry();
    hear(&mut registry, &of_epoch(1, 5, 90), 0);
    hear(&mut registry, &of_epoch(2, 6, 1), 10);
    assert_eq!(hear(&mut registry, &of_epoch(1, 7, 90), 20), Heard::Stale, "no new message");
    assert_eq!(hear(&mut registry, &of_epoch(1, 7, 91), 30), Heard::Newest);
    assert_eq!(newest(&registry), (id(1), 91));
    assert!(!shown(&registry, 30).duplicate);
}

#[test]
fn epochs_that_begin_anew_are_believed_to_whoever_holds_the_lease() {
    let mut registry = registry();
    hear(&mut registry, &of_epoch(1, 500, 1), 0);
    let holds = |registry: &mut Registry, instance| {
        registry.claim(Claim::Holder(name("w")), lease(instance))
    };
    holds(&mut registry, 2);
    assert_eq!(
        hear(&mut registry, &of_epoch(2, 3, 1), 10),
        Heard::Stale,
        "the other one may only not have heard of it"
    );
    let later = 11 + 3 * PING;
    holds(&mut registry, 3);
    assert_eq!(hear(&mut registry, &of_epoch(2, 3, 2), later), Heard::SecondWorker);
    holds(&mut registry, 2);
    assert_eq!(hear(&mut registry, &of_epoch(2, 3, 3), later), Heard::Newest);
    assert!(!shown(&registry, later).duplicate);
}

#[test]
fn without_an_epoch_on_one_side_the_order_of_hearing_decides() {
    let mut registry = registry();
    hear(&mut registry, &of_epoch(1, 5, 9), 0);
    assert_eq!(hear(&mut registry, &snapshot(2, 1), 10), Heard::Newest);
    assert_eq!(hear(&mut registry, &of_epoch(1, 5, 10), 20), Heard::SecondWorker);
    assert_eq!(hear(&mut registry, &of_epoch(3, 1, 1), 30), Heard::Newest);
}

proptest! {
    // Whoever acquires the lease gets the next epoch; what is published then is heard in any order,
    // late or twice.
    #[test]
    fn it_never_goes_back_to_an_earlier_epoch_or_number(
        published in prop::collection::vec((1u8..=3, any::<bool>()), 1..40),
        heard in prop::collection::vec((0usize..40, 0u64..5 * PING, 0u64..PING), 1..80),
    ) {
        let (mut epoch, mut epochs, mut seqs, mut messages) = (0u64, [0u64; 4], [0u64; 4], Vec::new());
        let mut holder = 0;
        for (instance, acquires) in published {
            let index = instance as usize;
            if (acquires && holder != instance) || epochs[index] == 0 {
                epoch += 1;
                (epochs[index], holder) = (epoch, instance);
            }
            seqs[index] += 1;
            messages.push(of_epoch(instance, epochs[index], seqs[index]));
        }
        let (mut registry, mut now, mut shown) = (registry(), 10 * PING, None::<(u64, Id, u64)>);
        for (position, pause, age) in heard {
            now += pause;
            let message = &messages[position % messages.len()];
            let outcome = registry.hear(&name("w"), message, ms(now), ms(age));
            let (instance, seq) = newest(&registry);
            let epoch = registry.workers[&name("w")].report.epoch.unwrap();
            if let Some((before, instance_before, seq_before)) = shown {
                prop_assert!(epoch >= before);
                prop_assert!(instance != instance_before || seq >= seq_before);
                prop_assert!(epoch > before || instance == instance_before);
                // A higher epoch is left out only in a message older than one of the same instance.
                prop_assert!(message.epoch <= Some(epoch) || outcome == Heard::Stale);
            }
            shown = Some((epoch, instance, seq));
        }
    }
}
