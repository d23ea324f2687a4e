//! The second worker of a name seals on and keeps quiet.

use std::time::Duration;

use e2e::{
    leases,
    state_watch::is_stuck,
    testbed::{Testbed, sector},
    worker::WorkerConfig,
};
use shared_msgs::sector_manager::SubmitPersisted;

#[tokio::test]
async fn the_second_worker_of_a_name_seals_and_is_not_seen_until_the_first_is_gone() {
    let mut bed = Testbed::start().await;
    leases::make(&bed.bus, Duration::from_secs(2)).await;
    let _manager = bed.mock_manager().await;
    let mut first = bed.prepare_worker("first", &WorkerConfig::new("twin"));
    first.start();
    let shown = bed.states.until_stuck("twin").await;
    let (first_pid, host) = (first.pid(), shown.host);

    let mut second = bed.prepare_worker("second", &WorkerConfig::new("twin"));
    second.start();
    second.log().line_with(&[&first_pid.to_string(), &host]).await;
    // It seals: the first one has sector 1 in hand.
    bed.requests
        .until::<SubmitPersisted>("of the second worker", |request| request.sector == sector(2))
        .await;
    assert!(second.persisted().contains(&2));

    // It neither publishes nor answers.
    let later = |snapshot: &shared_msgs::snapshot::WorkerSnapshot| snapshot.seq > shown.seq + 1;
    bed.states.until("twin", "two more reports", later).await;
    assert!(
        bed.states.seen().iter().all(|(_, snapshot)| snapshot.instance_id == shown.instance_id)
    );
    for _ in 0..5 {
        assert_eq!(bed.bus.list("twin").await.pid, first_pid);
    }

    // Whoever sits beside the second one does not command the first one without a word.
    let thread = &bed.bus.list("twin").await.threads[0];
    for command in [&["cordon"][..], &["pause", "--index", "0", "--now"]] {
        let refused = second.cli(command).await.expect(5);
        assert!(
            refused.stderr.contains("another one than this configuration's"),
            "{}",
            refused.stderr
        );
        assert!(refused.stderr.contains(&first_pid.to_string()), "{}", refused.stderr);
    }
    assert_eq!(bed.bus.list("twin").await.threads[0].revision, thread.revision);
    first.cli(&["cordon"]).await.expect(0);

    first.kill9().await;
    let second_pid = second.pid();
    let taken_over = bed
        .states
        .until("twin", "the second worker is seen", |snapshot| snapshot.pid == second_pid)
        .await;
    assert!(
        taken_over
            .threads
            .iter()
            .all(|thread| is_stuck(thread) && thread.sector_id.as_deref() == Some("s-t010000-2"))
    );
    assert_eq!(bed.bus.list("twin").await.pid, second_pid);
}
