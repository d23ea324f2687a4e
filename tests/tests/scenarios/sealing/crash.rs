//! A worker killed with SIGKILL at any moment goes on from what it committed last.
//!
//! States last milliseconds, so the worker kills itself at failpoints.

use e2e::{
    sector_manager_requests::SectorManagerRequests,
    state_watch::{is_in_c2, is_paused, is_stuck},
    testbed::{Testbed, sector},
    worker::WorkerConfig,
};
use shared_msgs::{
    plan::{Plan, State},
    sector_manager::ReportAborted,
    snapshot::PausedBy,
};

/// What a sealing thread commits on a sector's way, the end of the way included.
fn committed_states() -> Vec<State> {
    let without = [State::SyntheticPoRepNeeded, State::Aborted];
    let states: Vec<_> = Plan::Sealer
        .rows()
        .iter()
        .map(|row| row.state)
        .filter(|state| !without.contains(state))
        .collect();
    assert_eq!(states.len(), 17);
    states
}

// Kills the worker at the same moment of every state's commit; each time the next run finishes the
// sector in hand, which is the newest one.
async fn dies_at_every_state(moment: &str) {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.prepare_worker("worker", &WorkerConfig::new("w1").fixture_c2(&[]));
    for state in committed_states() {
        worker.start_to_die_at(&format!("{moment}-commit:{state}"));
        worker.died_at_failpoint().await;
        // Hears what the next run reports, and nothing of this one.
        bed.requests = SectorManagerRequests::start(&bed.bus).await;
        let newest = bed.allocated().await;
        worker.start();
        let done_with = state == State::Empty && moment == "after";
        bed.requests.until_finalized(sector(if done_with { newest + 1 } else { newest })).await;
        // Before its first report a worker that is stopped has nothing to say.
        let pid = worker.pid();
        bed.states.until("w1", "this run reports", |snapshot| snapshot.pid == pid).await;
        assert!(worker.terminate().await.success(), "after {moment}-commit:{state}");
    }
    assert_eq!(bed.lost_sectors("w1", &mut worker).await, Vec::<u64>::new());
}

#[tokio::test]
async fn killed_before_the_commit_of_any_state_the_worker_finishes_the_same_sector() {
    dies_at_every_state("before").await;
}

#[tokio::test]
async fn killed_after_the_commit_of_any_state_the_worker_finishes_the_same_sector() {
    dies_at_every_state("after").await;
}

#[tokio::test]
async fn an_abort_that_was_answered_is_carried_out_by_the_next_run() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.prepare_worker("worker", &WorkerConfig::new("w1"));
    worker.start_to_die_at("before-commit:Empty");
    bed.states.until_stuck("w1").await;
    bed.bus.resume("w1", 0, Some("Aborted")).await.unwrap();
    worker.died_at_failpoint().await;

    worker.start();
    let next = |thread: &_| is_stuck(thread) && thread.sector_id.as_deref() == Some("s-t010000-2");
    bed.states.until_thread("w1", 0, "the next sector", next).await;
    assert_eq!(worker.files_of(0, "s-t010000-1"), Vec::<std::path::PathBuf>::new());
    bed.requests
        .until::<ReportAborted>("of the first sector", |request| request.sector == sector(1))
        .await;
}

#[tokio::test]
async fn a_stage_that_kills_the_worker_three_times_pauses_its_thread() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let gate = bed.gate("c2");
    let mut worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    for _ in 0..3 {
        let pid = worker.pid();
        bed.states
            .until("w1", "this run is in C2", |snapshot| {
                snapshot.pid == pid && is_in_c2(&snapshot.threads[0])
            })
            .await;
        worker.kill9().await;
        worker.start();
    }
    let thread = bed
        .states
        .until_thread("w1", 0, "paused by an error", |thread| is_paused(thread, PausedBy::Error))
        .await;
    assert_eq!(
        (thread.state.as_str(), thread.sector_id.as_deref()),
        ("C1Done", Some("s-t010000-1"))
    );
    assert_eq!(thread.last_err.as_deref(), Some("critical: the worker died 3 times in C2"));
}
