//! A dry run of some threads says what would be, and never that it is.

use e2e::{state_watch::waits_for, testbed::Testbed, worker::WorkerConfig};

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_does_nothing() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until_thread("w1", 0, "it waits", waits_for("sector")).await;
    let threads = async || bed.bus.list("w1").await.threads;
    let would = async |verb: &str, expected: &str| {
        let before = threads().await[0].revision;
        let line = format!("#0: {expected}\n");
        let of_manager = bed.util_worker(&[verb, "w1", "0", "--dry-run"]).await.expect(0);
        let of_worker = worker.cli(&[verb, "--index", "0", "--dry-run"]).await.expect(0);
        assert_eq!([of_manager.stdout, of_worker.stdout], [line.clone(), line]);
        let json = bed.util_worker(&[verb, "w1", "0", "--dry-run", "-o", "json"]).await.expect(0);
        assert_eq!(json.json()["dry_run"], true);
        assert_eq!(threads().await[0].revision, before);
    };
    would("pause", "would be paused").await;
    would("cordon", "would be cordoned").await;
    would("uncordon", "is not cordoned").await;
    would("drain", "would be cordoned").await;
    worker.cli(&["pause", "--index", "0"]).await.expect(0);
    would("resume", "would resume in Empty").await;
    would("pause", "is paused already").await;
    bed.util_worker(&["pause", "w1", "0", "--dry-run", "--wait"]).await.expect(2);
    bed.util_worker(&["drain", "w1", "--dry-run", "--wait"]).await.expect(2);
}
