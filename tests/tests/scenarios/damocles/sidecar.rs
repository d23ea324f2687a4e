//! A sidecar lets our tools work on others' damocles-workers, and keeps operators from its traps.

use std::time::Duration;

use e2e::{
    bus::{Bus, refused},
    event_log::{EventLog, assert_exactly_once, of_kind, of_request},
    leases,
    played_damocles::{Harm, PlayedDamocles, Release},
    process::Process,
    state_watch::is_paused,
    testbed::Testbed,
};
use shared_msgs::{
    command::{CommandRequest, Outcome, Verb},
    error::ErrorKind,
    event::EventKind,
    id::Id,
    plan::{Plan, State},
    selector::Selector,
    snapshot::{PausedBy, ThreadSnapshot, ThreadStatus, WorkerSnapshot},
};

const ERROR: &str = "permanent: no parameters";

fn sidecar(bed: &Testbed, name: &str, log: &str, damocles: &PlayedDamocles) -> Process {
    let state = bed.scratch.path().join(log).display().to_string();
    let args = ["sidecar", "--rpc", &damocles.url(), "--name", name, "--state", &state];
    bed.start_worker_cli(&format!("sidecar-{log}"), &args)
}

// A sidecar that speaks for a worker with that many threads.
async fn started(threads: usize) -> (Testbed, PlayedDamocles, Process) {
    let bed = Testbed::start().await;
    let damocles = PlayedDamocles::start(threads).await;
    let process = sidecar(&bed, "w1", "one", &damocles);
    bed.bus.served(&bed.bus.command("w1", "list")).await;
    (bed, damocles, process)
}

fn stands_in(state: State) -> impl Fn(&ThreadSnapshot) -> bool {
    move |thread| thread.state == state.name()
}

fn is_pending(thread: &ThreadSnapshot) -> bool {
    matches!(thread.status, ThreadStatus::PausePending { .. })
}

fn held(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::PausePending { why: Some(why), .. } if why.contains("held back"))
}

async fn resume_in(bus: &Bus, state: &str) -> Result<Outcome, ErrorKind> {
    let request = CommandRequest { state: Some(state.into()), ..CommandRequest::to(0) };
    match bus.order("w1", Verb::Resume, &request).await {
        Ok(reply) => Ok(reply.outcome),
        refusal => Err(refused(refusal)),
    }
}

#[tokio::test]
async fn our_tools_work_on_a_damocles_worker_that_nobody_has_touched() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let damocles = PlayedDamocles::start(3).await;
    damocles.stands_in(0, 2, State::C1Done);
    damocles.runs(0);
    damocles.stands_in(1, 3, State::C1Done);
    damocles.fails(1, "permanent: no parameters\nfor \u{1b}[31mC2");
    let mut process = sidecar(&bed, "w1", "one", &damocles);
    bed.states.until("w1", "it reports", |snapshot| snapshot.threads.len() == 3).await;
    bed.bus.listed("it is listed", |workers| workers.len() == 1).await;

    let list = bed.util_worker(&["list", "-o", "json"]).await.expect(0).json();
    let summary = &list[0]["summary"];
    assert_eq!((&list[0]["name"], &summary["threads"]), (&"w1".into(), &3.into()), "{list}");
    assert!(list[0]["version"].as_str().unwrap().starts_with("v0.13.1-played (sidecar"), "{list}");
    for (count, expected) in [("empty", 1), ("paused", 1), ("running", 1), ("errors", 1)] {
        assert_eq!(summary[count], expected, "{count} of {summary}");
    }
    let info = bed.util_worker(&["info", "w1", "-o", "wide"]).await.expect(0);
    assert!(
        info.stdout.contains("s-t010000-2") && info.stdout.contains("ext(pid: 4711)"),
        "{}",
        info.stdout
    );
    assert!(!info.stdout.contains('\u{1b}'), "{}", info.stdout);

    bed.util_worker(&["pause", "w1", "0"]).await.expect(0);
    assert!(is_pending(&bed.bus.list("w1").await.threads[0]));
    let resumed = bed.util_worker(&["resume", "w1", "1"]).await.expect(0);
    assert!(resumed.stdout.contains("C1Done"), "{}", resumed.stdout);
    assert!(!damocles.is_paused(1));
    assert_eq!(damocles.called("WorkerPause"), 0);
    let history = bed.util_worker(&["history", "w1"]).await.expect(0);
    assert!(history.stdout.contains("pause: pending"), "{}", history.stdout);
    assert!(process.terminate().await.success());
    bed.bus.unserved(&bed.bus.command("w1", "list")).await;
    assert_eq!(damocles.harm(), Harm::default());
}

#[tokio::test]
async fn a_pause_in_pc2_is_held_until_nothing_can_be_lost() {
    let (mut bed, damocles, _process) = started(1).await;
    let events = EventLog::make(&bed.bus).await;
    damocles.stands_in(0, 2, State::Pc1Done);
    damocles.runs(0);
    bed.states.until_thread("w1", 0, "PC2 runs", stands_in(State::Pc1Done)).await;
    let reply = bed.bus.pause("w1", 0).await.unwrap();
    assert!(held(&reply.outcome), "{reply:?}");
    bed.states.until_thread("w1", 0, "it is pending", is_pending).await;

    // Between the end of the stage and the next one it passes places that are no waits.
    damocles.ends_its_stage(0);
    bed.states.until_thread("w1", 0, "PC2 is done", stands_in(State::Pc2Done)).await;
    damocles.ends_its_stage(0);
    let paused = |thread: &ThreadSnapshot| is_paused(thread, PausedBy::Operator);
    let thread = bed.states.until_thread("w1", 0, "it is paused", paused).await;
    assert_eq!(thread.state, "PCSubmitted");
    assert_eq!(damocles.called("WorkerPause"), 1);
    assert_eq!(damocles.harm(), Harm::default());
    let stored = events.until_kind(EventKind::Paused, 1).await;
    assert_exactly_once(&stored);
    assert!(of_kind(&stored, EventKind::Transition).len() >= 2);

    let resumed = bed.bus.resume("w1", 0, None).await.unwrap().outcome;
    assert_eq!(resumed, Outcome::Resumed { from: "PCSubmitted".into(), to: "PCSubmitted".into() });
    assert_eq!(damocles.calls().last().unwrap().1, serde_json::json!([0, null]));
}

#[tokio::test]
async fn a_held_pause_is_taken_back_and_one_that_was_sent_is_not() {
    let (mut bed, damocles, _process) = started(2).await;
    for (thread, number) in [(0, 2), (1, 3)] {
        damocles.stands_in(thread, number, State::C1Done);
        damocles.runs(thread);
    }
    bed.states.until_thread("w1", 1, "C2 runs", stands_in(State::C1Done)).await;
    bed.bus.pause("w1", 0).await.unwrap();
    assert_eq!(bed.bus.resume("w1", 0, None).await.unwrap().outcome, Outcome::PauseWithdrawn);
    assert!(damocles.calls().is_empty());

    // It is between two jobs, where the pause is taken at the end of the wait only.
    damocles.is_between_jobs(1);
    let empty = |thread: &ThreadSnapshot| thread.sector_id.is_none();
    bed.states.until_thread("w1", 1, "it has no job", empty).await;
    bed.bus.pause("w1", 1).await.unwrap();
    bed.states.until_thread("w1", 1, "it is pending", is_pending).await;
    while damocles.called("WorkerPause") == 0 {
        bed.bus.list("w1").await;
    }
    let refusal = refused(bed.bus.resume("w1", 1, None).await);
    assert!(matches!(refusal, ErrorKind::NotSupported { .. }), "{refusal:?}");
    assert_eq!(damocles.called("WorkerResume"), 0);
    damocles.asks_for_a_job(1);
    let paused = |thread: &ThreadSnapshot| is_paused(thread, PausedBy::Operator);
    bed.states.until_thread("w1", 1, "it is paused", paused).await;
    assert_eq!(damocles.harm(), Harm::default());
}

#[tokio::test]
async fn what_the_socket_cannot_do_is_refused_and_nothing_is_sent() {
    let (mut bed, damocles, _process) = started(1).await;
    damocles.stands_in(0, 2, State::SeedAssigned);
    damocles.runs(0);
    bed.states.until_thread("w1", 0, "it runs", stands_in(State::SeedAssigned)).await;
    let now = CommandRequest { now: true, ..CommandRequest::to(0) };
    let refusal = refused(bed.bus.order("w1", Verb::Pause, &now).await);
    assert!(matches!(refusal, ErrorKind::NotSupported { .. }), "{refusal:?}");
    damocles.fails(0, ERROR);
    bed.states.until_thread("w1", 0, "it fails", |thread| thread.last_err.is_some()).await;
    for state in ["Finished", "C2Done", "ProofSubmitted", "SyntheticPoRepNeeded", "PC1Done"] {
        let refusal = resume_in(&bed.bus, state).await.unwrap_err();
        assert!(matches!(refusal, ErrorKind::NotSupported { .. }), "{state}: {refusal:?}");
    }
    for state in ["SnapEncoded", "seedassigned", "NoSuchState", ""] {
        let refusal = resume_in(&bed.bus, state).await.unwrap_err();
        assert!(matches!(refusal, ErrorKind::InvalidState { .. }), "{state}: {refusal:?}");
    }
    let paused = bed.bus.pause("w1", 0).await.unwrap().outcome;
    assert_eq!(paused, Outcome::AlreadyPaused);
    let stale = CommandRequest { if_revision: Some(1), ..CommandRequest::to(0) };
    let refusal = refused(bed.bus.order("w1", Verb::Resume, &stale).await);
    assert!(matches!(refusal, ErrorKind::RevisionMismatch { .. }), "{refusal:?}");
    assert_eq!(damocles.calls(), []);

    let tool = bed.util_worker(&["pause", "w1", "0", "--now"]).await.expect(0);
    assert!(tool.stdout.contains("already paused") && damocles.calls().is_empty(), "{tool:?}");
    assert_eq!(
        resume_in(&bed.bus, "Empty").await.unwrap(),
        Outcome::Resumed { from: "SeedAssigned".into(), to: "Aborted".into() }
    );
    let harm = Harm { aborted: vec!["s-t010000-2".into()], ..Harm::default() };
    assert_eq!(damocles.harm(), harm);
}

#[tokio::test]
async fn a_pause_that_an_error_overtook_does_not_undo_the_next_resume() {
    let (mut bed, damocles, _process) = started(1).await;
    damocles.stands_in(0, 2, State::PersistanceSubmitted);
    bed.states.until_thread("w1", 0, "it waits", stands_in(State::PersistanceSubmitted)).await;
    // The list says that it waits; before the pause comes it has failed.
    damocles.fails_before_the_next_pause(0, ERROR);
    bed.bus.pause("w1", 0).await.unwrap();
    bed.states
        .until_thread("w1", 0, "it has failed", |thread| is_paused(thread, PausedBy::Error))
        .await;
    let resumed = resume_in(&bed.bus, "TreeDBuilt").await.unwrap();
    assert_eq!(
        resumed,
        Outcome::Resumed { from: "PersistanceSubmitted".into(), to: "TreeDBuilt".into() }
    );
    assert_eq!((damocles.state(0).as_str(), damocles.is_paused(0)), ("TreeDBuilt", false));
    let resumes: Vec<_> =
        damocles.calls().into_iter().filter(|(name, _)| name == "WorkerResume").collect();
    assert_eq!(resumes.len(), 2, "the same twice: {resumes:?}");
    assert_eq!(resumes[0], resumes[1]);
}

#[tokio::test]
async fn a_pause_of_somebody_else_that_undoes_a_resume_is_said() {
    let (mut bed, damocles, _process) = started(1).await;
    damocles.stands_in(0, 2, State::C1Done);
    damocles.fails(0, ERROR);
    assert!(damocles.somebody_pauses(0));
    bed.states.until_thread("w1", 0, "it has failed", |thread| thread.last_err.is_some()).await;
    let refusal = resume_in(&bed.bus, "TreeDBuilt").await.unwrap_err();
    let ErrorKind::OutcomeUnknown { detail } = refusal else { panic!("{refusal:?}") };
    assert!(detail.contains("paused again at once"), "{detail}");
    assert_eq!((damocles.called("WorkerResume"), damocles.state(0).as_str()), (1, "C1Done"));
}

#[tokio::test]
async fn a_resume_that_came_in_the_wrong_instant_is_sent_once_more() {
    let (mut bed, damocles, _process) = started(1).await;
    damocles.stands_in(0, 2, State::C1Done);
    damocles.fails(0, ERROR);
    bed.states.until_thread("w1", 0, "it has failed", |thread| thread.last_err.is_some()).await;
    damocles.misses_resumes(1);
    bed.bus.resume("w1", 0, None).await.unwrap();
    assert_eq!(damocles.called("WorkerResume"), 2);
    assert!(!damocles.is_paused(0));
    let running = |thread: &ThreadSnapshot| matches!(thread.status, ThreadStatus::Running { .. });
    bed.states.until_thread("w1", 0, "it runs", running).await;
    let refusal = refused(bed.bus.resume("w1", 0, None).await);
    assert_eq!(refusal, ErrorKind::NotPaused { status: "running".into() });
}

#[tokio::test]
async fn threads_are_commanded_by_their_place_and_many_at_once() {
    let mut bed = Testbed::start().await;
    let damocles = PlayedDamocles::start(3).await;
    damocles.skip_the_second_index();
    for (thread, number) in [(0, 2), (1, 3), (2, 4)] {
        damocles.stands_in(thread, number, State::C1Done);
        damocles.fails(thread, ERROR);
    }
    let _process = sidecar(&bed, "w1", "one", &damocles);
    let all_failed = |snapshot: &WorkerSnapshot| {
        snapshot.summary.errors == 3 && snapshot.threads[2].location == "/srv/store3"
    };
    let snapshot = bed.states.until("w1", "all have failed", all_failed).await;
    assert_eq!(snapshot.threads[2].index, 2);
    bed.bus.resume("w1", 2, None).await.unwrap();
    assert_eq!(damocles.calls(), [("WorkerResume".into(), serde_json::json!([2, null]))]);

    let selector = Selector { status: vec!["paused".into()], ..Selector::default() };
    let request =
        CommandRequest { request_id: Some(Id::generate()), ..CommandRequest::to_all(selector) };
    for _ in 0..2 {
        let reply: shared_msgs::command::BulkReply =
            bed.bus.ask("w1", "resume", &request).await.unwrap();
        let outcomes: Vec<_> = reply.threads.iter().map(|thread| thread.outcome.clone()).collect();
        let resumed = Some(Outcome::Resumed { from: "C1Done".into(), to: "C1Done".into() });
        assert_eq!(outcomes, [resumed.clone(), resumed]);
    }
    assert_eq!(damocles.called("WorkerResume"), 3, "a repeat does nothing");
}

#[tokio::test]
async fn a_cordon_pauses_between_two_jobs_and_is_shown_as_what_it_is() {
    let (mut bed, damocles, _process) = started(1).await;
    damocles.stands_in(0, 2, State::PersistanceSubmitted);
    bed.states.until_thread("w1", 0, "it waits", stands_in(State::PersistanceSubmitted)).await;
    let order = async |bus: &Bus, verb| {
        bus.order("w1", verb, &CommandRequest::to(0)).await.unwrap().outcome
    };
    assert_eq!(order(&bed.bus, Verb::Cordon).await, Outcome::Cordoned);
    assert_eq!(order(&bed.bus, Verb::Cordon).await, Outcome::AlreadyCordoned);
    damocles.ends_its_stage(0);
    let moved = stands_in(State::SeedAssigned);
    bed.states.until_thread("w1", 0, "it goes on", |t| t.cordoned && moved(t)).await;
    damocles.is_between_jobs(0);
    while damocles.called("WorkerPause") == 0 {
        bed.bus.list("w1").await;
    }
    damocles.asks_for_a_job(0);
    let paused = |thread: &ThreadSnapshot| {
        thread.cordoned && thread.sector_id.is_none() && is_paused(thread, PausedBy::Operator)
    };
    bed.states.until_thread("w1", 0, "it is paused", paused).await;
    let refusal = refused(bed.bus.resume("w1", 0, None).await);
    assert!(matches!(refusal, ErrorKind::NotSupported { .. }), "{refusal:?}");
    assert_eq!(order(&bed.bus, Verb::Uncordon).await, Outcome::Uncordoned);
    bed.states.until_thread("w1", 0, "it goes on", |thread| !thread.status.is_paused()).await;
    assert!(!damocles.is_paused(0));
    assert_eq!(damocles.harm(), Harm::default());
}

#[tokio::test]
async fn a_sidecar_that_was_killed_holds_on_to_a_pause_and_to_its_answers() {
    let (mut bed, damocles, mut process) = started(2).await;
    damocles.stands_in(0, 2, State::C1Done);
    damocles.runs(0);
    damocles.stands_in(1, 3, State::C1Done);
    damocles.fails(1, ERROR);
    bed.states.until_thread("w1", 1, "it has failed", |thread| thread.last_err.is_some()).await;
    let request =
        |index| CommandRequest { request_id: Some(Id::generate()), ..CommandRequest::to(index) };
    let (pause, resume) = (request(0), request(1));
    let paused = bed.bus.order("w1", Verb::Pause, &pause).await.unwrap();
    let resumed = bed.bus.order("w1", Verb::Resume, &resume).await.unwrap();
    let before = bed.bus.list("w1").await;
    process.kill9().await;
    let mut process = sidecar(&bed, "w1", "one", &damocles);
    let anew = |snapshot: &WorkerSnapshot| snapshot.instance_id != before.instance_id;
    let after = bed.states.until("w1", "another instance", anew).await;
    assert_eq!(after.threads[0].revision, before.threads[0].revision);
    assert!(is_pending(&after.threads[0]), "{after:?}");
    bed.bus.served(&bed.bus.command("w1", "list")).await;
    assert_eq!(bed.bus.order("w1", Verb::Pause, &pause).await.unwrap(), paused);
    assert_eq!(bed.bus.order("w1", Verb::Resume, &resume).await.unwrap(), resumed);
    let refusal = refused(bed.bus.order("w1", Verb::Resume, &pause).await);
    assert!(matches!(refusal, ErrorKind::RequestIdReused { .. }), "{refusal:?}");
    assert_eq!(damocles.called("WorkerResume"), 1);

    damocles.stands_in(0, 2, State::ProofSubmitted);
    let is_paused = |thread: &ThreadSnapshot| is_paused(thread, PausedBy::Operator);
    bed.states.until_thread("w1", 0, "what was held is sent", is_paused).await;
    assert!(process.terminate().await.success());
}

#[tokio::test]
async fn a_resume_whose_sidecar_was_killed_after_it_was_sent_is_not_sent_again() {
    let (mut bed, damocles, mut process) = started(1).await;
    damocles.stands_in(0, 2, State::C1Done);
    damocles.fails(0, ERROR);
    bed.states.until_thread("w1", 0, "it has failed", |thread| thread.last_err.is_some()).await;
    let resume = CommandRequest {
        request_id: Some(Id::generate()),
        state: Some("TreeDBuilt".into()),
        ..CommandRequest::to(0)
    };
    damocles.answers_nothing_after_the_next_resume();
    let bus = bed.bus.clone();
    let request = resume.clone();
    let asking = tokio::spawn(async move { bus.order("w1", Verb::Resume, &request).await });
    while damocles.called("WorkerResume") == 0 {
        tokio::task::yield_now().await;
    }
    process.kill9().await;
    asking.abort();
    damocles.is_stuck(false);
    let _process = sidecar(&bed, "w1", "one", &damocles);
    bed.bus.served(&bed.bus.command("w1", "list")).await;
    let reply = bed.bus.order("w1", Verb::Resume, &resume).await.unwrap();
    assert_eq!(reply.outcome, Outcome::Resumed { from: "C1Done".into(), to: "TreeDBuilt".into() });
    assert_eq!(damocles.called("WorkerResume"), 1);
}

#[tokio::test]
async fn a_worker_that_is_down_is_unreachable_since_when_and_comes_back_as_another_instance() {
    let (mut bed, mut damocles, _process) = started(1).await;
    let _manager = bed.mock_manager().await;
    damocles.stands_in(0, 2, State::C1Done);
    damocles.runs(0);
    bed.states.until_thread("w1", 0, "C2 runs", stands_in(State::C1Done)).await;
    bed.bus.pause("w1", 0).await.unwrap();
    let before = bed.bus.list("w1").await;
    damocles.stop();
    let unreachable =
        |thread: &ThreadSnapshot| matches!(thread.status, ThreadStatus::Unreachable { .. });
    let thread = bed.states.until_thread("w1", 0, "it is unreachable", unreachable).await;
    assert_eq!(
        (thread.state.as_str(), thread.sector_id.as_deref()),
        ("C1Done", Some("s-t010000-2"))
    );
    let refusal = refused(bed.bus.resume("w1", 0, None).await);
    assert!(matches!(refusal, ErrorKind::ThreadUnusable { .. }), "{refusal:?}");
    bed.bus
        .listed("it is unreachable", |workers| {
            workers.iter().any(|worker| worker.report.unreachable.is_some())
        })
        .await;
    let info = bed.util_worker(&["info", "w1", "-o", "wide"]).await.expect(0);
    assert!(info.stdout.contains("unreachable"), "{}", info.stdout);
    assert!(info.stderr.contains("does not answer its sidecar"), "{}", info.stderr);
    let list = bed.util_worker(&["list"]).await;
    assert!(list.stderr.contains("does not answer its sidecar"), "{}", list.stderr);

    damocles.start_again().await;
    let anew = |snapshot: &WorkerSnapshot| snapshot.instance_id != before.instance_id;
    let after = bed.states.until("w1", "another instance", anew).await;
    assert!(is_pending(&after.threads[0]), "what was held stays: {after:?}");
    assert!(after.epoch > before.epoch);
}

#[tokio::test]
async fn of_two_sidecars_of_one_name_one_speaks_and_sends() {
    let mut bed = Testbed::start().await;
    leases::make(&bed.bus, Duration::from_secs(2)).await;
    let damocles = PlayedDamocles::start(1).await;
    damocles.stands_in(0, 2, State::C1Done);
    damocles.runs(0);
    let mut first = sidecar(&bed, "w1", "one", &damocles);
    let shown = bed.states.until("w1", "it reports", |_| true).await;
    let second = sidecar(&bed, "w1", "two", &damocles);
    second.log().line_with(&["another worker of this name is running"]).await;
    bed.bus.pause("w1", 0).await.unwrap();
    assert_eq!(bed.bus.list("w1").await.instance_id, shown.instance_id);

    first.kill9().await;
    let other = |snapshot: &WorkerSnapshot| snapshot.instance_id != shown.instance_id;
    bed.states.until("w1", "the second is seen", other).await;
    // A second one with the memory of the first would not start beside it.
    let mut again = sidecar(&bed, "w1", "two", &damocles);
    assert!(!again.wait().await.success());
    again.log().line_with(&["another sidecar of this name is running on this machine"]).await;
}

#[tokio::test]
async fn of_many_in_one_process_one_that_is_stuck_holds_up_nobody() {
    let mut bed = Testbed::start().await;
    let (stuck, lively) = (PlayedDamocles::start(1).await, PlayedDamocles::start(2).await);
    let file = bed.scratch.path().join("sidecars.toml");
    let text = format!(
        "state = '{}'\n[[sidecar]]\nrpc = '{}'\nname = 'stuck'\n[[sidecar]]\nrpc = '{}'\nname = 'lively'\n",
        bed.scratch.path().join("state").display(),
        stuck.url(),
        lively.url(),
    );
    std::fs::write(&file, text).unwrap();
    let mut process = bed.start_worker_cli("sidecars", &["sidecar", "-c", file.to_str().unwrap()]);
    bed.states.until("stuck", "it reports", |_| true).await;
    bed.states.until("lively", "it reports", |_| true).await;
    stuck.is_stuck(true);
    let unreachable =
        |thread: &ThreadSnapshot| matches!(thread.status, ThreadStatus::Unreachable { .. });
    bed.states.until_thread("stuck", 0, "it is stuck", unreachable).await;
    lively.stands_in(1, 7, State::PcSubmitted);
    bed.states.until_thread("lively", 1, "it is seen", stands_in(State::PcSubmitted)).await;
    let paused = |thread: &ThreadSnapshot| is_paused(thread, PausedBy::Operator);
    bed.bus.pause("lively", 1).await.unwrap();
    bed.states.until_thread("lively", 1, "it is paused", paused).await;
    stuck.is_stuck(false);
    bed.states.until_thread("stuck", 0, "it answers", |thread| !unreachable(thread)).await;
    assert!(process.terminate().await.success());
}

#[tokio::test]
async fn older_releases_are_understood_by_the_keys_that_are_there() {
    let mut bed = Testbed::start().await;
    let damocles = PlayedDamocles::start(1).await;
    damocles.is_of(Release::V0_2);
    damocles.stands_in(0, 2, State::C1Done);
    damocles.fails(0, ERROR);
    let _process = sidecar(&bed, "w1", "one", &damocles);
    let failed = |thread: &ThreadSnapshot| is_paused(thread, PausedBy::Error);
    let thread = bed.states.until_thread("w1", 0, "it is paused", failed).await;
    assert_eq!((thread.sector_id.as_deref(), thread.plan.as_str()), (Some("s-t010000-2"), ""));
    let refusal = resume_in(&bed.bus, "TreeDBuilt").await.unwrap_err();
    assert!(matches!(refusal, ErrorKind::NotSupported { .. }), "{refusal:?}");

    damocles.is_of(Release::V0_8);
    let thread = bed
        .states
        .until_thread("w1", 0, "it says its plan", |thread| !thread.plan.is_empty())
        .await;
    assert_eq!(thread.plan, Plan::Sealer.name());
    let resumed = resume_in(&bed.bus, "TreeDBuilt").await.unwrap();
    assert_eq!(resumed, Outcome::Resumed { from: "C1Done".into(), to: "TreeDBuilt".into() });
    let running = |thread: &ThreadSnapshot| matches!(thread.status, ThreadStatus::Running { .. });
    bed.states.until_thread("w1", 0, "it runs", running).await;
    damocles.stands_in(0, 2, State::PersistanceSubmitted);
    bed.states.until_thread("w1", 0, "it waits", stands_in(State::PersistanceSubmitted)).await;
    bed.bus.pause("w1", 0).await.unwrap();
    let paused = |thread: &ThreadSnapshot| is_paused(thread, PausedBy::Operator);
    bed.states.until_thread("w1", 0, "it is paused", paused).await;
}

#[tokio::test]
async fn what_happened_is_in_the_history_exactly_once() {
    let (mut bed, damocles, _process) = started(1).await;
    let events = EventLog::make(&bed.bus).await;
    damocles.stands_in(0, 2, State::C1Done);
    damocles.fails(0, ERROR);
    bed.states.until_thread("w1", 0, "it has failed", |thread| thread.last_err.is_some()).await;
    let id = Id::generate();
    let request = CommandRequest {
        request_id: Some(id),
        by: Some("alice@h".into()),
        ..CommandRequest::to(0)
    };
    bed.bus.order("w1", Verb::Resume, &request).await.unwrap();
    let stored = events.until_kind(EventKind::Command(Verb::Resume), 1).await;
    assert_exactly_once(&stored);
    assert_eq!(of_kind(&stored, EventKind::Failure)[0].error.as_deref(), Some(ERROR));
    assert_eq!(of_request(&stored, id)[0].by.as_deref(), Some("alice@h"));
}
