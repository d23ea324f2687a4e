//! The traps of a damocles-worker's socket, a test each: A and C are the parts of the facts that they
//! were found as. A test fails when its rule is taken out.

use std::time::Duration;

use damocles_wire::worker::{ThreadState, WorkerInfo};
use serde_json::{Value, json};
use shared_msgs::{
    command::{CommandRequest, Outcome, Verb},
    error::ErrorKind,
    event::EventKind,
    plan::{Plan, State},
    snapshot::{PausedBy, ThreadStatus},
};

use super::{
    decision::{Act, Followed, decide, followed},
    kept::{InBox, Kept, Resuming},
    mirror::{At, Seen, Shown, happened, restarted},
    release::{Wanted, may_send},
    view::status,
};

const LONG: Duration = Duration::from_secs(60);

fn listed(value: Value) -> Seen {
    Seen::of(&serde_json::from_value::<WorkerInfo>(value).unwrap())
}

fn of_plan(plan: &str, state: &str, does: Value, error: Option<&str>) -> Seen {
    let in_hand = !matches!(state, "" | "Empty");
    listed(json!({
        "location": "/s1", "plan": plan, "job_id": in_hand.then_some("s-t010000-2"), "index": 0,
        "thread_state": does, "job_state": state, "job_stage": "-", "last_error": error,
    }))
}

fn idle(state: &str) -> Seen {
    of_plan("sealer", state, json!({"state": "Idle"}), None)
}

fn running(state: &str, elapsed: u64) -> Seen {
    let does = json!({"state": "Running", "elapsed": elapsed, "proc": "ext(pid: 4711)"});
    of_plan("sealer", state, does, None)
}

fn paused_since(state: &str, elapsed: u64, error: Option<&str>) -> Seen {
    of_plan("sealer", state, json!({"state": "Paused", "elapsed": elapsed}), error)
}

fn failed(state: &str) -> Seen {
    paused_since(state, 17, Some("permanent: x"))
}

fn asked(seen: &Seen, kept: &Kept, verb: Verb, request: CommandRequest) -> Result<Act, ErrorKind> {
    decide(kept, seen, verb, &request, false, "running").map(|decision| decision.act)
}

fn resumed_in(seen: &Seen, state: &str) -> Result<Act, ErrorKind> {
    let request = CommandRequest { state: Some(state.into()), ..CommandRequest::to(0) };
    asked(seen, &Kept::default(), Verb::Resume, request)
}

fn is_not_supported(answer: &Result<Act, ErrorKind>) -> bool {
    matches!(answer, Err(ErrorKind::NotSupported { .. }))
}

fn can_pause(seen: &Seen) -> bool {
    may_send(Wanted::Pause, seen, LONG)
}

fn seen_by(kept: &mut Kept, seen: &Seen) {
    kept.see(seen);
}

#[test]
fn a4_paused_without_an_error_is_an_operators_and_with_one_an_errors() {
    assert_eq!(paused_since("C1Done", 9, None).shown.paused, Some(PausedBy::Operator));
    assert_eq!(failed("C1Done").shown.paused, Some(PausedBy::Error));
}

#[test]
fn a4_idle_with_a_job_is_not_idle() {
    let shown = |seen: Seen| status(&seen, &Kept::default(), Duration::from_secs(3));
    let waiting = ThreadStatus::Waiting { elapsed_ms: 3_000, reason: "unknown".into() };
    assert_eq!(shown(idle("TicketAssigned")), waiting);
    assert_eq!(shown(idle("")), ThreadStatus::Idle);
    assert_eq!(shown(idle("Empty")), ThreadStatus::Idle);
    let strange = of_plan("sealer", "C1Done", json!({"state": "Dreaming"}), None);
    assert_eq!(shown(strange), ThreadStatus::Other);
}

#[test]
fn a4_no_job_has_three_forms_and_is_shown_as_empty() {
    let start = json!({"location": "/s1", "plan": "sealer", "job_id": null, "index": 0, "thread_state": {"state": "Idle"}, "job_state": "", "job_stage": null, "last_error": null});
    assert_eq!(listed(start).at, At::Start);
    assert_eq!(idle("").at, At::BetweenJobs);
    assert_eq!(idle("Empty").at, At::Asking);
    for seen in [idle(""), idle("Empty")] {
        assert_eq!((seen.shown.state.as_str(), seen.shown.job), ("Empty", None));
    }
}

#[test]
fn a4_a_restart_shows_by_a_refused_connection_or_a_stage_that_began_anew() {
    let running_since = |elapsed| vec![running("C1Done", elapsed)];
    assert!(restarted(&running_since(41), &running_since(42), false).is_none());
    assert!(restarted(&running_since(41), &running_since(42), true).is_some());
    assert!(restarted(&running_since(41), &running_since(0), false).is_some());
    let two = [running("C1Done", 42), idle("")];
    assert!(restarted(&running_since(41), &two, false).is_some(), "its threads are others");
    // The clock begins anew with each thing that is waited for, and with each resume.
    let waiting = |elapsed| {
        vec![of_plan("sealer", "C1Done", json!({"state": "Waiting", "elapsed": elapsed}), None)]
    };
    assert!(restarted(&waiting(41), &waiting(0), false).is_none());
    let paused = |elapsed| vec![paused_since("C1Done", elapsed, Some("permanent: x"))];
    assert!(restarted(&paused(41), &paused(0), false).is_none());
    assert!(restarted(&running_since(41), &[running("C2Done", 0)], false).is_none());
}

#[test]
fn a5_a_paused_thread_is_never_sent_a_pause() {
    for seen in [failed("C1Done"), paused_since("PCSubmitted", 3, None), paused_since("", 3, None)]
    {
        assert!(!can_pause(&seen) && !may_send(Wanted::Cordon, &seen, LONG));
        let decision =
            decide(&Kept::default(), &seen, Verb::Pause, &CommandRequest::to(0), true, "").unwrap();
        assert_eq!((decision.act, decision.outcome), (Act::TakeOver, Outcome::AlreadyPaused));
    }
}

#[test]
fn a5_true_is_not_paused_but_pending_until_the_list_says_so() {
    let mut kept = Kept { held: true, ..Kept::default() };
    seen_by(&mut kept, &idle("PCSubmitted"));
    kept.sent();
    seen_by(&mut kept, &idle("PCSubmitted"));
    assert!(kept.is_pause_pending() && kept.wanted().is_none(), "one pause is enough: {kept:?}");
    let decision =
        decide(&kept, &idle("PCSubmitted"), Verb::Pause, &CommandRequest::to(0), true, "");
    assert!(matches!(decision.unwrap().outcome, Outcome::PausePending { .. }));
    seen_by(&mut kept, &paused_since("PCSubmitted", 0, None));
    assert_eq!((kept.in_box, kept.is_pause_pending()), (InBox::Nothing, false));
}

#[test]
fn a5_a_pause_that_an_error_overtook_may_be_left() {
    let mut kept = Kept { held: true, ..Kept::default() };
    seen_by(&mut kept, &idle("PCSubmitted"));
    kept.sent();
    seen_by(&mut kept, &failed("PCSubmitted"));
    assert_eq!(kept.in_box, InBox::PauseMayBeLeft);
    // The sign that it was: paused again, without the error, at once.
    let again = paused_since("PCSubmitted", 0, None);
    assert_eq!(followed(&failed("PCSubmitted"), &again, false), Followed::Undone);
    seen_by(&mut kept, &running("PCSubmitted", 0));
    assert_eq!(kept.in_box, InBox::Nothing, "somebody has resumed it");
}

#[test]
fn a5_what_became_of_a_resume_is_seen_and_not_believed() {
    let before = failed("C1Done");
    let after = |seen: &Seen, last| followed(&before, seen, last);
    assert_eq!(after(&running("TreeDBuilt", 0), false), Followed::WentOn);
    assert_eq!(after(&before, false), Followed::NotYet);
    assert_eq!(after(&before, true), Followed::WentOn, "it was handed over");
    let failed_again = paused_since("C1Done", 0, Some("permanent: x"));
    assert_eq!(after(&failed_again, false), Followed::WentOn);
    let by_operator = paused_since("C1Done", 0, None);
    assert_eq!(followed(&by_operator, &by_operator, false), Followed::NotYet);
    assert_eq!(followed(&by_operator, &by_operator, true), Followed::Undone);
    assert_eq!(followed(&paused_since("C1Done", 9, None), &by_operator, false), Followed::Undone);
    assert_eq!(followed(&before, &paused_since("TreeDBuilt", 0, None), false), Followed::WentOn);
}

#[test]
fn a5_a_state_of_another_plan_or_none_is_refused() {
    for state in ["SnapEncoded", "Unsealed", "NoSuchState", "c1done", ""] {
        let refusal = resumed_in(&failed("C1Done"), state);
        assert!(matches!(refusal, Err(ErrorKind::InvalidState { .. })), "{state}: {refusal:?}");
    }
    assert_eq!(
        resumed_in(&failed("C1Done"), "TreeDBuilt"),
        Ok(Act::Resume(Some(State::TreeDBuilt)))
    );
}

#[test]
fn a5_without_its_plan_a_thread_goes_on_or_is_given_up() {
    let old = listed(json!({
        "location": "/s1", "sector_id": {"Miner": 10000, "Number": 2}, "index": 0, "paused": true,
        "paused_elapsed": 17, "state": "C1Done", "last_error": "permanent: x",
    }));
    assert!(is_not_supported(&resumed_in(&old, "TreeDBuilt")));
    assert_eq!(resumed_in(&old, "Aborted"), Ok(Act::Resume(Some(State::Aborted))));
    let on = asked(&old, &Kept::default(), Verb::Resume, CommandRequest::to(0));
    assert_eq!(on, Ok(Act::Resume(None)));
}

#[test]
fn a5_the_current_state_is_sent_as_null() {
    assert_eq!(resumed_in(&failed("C1Done"), "C1Done"), Ok(Act::Resume(None)));
    assert_eq!(resumed_in(&failed("ProofSubmitted"), "ProofSubmitted"), Ok(Act::Resume(None)));
    assert_eq!(resumed_in(&failed("Aborted"), "Aborted"), Ok(Act::Resume(None)));
}

#[test]
fn a5_empty_is_sent_as_aborted() {
    for state in ["Empty", "Aborted"] {
        assert_eq!(resumed_in(&failed("C1Done"), state), Ok(Act::Resume(Some(State::Aborted))));
    }
}

#[test]
fn a5_finished_is_refused() {
    for from in ["C1Done", "ProofSubmitted"] {
        assert!(is_not_supported(&resumed_in(&failed(from), "Finished")), "{from}");
    }
}

#[test]
fn a5_a_pause_that_was_sent_cannot_be_taken_back_and_one_that_is_held_can() {
    let on = |kept: &Kept| asked(&running("C1Done", 1), kept, Verb::Resume, CommandRequest::to(0));
    let mut kept = Kept { held: true, ..Kept::default() };
    assert_eq!(on(&kept), Ok(Act::TakeBack));
    kept.sent();
    assert!(is_not_supported(&on(&kept)));
    assert_eq!(on(&Kept::default()), Err(ErrorKind::NotPaused { status: "running".into() }));
}

#[test]
fn a5_now_is_refused() {
    let now = CommandRequest { now: true, ..CommandRequest::to(0) };
    let refusal = asked(&running("C1Done", 1), &Kept::default(), Verb::Pause, now);
    assert!(is_not_supported(&refusal), "{refusal:?}");
}

#[test]
fn a5_a_resume_that_is_repeated_reads_the_list_first() {
    let request = CommandRequest {
        request_id: Some(shared_msgs::id::Id::generate()),
        state: Some("TreeDBuilt".into()),
        ..CommandRequest::to(0)
    };
    let resuming = Resuming {
        request_id: request.request_id.unwrap(),
        from: "C1Done".into(),
        to: "TreeDBuilt".into(),
    };
    let kept = Kept { resuming: Some(resuming), ..Kept::default() };
    for gone_on in [running("TreeDBuilt", 0), failed("TreeDBuilt")] {
        assert_eq!(asked(&gone_on, &kept, Verb::Resume, request.clone()), Ok(Act::Nothing));
    }
    let again = asked(&failed("C1Done"), &kept, Verb::Resume, request);
    assert_eq!(again, Ok(Act::Resume(Some(State::TreeDBuilt))), "it has not arrived");
}

#[test]
fn c1_1_a_pause_is_never_sent_while_a_stage_runs_or_waits_for_its_slot() {
    for &plan in Plan::ALL {
        for state in plan.rows().iter().map(|row| row.state.name()) {
            for does in ["Running", "Waiting", "Dreaming"] {
                let does = json!({"state": does, "elapsed": 1});
                let seen = of_plan(plan.name(), state, does, None);
                assert!(!can_pause(&seen), "{plan} {state}");
            }
        }
    }
    let before_v0_9 = |state: &str| {
        listed(
            json!({"location": "/s1", "plan": "sealer", "job_id": "s-t010000-2", "index": 0, "paused": false, "state": state}),
        )
    };
    let allowed: Vec<_> = Plan::Sealer.rows().iter().map(|row| row.state.name()).collect();
    let allowed: Vec<_> =
        allowed.into_iter().filter(|state| can_pause(&before_v0_9(state))).collect();
    assert_eq!(allowed, ["Empty", "PCSubmitted", "PersistanceSubmitted", "ProofSubmitted"]);
}

#[test]
fn c1_2_a_pause_in_pc2_is_never_sent_nor_is_its_result_made_twice() {
    // Idle is shown before the stage, in the wait before a retry, and before its result is stored.
    assert!(!can_pause(&idle("PC1Done")) && !can_pause(&running("PC1Done", 9)));
    for from in ["PC2Done", "C1Done", "TreeDBuilt"] {
        assert!(is_not_supported(&resumed_in(&failed(from), "PC1Done")), "{from}");
    }
    // Somebody else has paused it there, after PC2 ran.
    let mut kept = Kept::default();
    seen_by(&mut kept, &running("PC1Done", 9));
    let paused = paused_since("PC1Done", 0, None);
    seen_by(&mut kept, &paused);
    let on = asked(&paused, &kept, Verb::Resume, CommandRequest::to(0));
    assert!(is_not_supported(&on), "{on:?}");
    let before_it = asked(&paused, &Kept::default(), Verb::Resume, CommandRequest::to(0));
    assert_eq!(before_it, Ok(Act::Resume(None)));
    let anew = CommandRequest { state: Some("TicketAssigned".into()), ..CommandRequest::to(0) };
    let anew = asked(&paused, &kept, Verb::Resume, anew);
    assert_eq!(anew, Ok(Act::Resume(Some(State::TicketAssigned))));
}

#[test]
fn c1_2_a_pause_is_sent_only_where_nothing_can_be_lost() {
    let allowed = |plan: &str, stands: u64| -> Vec<&'static str> {
        let plan: Plan = plan.parse().unwrap();
        let states = plan.rows().iter().map(|row| row.state.name());
        let at = |state: &&'static str| {
            let seen = of_plan(plan.name(), state, json!({"state": "Idle"}), None);
            may_send(Wanted::Pause, &seen, Duration::from_secs(stands))
        };
        states.filter(at).collect()
    };
    let waits = ["PCSubmitted", "PersistanceSubmitted", "ProofSubmitted"];
    assert_eq!(allowed("sealer", 0), [""; 0], "it may only pass");
    assert_eq!(allowed("sealer", 1), waits);
    assert_eq!(
        allowed("sealer", 10),
        [
            "Empty",
            "Allocated",
            "PieceAdded",
            "TreeDBuilt",
            "PC2Done",
            "PCSubmitted",
            "Persisted",
            "PersistanceSubmitted",
            "SeedAssigned",
            "C1Done",
            "C2Done",
            "ProofSubmitted",
        ]
    );
    assert_eq!(allowed("snapup", 60), ["Empty", "PieceAdded"]);
    assert_eq!(allowed("rebuild", 60), ["Empty", "PieceAdded"]);
    assert_eq!(allowed("unseal", 60), ["Empty"]);
    assert_eq!(allowed("wdpost", 60), ["Empty"]);
}

#[test]
fn c1_3_jumps_that_destroy_are_refused() {
    for state in ["C2Done", "ProofSubmitted", "SyntheticPoRepNeeded", "Finished"] {
        let refusal = resumed_in(&failed("C1Done"), state);
        assert!(is_not_supported(&refusal), "{state}: {refusal:?}");
    }
    let has_proof = resumed_in(&failed("ProofSubmitted"), "C2Done");
    assert_eq!(has_proof, Ok(Act::Resume(Some(State::C2Done))));
    let paused = json!({"state": "Paused", "elapsed": 9});
    let wdpost = of_plan("wdpost", "Allocated", paused, Some("permanent: x"));
    assert!(is_not_supported(&resumed_in(&wdpost, "Generated")));
}

#[test]
fn c1_4_a_thread_that_asks_for_a_job_is_paused_when_its_question_is_over() {
    assert!(!may_send(Wanted::Pause, &idle("Empty"), Duration::from_secs(2)));
    assert!(may_send(Wanted::Pause, &idle("Empty"), Duration::from_secs(3)));
}

#[test]
fn c2_the_wait_between_two_jobs_is_where_a_cordon_pauses() {
    for seen in [idle(""), idle("Empty")] {
        assert!(may_send(Wanted::Cordon, &seen, LONG));
    }
    for state in ["PCSubmitted", "PersistanceSubmitted", "ProofSubmitted", "C1Done"] {
        assert!(!may_send(Wanted::Cordon, &idle(state), LONG), "{state}");
    }
    let start = json!({"location": "/s1", "plan": "", "index": 0, "thread_state": {"state": "Idle"}, "job_state": "", "job_stage": null});
    assert!(!can_pause(&listed(start)), "it has not begun: a stage may come first");
}

#[test]
fn c2_a_cordoned_thread_between_two_jobs_is_uncordoned_and_not_resumed() {
    let mut kept = Kept { cordoned: true, ..Kept::default() };
    assert_eq!(kept.wanted(), Some(Wanted::Cordon));
    kept.sent();
    assert!(!kept.is_pause_pending(), "a cordon is shown as one");
    let paused = paused_since("", 0, None);
    seen_by(&mut kept, &paused);
    assert!(is_not_supported(&asked(&paused, &kept, Verb::Resume, CommandRequest::to(0))));
    let uncordon = |kept: &Kept| asked(&paused, kept, Verb::Uncordon, CommandRequest::to(0));
    assert_eq!(uncordon(&kept), Ok(Act::UncordonAndResume));
    // A pause of an operator stays.
    assert_eq!(uncordon(&Kept { for_cordon: false, ..kept }), Ok(Act::Uncordon));
}

#[test]
fn c2_a_thread_without_a_job_has_nothing_to_go_to() {
    let mut dropped = paused_since("", 9, None);
    for _ in 0..2 {
        assert_eq!(resumed_in(&dropped, "Aborted"), Ok(Act::Resume(None)));
        let refusal = resumed_in(&dropped, "TreeDBuilt");
        assert!(matches!(refusal, Err(ErrorKind::StateUnreachable { .. })), "{refusal:?}");
        // After `Empty` the old sector's name stays.
        dropped = listed(
            json!({"location": "/s1", "plan": "sealer", "job_id": "s-t010000-2", "index": 0, "thread_state": {"state": "Paused", "elapsed": 9}, "job_state": "Empty", "job_stage": "-"}),
        );
        assert_eq!(dropped.shown.job, None);
    }
}

#[test]
fn a_pause_in_a_box_that_a_restart_has_emptied_is_held_again() {
    let sent = || {
        let mut kept = Kept { held: true, ..Kept::default() };
        seen_by(&mut kept, &idle("PCSubmitted"));
        kept.sent();
        kept
    };
    let mut kept = sent();
    kept.restarted();
    assert_eq!(kept.wanted(), Some(Wanted::Pause));
    let mut kept = sent();
    seen_by(&mut kept, &running("PCLanded", 0));
    assert_eq!(kept.wanted(), Some(Wanted::Pause), "its step began without taking it");
}

#[test]
fn the_revision_counts_what_changes_and_a_stale_one_is_refused() {
    let mut kept = Kept::default();
    seen_by(&mut kept, &running("C1Done", 1));
    let revision = kept.revision;
    seen_by(&mut kept, &running("C1Done", 2));
    assert_eq!(kept.revision, revision, "time alone is no change");
    seen_by(&mut kept, &failed("C1Done"));
    assert_eq!(kept.revision, revision + 1);
    let stale = CommandRequest { if_revision: Some(revision), ..CommandRequest::to(0) };
    let refusal = asked(&failed("C1Done"), &kept, Verb::Resume, stale);
    let expected = ErrorKind::RevisionMismatch { expected: revision, actual: revision + 1 };
    assert_eq!(refusal, Err(expected));
}

#[test]
fn what_has_happened_is_what_two_lists_differ_in() {
    let kinds = |before: &Seen, after: &Seen| -> Vec<EventKind> {
        let events = happened(0, &before.shown, &after.shown, 2, 5);
        events.into_iter().map(|event| event.kind).collect()
    };
    assert_eq!(kinds(&running("C1Done", 1), &running("C1Done", 2)), []);
    assert_eq!(kinds(&running("SeedAssigned", 1), &running("C1Done", 0)), [EventKind::Transition]);
    assert_eq!(kinds(&running("C1Done", 1), &failed("C1Done")), [EventKind::Failure]);
    let paused = paused_since("PCSubmitted", 0, None);
    assert_eq!(kinds(&running("PC2Done", 1), &paused), [EventKind::Transition, EventKind::Paused]);
    let ended = &happened(0, &running("C1Done", 1).shown, &idle("").shown, 2, 5)[0];
    assert_eq!(ended.sector_id.as_deref(), Some("s-t010000-2"));
    assert_eq!(ended.to.as_deref(), Some("Empty"));
}

#[test]
fn texts_of_the_list_are_shown_without_control_characters() {
    let hostile = "a\u{1b}[31m\u{202e}b";
    let seen = listed(json!({
        "location": hostile, "plan": hostile, "job_id": hostile, "index": 0, "job_stage": hostile,
        "thread_state": {"state": "Running", "elapsed": 1, "proc": hostile}, "job_state": hostile,
        "last_error": format!("{hostile}\n{}", "x".repeat(100_000)),
    }));
    let Shown { location, plan, job, state, stage, last_err, .. } = seen.shown.clone();
    let texts = [Some(location), Some(plan), job, Some(state), stage, last_err.clone()];
    let shown = status(&seen, &Kept::default(), Duration::ZERO);
    let ThreadStatus::Running { processor, .. } = shown else { panic!("{shown:?}") };
    for text in texts.into_iter().chain([processor]) {
        let text = text.unwrap();
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
    }
    assert!(last_err.unwrap().len() <= shared_msgs::snapshot::MAX_LAST_ERR_BYTES);
    assert_eq!(seen.does, ThreadState::Running { elapsed: 1, proc: Some(hostile.into()) });
}
