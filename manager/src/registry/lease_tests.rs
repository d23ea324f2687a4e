use super::{
    tests::{id, ms, name, registry, shown, snapshot},
    *,
};

const TTL: u64 = 15_000;

fn lease(instance: u8, host: &str, pid: u32) -> Lease {
    Lease { worker_id: Id::NIL, instance_id: id(instance), epoch: Some(1), host: host.into(), pid }
}

fn holder() -> Claim {
    Claim::Holder(name("w"))
}

fn stands_by(instance: u8) -> Claim {
    Claim::StandingBy(name("w"), id(instance))
}

fn reported(registry: &mut Registry, now: u64) {
    report_as(registry, WorkerStatus::Running, now);
}

fn report_as(registry: &mut Registry, status: WorkerStatus, now: u64) {
    let report = WorkerSnapshot { epoch: Some(1), status, ..snapshot(1, now) };
    assert_eq!(registry.hear(&name("w"), &report, ms(now), ms(0)), Heard::Newest);
}

// A registry that was connected at 0 and holds this worker, with its lease.
fn held() -> Registry {
    let mut registry = registry();
    reported(&mut registry, 1);
    let mut claims = Claims::default();
    claims.insert(holder(), lease(1, "h1", 55), |_| false);
    registry.leases_loaded(claims, ms(0), ms(TTL));
    registry
}

#[test]
fn a_worker_is_lost_as_soon_as_its_lease_has_ended() {
    let mut registry = held();
    reported(&mut registry, 2 * TTL);
    assert!(!shown(&registry, 10 * TTL).lost, "expired, but not lost");
    registry.unclaim(&holder(), ms(2 * TTL + 1));
    assert!(shown(&registry, 2 * TTL + 1).lost);
    registry.claim(holder(), lease(1, "h1", 55));
    assert!(!shown(&registry, 2 * TTL + 2).lost);
}

#[test]
fn a_worker_that_has_stopped_or_never_had_a_lease_is_not_lost() {
    let mut registry = held();
    report_as(&mut registry, WorkerStatus::Stopped, TTL);
    registry.unclaim(&holder(), ms(TTL + 1));
    assert!(!shown(&registry, 10 * TTL).lost);

    registry.hear(&name("x"), &snapshot(7, 1), ms(TTL), ms(0));
    assert!(registry.list(None, ms(100 * TTL)).all(|worker| !worker.lost));
}

#[test]
fn nobody_is_lost_before_a_time_to_live_has_passed_since_the_connection() {
    let mut registry = registry();
    reported(&mut registry, 1);
    assert!(!shown(&registry, 10 * TTL).lost, "no leases are known");
    registry.leases_loaded(Claims::default(), ms(20 * TTL), ms(TTL));
    assert!(!shown(&registry, 21 * TTL - 1).lost);
    assert!(shown(&registry, 21 * TTL).lost);
    registry.leases_unknown();
    assert!(!shown(&registry, 22 * TTL).lost);
}

#[test]
fn a_worker_that_speaks_without_a_lease_has_the_time_to_take_one() {
    let mut registry = held();
    registry.unclaim(&holder(), ms(2 * TTL));
    // Its report may be faster than the news of its new lease.
    reported(&mut registry, 2 * TTL + 1);
    assert!(!shown(&registry, 3 * TTL).lost);
    assert!(shown(&registry, 3 * TTL + 1).lost);
}

#[test]
fn processes_that_stand_by_are_shown_in_bounded_number_and_size() {
    let mut registry = held();
    assert!(!shown(&registry, 1).duplicate);
    registry.claim(stands_by(2), lease(9, &"h".repeat(10_000), 77));
    let view = shown(&registry, 1);
    assert!(view.duplicate && !view.lost);
    assert_eq!((view.standing_by[0].instance_id, view.standing_by[0].pid), (id(2), 77));
    assert!(view.standing_by[0].host.len() <= 256);
    registry.claim(stands_by(2), lease(2, "h2", 78));
    assert_eq!(shown(&registry, 1).standing_by, [lease(2, "h2", 78)]);
    for instance in 3..100 {
        registry.claim(stands_by(instance), lease(instance, "h", 1));
    }
    assert_eq!(shown(&registry, 1).standing_by.len(), 8);
    for instance in 2..100 {
        registry.unclaim(&stands_by(instance), ms(2));
    }
    assert!(!shown(&registry, 2).duplicate && registry.claims.is_held(&name("w")));
}

#[test]
fn the_process_that_is_shown_does_not_stand_by() {
    let mut registry = held();
    registry.claim(stands_by(1), lease(1, "h1", 55));
    assert!(!shown(&registry, 1).duplicate);
}

#[test]
fn a_flood_of_claims_is_bounded_and_leaves_the_reported_ones_alone() {
    let mut registry = held();
    registry.leases_loaded(Claims::default(), ms(0), ms(TTL));
    for worker in 0..MAX_WORKERS + 1 {
        registry.claim(Claim::Holder(name(&worker.to_string())), lease(1, "h", 1));
    }
    assert_eq!(registry.claims.len(), MAX_WORKERS);
    registry.claim(holder(), lease(1, "h1", 55));
    assert!(registry.claims.is_held(&name("w")));
    for worker in 0..MAX_WORKERS {
        registry.unclaim(&Claim::Holder(name(&worker.to_string())), ms(1));
    }
    assert_eq!(registry.claims.len(), 1);
}
