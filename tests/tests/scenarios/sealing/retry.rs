//! A temporary failure is tried again, and everybody can see that and why.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use e2e::{
    fake_sector_manager::{refusal, result},
    state_watch::{is_paused, waits_for},
    testbed::Testbed,
    worker::WorkerConfig,
};
use serde_json::{Value, json};
use shared_msgs::snapshot::PausedBy;

// Allocates one sector without deals; has no ticket while `broken`, and nothing to say after that.
fn answers(broken: Arc<AtomicBool>) -> impl FnMut(&str, Value) -> Value + Send + 'static {
    move |method, _| match method {
        "allocate_sector" => result(json!({"id": {"miner": 10000, "number": 1}, "proof_type": 5})),
        "acquire_deals" => result(Value::Null),
        "assign_ticket" if !broken.load(Ordering::SeqCst) => {
            result(json!({"ticket": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "epoch": 1}))
        }
        "report_state" => result(json!({"id": {"miner": 10000, "number": 1}})),
        _ => refusal("the chain is not reachable"),
    }
}

#[tokio::test]
async fn a_thread_that_waits_for_a_retry_says_which_and_why_and_a_resume_does_not_wait() {
    let mut bed = Testbed::start().await;
    let broken = Arc::new(AtomicBool::new(true));
    let _manager = bed.fake_sector_manager(answers(broken.clone())).await;
    let worker = bed.worker(
        &WorkerConfig::new("w1").sealing("max_retries", "3").sealing("recover_interval", "'1h'"),
    );

    let thread =
        bed.states.until_thread("w1", 0, "it waits for a retry", waits_for("retry 1 of 3")).await;
    assert_eq!((thread.state.as_str(), thread.retry), ("TreeDBuilt", 1));
    let error = thread.last_err.unwrap();
    assert!(
        error.starts_with("temporary: ") && error.contains("the chain is not reachable"),
        "{error}"
    );

    // A pause takes effect at once, and what it interrupts is not waited for again.
    worker.cli(&["pause", "--index", "0"]).await.expect(0);
    assert!(is_paused(&bed.bus.list("w1").await.threads[0], PausedBy::Operator));
    broken.store(false, Ordering::SeqCst);
    worker.cli(&["resume", "--index", "0"]).await.expect(0);
    bed.states.until_thread("w1", 0, "it has a ticket", |thread| thread.state == "PC2Done").await;
}

#[tokio::test]
async fn retries_that_are_used_up_pause_the_thread() {
    let mut bed = Testbed::start().await;
    let _manager = bed.fake_sector_manager(answers(Arc::new(AtomicBool::new(true)))).await;
    let _worker = bed.worker(&WorkerConfig::new("w1").sealing("max_retries", "2"));
    let thread = bed
        .states
        .until_thread("w1", 0, "paused", |thread| is_paused(thread, PausedBy::Error))
        .await;
    assert_eq!(thread.state, "TreeDBuilt");
    assert!(thread.last_err.unwrap().starts_with("permanent: "));
}
