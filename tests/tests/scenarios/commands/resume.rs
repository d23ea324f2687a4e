//! `resume` goes on from where the sector can; anything else is refused and changes nothing.

use e2e::{
    bus::refused,
    state_watch::{is_in_c2, is_stuck},
    testbed::{Testbed, sector},
    worker::{Worker, WorkerConfig},
};
use shared_msgs::{
    command::Outcome,
    error::ErrorKind,
    plan::Plan,
    sector_manager::{AssignTicket, ReportAborted},
    snapshot::ThreadSnapshot,
};

async fn stuck_worker(bed: &mut Testbed) -> (Worker, ThreadSnapshot) {
    let worker = bed.worker(&WorkerConfig::new("w1"));
    let thread = bed.states.until_stuck("w1").await.threads[0].clone();
    assert_eq!(thread.sector_id.as_deref(), Some("s-t010000-1"));
    (worker, thread)
}

async fn assert_unchanged(bed: &Testbed, before: &ThreadSnapshot) {
    let now = bed.bus.list("w1").await.threads[0].clone();
    let facts = |thread: &ThreadSnapshot| {
        (thread.state.clone(), thread.sector_id.clone(), thread.revision, thread.last_err.clone())
    };
    assert_eq!(facts(&now), facts(before));
}

#[tokio::test]
async fn a_state_that_the_plan_does_not_know_is_refused_with_those_that_it_knows() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (worker, before) = stuck_worker(&mut bed).await;
    let states: Vec<_> =
        Plan::Sealer.rows().iter().map(|row| row.state.name().to_owned()).collect();

    for wrong in ["C1Dnoe", "SnapEncoded", ""] {
        let cli = worker.cli(&["resume", "--state", wrong, "--index", "0"]).await.expect(5);
        assert!(states.iter().all(|state| cli.stderr.contains(state)), "{}", cli.stderr);
        assert_eq!(cli.stdout, "");
        let expected = ErrorKind::InvalidState {
            given: wrong.into(),
            plan: "sealer".into(),
            allowed: states.clone(),
        };
        assert_eq!(refused(bed.bus.resume("w1", 0, Some(wrong)).await), expected);
    }
    for args in [&["C1Dnoe"][..], &["--to", "c1done"], &["--state", "C1Dnoe"]] {
        let args = [&["resume", "w1", "0"], args].concat();
        let output = bed.util_worker(&args).await.expect(5);
        assert!(output.stderr.contains("hint: did you mean C1Done?"), "{}", output.stderr);
    }
    assert_unchanged(&bed, &before).await;
}

#[tokio::test]
async fn a_state_whose_inputs_the_sector_lacks_is_refused_with_what_is_missing() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (worker, before) = stuck_worker(&mut bed).await;

    for ahead in ["C2Done", "ProofSubmitted", "Finished"] {
        let ErrorKind::StateUnreachable { state, missing } =
            refused(bed.bus.resume("w1", 0, Some(ahead)).await)
        else {
            panic!("{ahead}")
        };
        assert_eq!(state, ahead);
        assert!(missing.contains(&"proof".to_owned()), "{missing:?}");
    }
    let cli = worker.cli(&["resume", "--state", "Finished", "--index", "0"]).await.expect(5);
    assert!(cli.stderr.contains("proof"), "{}", cli.stderr);
    assert_unchanged(&bed, &before).await;
}

#[tokio::test]
async fn a_thread_that_is_not_paused_is_not_resumed() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let gate = bed.gate("c2");
    let worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate));
    let before = bed.states.until_thread("w1", 0, "in C2", is_in_c2).await;

    worker.cli(&["resume", "--index", "0"]).await.expect(5);
    bed.util_worker(&["resume", "w1", "0", "TreeDBuilt"]).await.expect(5);
    assert_eq!(
        refused(bed.bus.resume("w1", 0, None).await),
        ErrorKind::NotPaused { status: "running".into() }
    );
    assert_unchanged(&bed, &before).await;
}

#[tokio::test]
async fn a_sector_goes_back_to_an_earlier_state_and_comes_as_far_again() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (worker, before) = stuck_worker(&mut bed).await;
    bed.requests
        .until::<AssignTicket>("of the first way", |request| request.sector == sector(1))
        .await;

    worker.cli(&["resume", "--state", "TreeDBuilt", "--index", "0"]).await.expect(0);
    bed.requests
        .until::<AssignTicket>("of the second way", |request| request.sector == sector(1))
        .await;
    let again = |thread: &ThreadSnapshot| is_stuck(thread) && thread.revision > before.revision;
    let thread = bed.states.until_thread("w1", 0, "stuck again", again).await;
    assert_eq!((thread.sector_id, thread.last_err), (before.sector_id, before.last_err));
}

#[tokio::test]
async fn a_finished_sector_may_have_gone_back_before() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (mut worker, before) = stuck_worker(&mut bed).await;
    bed.bus.resume("w1", 0, Some("Allocated")).await.unwrap();
    let again = |thread: &ThreadSnapshot| is_stuck(thread) && thread.revision > before.revision;
    bed.states.until_thread("w1", 0, "stuck again", again).await;
    assert!(worker.terminate().await.success());
    worker.configure(&WorkerConfig::new("w1").fixture_c2(&[]));
    worker.start();
    bed.requests.until_finalized(sector(1)).await;
    assert!(worker.persisted().contains(&1));
}

#[tokio::test]
async fn aborted_and_empty_give_the_sector_up_and_the_thread_takes_the_next_one() {
    for (state, tool) in [("Aborted", "worker"), ("Empty", "manager")] {
        let mut bed = Testbed::start().await;
        let _manager = bed.mock_manager().await;
        let (worker, _) = stuck_worker(&mut bed).await;
        assert!(!worker.files_of(0, "s-t010000-1").is_empty());

        match tool {
            "worker" => {
                worker.cli(&["resume", "--state", state, "--index", "0", "-f"]).await.expect(0)
            }
            _ => bed.util_worker(&["resume", "w1", "0", "--to", state, "-f"]).await.expect(0),
        };
        bed.requests
            .until::<ReportAborted>("of the first sector", |request| request.sector == sector(1))
            .await;
        let next = |thread: &ThreadSnapshot| {
            is_stuck(thread) && thread.sector_id.as_deref() == Some("s-t010000-2")
        };
        bed.states.until_thread("w1", 0, "the next sector", next).await;
        assert_eq!(worker.files_of(0, "s-t010000-1"), Vec::<std::path::PathBuf>::new(), "{state}");
    }
}

#[tokio::test]
async fn a_stage_that_failed_in_its_processor_is_tried_again() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let count = bed.scratch.path().join("failures").display().to_string();
    let fails_once = ["--fail", "no GPU", "--fail-times", "1", "--count-file", &count];
    let worker =
        bed.worker(&WorkerConfig::new("w1").fixture_c2(&fails_once).sealing("max_retries", "0"));
    let thread = bed.states.until_stuck("w1").await.threads[0].clone();
    let error = thread.last_err.unwrap();
    assert!(error.starts_with("permanent: ") && error.contains("no GPU"), "{error}");
    worker.cli(&["resume", "--index", "0"]).await.expect(0);
    bed.requests.until_finalized(sector(1)).await;
}

#[tokio::test]
async fn an_abort_is_answered_with_where_the_thread_goes() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (_worker, before) = stuck_worker(&mut bed).await;
    let reply = bed.bus.resume("w1", 0, Some("Empty")).await.unwrap();
    assert_eq!(reply.outcome, Outcome::Resumed { from: "C1Done".into(), to: "Aborted".into() });
    assert_eq!(reply.sector_id, before.sector_id);
    assert!(reply.revision > before.revision);
}
