use std::time::Duration;

use proptest::prelude::*;
use shared_msgs::{
    command::{CommandRequest, Outcome, Verb},
    error::ErrorKind,
    plan::{Plan, Stage},
    sector_manager::{AllocatedSector, SealVersion, SectorId, SectorSize, WdpostInput, WdpostJob},
};

use super::*;
use crate::store::record::Wdpost;

fn decide_pause(
    record: &Record,
    in_stage: bool,
    if_revision: Option<u64>,
) -> Result<Act, ErrorKind> {
    let request = CommandRequest { if_revision, ..CommandRequest::to(0) };
    decide(record, Verb::Pause, &request, in_stage, "x").map(|decision| decision.act)
}

fn decide_resume(
    record: &Record,
    state: Option<&str>,
    if_revision: Option<u64>,
    status: &str,
) -> Result<Act, ErrorKind> {
    let request =
        CommandRequest { state: state.map(Into::into), if_revision, ..CommandRequest::to(0) };
    decide(record, Verb::Resume, &request, false, status).map(|decision| decision.act)
}

fn record(state: State) -> Record {
    let allocated = AllocatedSector {
        id: SectorId { miner: 10000, number: 2 },
        proof_type: SealVersion::V1_1.of(SectorSize::S2KiB),
    };
    Record { state, job: Some(Sector::new(allocated).into()), ..Record::new(Plan::Sealer) }
}

fn paused_by(by: PausedBy, since_ms: u64) -> Control {
    Control::Paused(Paused { by, since_ms })
}

fn sector_of(record: &mut Record) -> &mut Sector {
    let Some(Job::Sector(sector)) = &mut record.job else { panic!("it has no sector") };
    sector
}

fn paused(state: State, by: PausedBy) -> Record {
    Record { control: paused_by(by, 5), last_err: Some("permanent: x".into()), ..record(state) }
}

// A step that leads to the same state.
fn step(record: &mut Record, now_ms: u64) {
    let (state, job) = (record.state, record.job.clone());
    move_on(record, NextState { state, job, request_id: Id::generate() }, now_ms);
}

#[test]
fn a_waiting_thread_pauses_at_once_and_one_in_a_stage_when_it_ends() {
    assert_eq!(decide_pause(&record(State::Pc1Done), false, None), Ok(Act::Pause));
    assert_eq!(decide_pause(&record(State::Pc1Done), true, None), Ok(Act::PauseAfterStage));
}

#[test]
fn pausing_a_paused_thread_keeps_the_error_and_makes_the_pause_the_operators() {
    let mut record = paused(State::C1Done, PausedBy::Error);
    let decision = decide_pause(&record, false, None).unwrap();
    assert_eq!(decision, Act::TakeOver);
    assert!(apply(&mut record, decision, None, 9));
    assert_eq!(record.control, paused_by(PausedBy::Operator, 5));
    assert_eq!(record.last_err.as_deref(), Some("permanent: x"));
    assert!(!apply(&mut record, Act::TakeOver, None, 10), "a second time changes nothing");
}

#[test]
fn resuming_clears_the_error_and_asks_anew() {
    let mut record = paused(State::C1Done, PausedBy::Error);
    let asked = record.request_id;
    let decision = decide_resume(&record, None, None, "paused").unwrap();
    apply(&mut record, decision, None, 9);
    assert_eq!(
        (record.state, record.control, record.last_err.as_deref()),
        (State::C1Done, Control::Working, None)
    );
    assert_ne!(record.request_id, asked);
}

#[test]
fn a_pause_that_cut_off_a_question_does_not_change_its_id() {
    for mut record in [Record::new(Plan::Sealer), record(State::Pc2Done)] {
        let asked = record.request_id;
        apply(&mut record, Act::Pause, None, 1);
        let decision = decide_resume(&record, None, None, "paused").unwrap();
        apply(&mut record, decision, None, 2);
        assert_eq!(record.request_id, asked);
    }
}

#[test]
fn a_state_that_is_no_state_of_the_plan_is_refused_with_those_that_are() {
    let refusal =
        decide_resume(&paused(State::C1Done, PausedBy::Error), Some("SnapEncoded"), None, "paused")
            .unwrap_err();
    let ErrorKind::InvalidState { given, plan, allowed } = refusal else { panic!("{refusal:?}") };
    assert_eq!((given.as_str(), plan.as_str()), ("SnapEncoded", "sealer"));
    assert!(
        allowed.contains(&"PersistanceSubmitted".to_owned())
            && allowed.contains(&"Aborted".to_owned())
    );
}

#[test]
fn a_state_whose_inputs_are_missing_is_refused_and_names_them() {
    let refusal =
        decide_resume(&paused(State::Allocated, PausedBy::Error), Some("Finished"), None, "paused")
            .unwrap_err();
    let ErrorKind::StateUnreachable { state, missing } = refusal else { panic!("{refusal:?}") };
    assert_eq!(state, "Finished");
    assert!(missing.contains(&"proof".to_owned()));
}

#[test]
fn aborted_and_empty_give_the_sector_up() {
    for state in ["Aborted", "Empty"] {
        let mut record = paused(State::C1Done, PausedBy::Error);
        let decision = decide_resume(&record, Some(state), None, "paused").unwrap();
        assert_eq!(decision, Act::GiveUp);
        apply(&mut record, decision, Some("bad disk"), 9);
        assert_eq!((record.state, record.control), (State::Aborted, Control::Working));
        assert_eq!(record.job.unwrap().abort_reason(), Some("by an operator: bad disk"));
    }
}

#[test]
fn a_sector_that_is_given_up_goes_back_until_its_files_are_going() {
    let mut record = paused(State::Pc1Done, PausedBy::Error);
    apply(&mut record, Act::GiveUp, Some("bad disk"), 9);
    assert_eq!(record.given_up_by, Some(GivenUpBy::Operator));
    record.control = paused_by(PausedBy::Error, 9);
    assert_eq!(decide_resume(&record, None, None, "paused"), Ok(Act::GoOn(State::Aborted)));
    assert_eq!(
        decide_resume(&record, Some("Aborted"), None, "paused"),
        Ok(Act::GiveUp),
        "now an operator wants it"
    );
    let back = decide_resume(&record, Some("Allocated"), None, "paused").unwrap();
    let mut again = record.clone();
    apply(&mut again, back, None, 10);
    assert_eq!(
        (again.state, again.given_up_by, again.job.unwrap().abort_reason()),
        (State::Allocated, None, None)
    );

    sector_of(&mut record).removing = true;
    let refusal = decide_resume(&record, Some("Allocated"), None, "paused").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the sector cannot go on from Allocated: it has no files any more"
    );
    let finished =
        decide_resume(&paused(State::Finished, PausedBy::Error), Some("Allocated"), None, "paused")
            .unwrap_err();
    assert_eq!(
        finished.to_string(),
        "the sector cannot go on from Allocated: it has no way back: its end is being reported"
    );
}

#[test]
fn a_replica_of_a_finished_sector_outlives_its_abort() {
    for (state, kept) in [(State::Finished, true), (State::C2Done, false)] {
        let mut record = paused(state, PausedBy::Error);
        sector_of(&mut record).persisted = Some("remote".into());
        apply(&mut record, Act::GiveUp, None, 9);
        assert_eq!(sector_of(&mut record).persisted.is_none(), kept, "{state}");
    }
}

#[test]
fn a_job_that_is_lost_is_let_go_of_where_it_is() {
    let mut record = Record { retry: 3, ..record(State::Pc1Done) };
    fail(&mut record, Failure::lost("x"), 5, 9);
    let let_go = Some(LetGo { reason: "x".into(), since_ms: 9 });
    assert_eq!(
        (record.state, &record.let_go, record.control, record.given_up_by),
        (State::Pc1Done, &let_go, Control::Working, None)
    );
    record.control = paused_by(PausedBy::Operator, 9);
    for elsewhere in ["Allocated", "Aborted"] {
        let refusal = decide_resume(&record, Some(elsewhere), None, "paused").unwrap_err();
        assert!(refusal.to_string().contains("kept aside"), "{refusal}");
    }
    assert_eq!(decide_resume(&record, None, None, "paused"), Ok(Act::GoOn(State::Pc1Done)));
    step(&mut record, 10);
    assert_eq!(record.let_go, None);
}

#[test]
fn a_verdict_ends_nothing_that_an_operator_paused_and_pauses_nobody_twice() {
    let levels = [Failure::abort("x"), Failure::lost("x"), Failure::permanent("x")];
    let heeds = |record: &Record| levels.each_ref().map(|verdict| heed(record, verdict));
    assert_eq!(heeds(&record(State::Pc1Done)), [Heed::Now; 3]);
    assert_eq!(
        heeds(&Record { control: Control::PausePending, ..record(State::Pc1Done) }),
        [Heed::Now; 3]
    );
    assert_eq!(
        heeds(&paused(State::Pc1Done, PausedBy::Error)),
        [Heed::Now, Heed::Now, Heed::Never]
    );
    assert_eq!(
        heeds(&paused(State::Pc1Done, PausedBy::Operator)),
        [Heed::AfterPause, Heed::AfterPause, Heed::Never]
    );
    let let_go = Some(LetGo::default());
    for ending in [
        record(State::Finished),
        record(State::Aborted),
        record(State::Generated),
        Record { let_go, ..record(State::Pc1Done) },
    ] {
        assert_eq!(heeds(&ending), [Heed::Never; 3], "{}", ending.state);
    }
}

#[test]
fn a_thread_without_a_sector_has_nothing_to_give_up() {
    let record = Record { control: paused_by(PausedBy::Operator, 0), ..Record::new(Plan::Sealer) };
    assert_eq!(
        decide_resume(&record, Some("Aborted"), None, "paused"),
        Ok(Act::GoOn(State::Empty))
    );
    assert!(matches!(
        decide_resume(&record, Some("C1Done"), None, "paused"),
        Err(ErrorKind::StateUnreachable { .. })
    ));
}

#[test]
fn only_a_paused_thread_is_resumed() {
    let refusal = decide_resume(&record(State::Pc1Done), None, None, "running").unwrap_err();
    assert_eq!(refusal, ErrorKind::NotPaused { status: "running".into() });
}

#[test]
fn a_command_for_another_revision_is_refused() {
    let record = paused(State::C1Done, PausedBy::Error);
    let mismatch = Err(ErrorKind::RevisionMismatch { expected: 7, actual: 0 });
    assert_eq!(decide_resume(&record, None, Some(7), "paused"), mismatch);
    assert_eq!(decide_pause(&record, false, Some(7)), mismatch);
    assert!(decide_resume(&record, None, Some(0), "paused").is_ok());
}

#[test]
fn temporary_failures_become_permanent_when_the_retries_are_used_up() {
    let mut record = record(State::Pc1Done);
    for retry in 1..=2 {
        let failure = fail(&mut record, Failure::temporary("x"), 2, 9);
        assert_eq!(
            (failure.level, record.retry, record.control),
            (Level::Temporary, retry, Control::Working)
        );
        assert_eq!(record.last_err.as_deref(), Some("temporary: x"));
    }
    assert_eq!(fail(&mut record, Failure::temporary("x"), 2, 9).level, Level::Permanent);
    assert_eq!(record.last_err.as_deref(), Some("permanent: x"));
    assert_eq!(record.control, paused_by(PausedBy::Error, 9));
}

#[test]
fn a_window_post_job_that_cannot_be_proven_here_is_given_back() {
    let input = WdpostInput { sectors: vec![], miner_id: 1, proof_type: "x".into(), seed: [0; 32] };
    let job = WdpostJob { id: "j1".into(), input };
    let wdpost = Wdpost { job, output: None, abort_reason: None };
    let job = Some(Job::Wdpost(wdpost.into()));
    let record = Record { job, ..Record::new(Plan::Wdpost) };
    let level = |record: &Record, failure| of_step(record, failure, 2).level;
    assert_eq!(level(&record, Failure::permanent("x")), Level::Abort);
    assert_eq!(level(&record, Failure::temporary("x")), Level::Temporary);
    let tried = Record { retry: 2, ..record.clone() };
    assert_eq!(level(&tried, Failure::temporary("x")), Level::Abort);
    for failure in [Failure::critical("x"), Failure::lost("x")] {
        assert_eq!(level(&record, failure.clone()), failure.level);
    }
    let without = Record { job: None, ..record };
    assert_eq!(level(&without, Failure::permanent("x")), Level::Permanent);
    let sealer = self::record(State::Pc1Done);
    assert_eq!(level(&sealer, Failure::permanent("x")), Level::Permanent);
}

#[test]
fn a_pending_pause_outlives_the_failure_of_the_stage() {
    let mut record = Record { control: Control::PausePending, ..record(State::C1Done) };
    fail(&mut record, Failure::permanent("x"), 5, 9);
    assert_eq!(record.paused().unwrap().by, PausedBy::Operator);
    assert!(record.last_err.is_some());
}

#[test]
fn a_restart_keeps_an_operators_pause_and_retries_an_errors() {
    let mut by_operator = paused(State::C1Done, PausedBy::Operator);
    restart(&mut by_operator, 9);
    assert_eq!(by_operator, paused_as(&by_operator, PausedBy::Operator));
    let mut by_error = paused(State::C1Done, PausedBy::Error);
    restart(&mut by_error, 9);
    assert_eq!(
        (by_error.control, by_error.last_err.as_deref()),
        (Control::Working, Some("permanent: x"))
    );
    let mut pending = Record { control: Control::PausePending, ..record(State::C1Done) };
    restart(&mut pending, 9);
    assert_eq!(pending.control, paused_by(PausedBy::Operator, 9));
}

fn paused_as(record: &Record, by: PausedBy) -> Record {
    Record { request_id: record.request_id, ..paused(record.state, by) }
}

#[test]
fn three_deaths_in_one_stage_pause_the_thread() {
    let mut record = record(State::C1Done);
    for death in 1..=3 {
        record.running = Some(Stage::C2);
        restart(&mut record, 9);
        assert_eq!(record.is_paused(), death == 3);
    }
    assert_eq!(record.last_err.as_deref(), Some("critical: the worker died 3 times in C2"));
    apply(&mut record, Act::GoOn(State::C1Done), None, 9);
    record.running = Some(Stage::C2);
    restart(&mut record, 9);
    assert_eq!(record.control, Control::Working, "counted from the beginning after a resume");
}

#[test]
fn a_pause_that_was_pending_at_the_third_death_is_the_operators() {
    let mut record = Record {
        deaths: 2,
        running: Some(Stage::C2),
        control: Control::PausePending,
        ..record(State::C1Done)
    };
    restart(&mut record, 9);
    assert_eq!(record.control, paused_by(PausedBy::Operator, 9));
    assert_eq!(record.last_err.as_deref(), Some("critical: the worker died 3 times in C2"));
}

#[test]
fn a_stage_that_ends_forgets_earlier_deaths() {
    let mut record = Record { deaths: 2, running: Some(Stage::C2), ..record(State::C1Done) };
    step(&mut record, 9);
    assert_eq!((record.deaths, record.running), (0, Some(Stage::C2)), "the next one begins");
}

// What happens to a thread, and a shadow model that knows only what an operator was told.
#[derive(Clone, Debug)]
enum Happening {
    Pause(bool),
    Resume(Option<&'static str>),
    StageEnds,
    Fails(Level),
    Restarts,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shadow {
    Working,
    Pending,
    PausedByOperator,
    PausedByError,
}

fn happening() -> impl Strategy<Value = Happening> {
    let states = prop::sample::select(vec![
        None,
        Some("Aborted"),
        Some("Allocated"),
        Some("Finished"),
        Some("nonsense"),
    ]);
    let levels = prop::sample::select(vec![
        Level::Temporary,
        Level::Permanent,
        Level::Abort,
        Level::Lost,
        Level::Critical,
    ]);
    prop_oneof![
        any::<bool>().prop_map(Happening::Pause),
        states.prop_map(Happening::Resume),
        Just(Happening::StageEnds),
        levels.prop_map(Happening::Fails),
        Just(Happening::Restarts),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_thread_is_where_the_operator_was_told(happenings in prop::collection::vec(happening(), 1..40)) {
        let mut record = record(State::Allocated);
        let mut shadow = Shadow::Working;
        for happening in happenings {
            let (before, working) = (record.clone(), matches!(shadow, Shadow::Working | Shadow::Pending));
            match happening {
                Happening::Pause(in_stage) => {
                    let decision = decide_pause(&record, in_stage, None).unwrap();
                    apply(&mut record, decision, None, 1);
                    shadow = match (shadow, in_stage) {
                        (Shadow::Working, true) => Shadow::Pending,
                        (Shadow::Pending, _) => Shadow::Pending,
                        _ => Shadow::PausedByOperator,
                    };
                }
                Happening::Resume(state) => match decide_resume(&record, state, None, "x") {
                    Ok(decision) => {
                        apply(&mut record, decision, None, 1);
                        shadow = Shadow::Working;
                    }
                    Err(_) => prop_assert_eq!(&record, &before, "a refusal changes nothing"),
                },
                // A paused thread is in no stage: it neither ends one nor fails.
                Happening::StageEnds if working => {
                    step(&mut record, 1);
                    shadow = if shadow == Shadow::Pending { Shadow::PausedByOperator } else { Shadow::Working };
                }
                Happening::Fails(level) if working => {
                    let failed = fail(&mut record, Failure { level, message: "x".into() }, 2, 1);
                    shadow = match (shadow, failed.level) {
                        (Shadow::Pending, _) => Shadow::PausedByOperator,
                        (_, Level::Permanent | Level::Critical) => Shadow::PausedByError,
                        _ => Shadow::Working,
                    };
                }
                Happening::Restarts => {
                    restart(&mut record, 1);
                    shadow = match shadow {
                        Shadow::Pending => Shadow::PausedByOperator,
                        Shadow::PausedByError => Shadow::Working,
                        other => other,
                    };
                }
                Happening::StageEnds | Happening::Fails(_) => {}
            }
            let actual = match record.control {
                Control::Working => Shadow::Working,
                Control::PausePending => Shadow::Pending,
                Control::Paused(Paused { by: PausedBy::Error, .. }) => Shadow::PausedByError,
                Control::Paused(_) => Shadow::PausedByOperator,
            };
            prop_assert_eq!(actual, shadow);
            prop_assert!(record.revision >= before.revision);
            prop_assert_eq!(record.revision > before.revision, Record { revision: 0, ..record.clone() } != Record { revision: 0, ..before });
        }
    }
}

#[test]
fn a_cordon_is_beside_everything_else_and_said_again_changes_nothing() {
    let request = CommandRequest::to(0);
    for mut record in
        [record(State::Pc1Done), paused(State::C1Done, PausedBy::Error), Record::new(Plan::Sealer)]
    {
        let before = record.clone();
        let order = |record: &Record, verb| decide(record, verb, &request, true, "x").unwrap();
        assert_eq!(order(&record, Verb::Uncordon).outcome, Outcome::NotCordoned);
        let decision = order(&record, Verb::Cordon);
        assert!(apply(&mut record, decision.act, None, 1));
        assert_eq!(
            record,
            Record { cordoned: true, revision: before.revision + 1, ..before.clone() }
        );
        let decision = order(&record, Verb::Cordon);
        assert_eq!(decision.outcome, Outcome::AlreadyCordoned);
        assert!(!apply(&mut record, decision.act, None, 2));
        restart(&mut record, 3);
        assert!(record.cordoned, "it survives a restart");
        let decision = order(&record, Verb::Uncordon);
        assert!(apply(&mut record, decision.act, None, 4) && !record.cordoned);
    }
}

fn failure() -> impl Strategy<Value = Failure> {
    let levels = [Level::Temporary, Level::Permanent, Level::Abort, Level::Lost, Level::Critical];
    prop::sample::select(levels.to_vec()).prop_map(|level| Failure { level, message: "x".into() })
}

fn any_record() -> impl Strategy<Value = Record> {
    let controls = vec![
        Control::Working,
        Control::PausePending,
        paused_by(PausedBy::Operator, 1),
        paused_by(PausedBy::Error, 1),
    ];
    let states = vec![State::Empty, State::Allocated, State::Pc1Done, State::Finished];
    let (controls, states) = (prop::sample::select(controls), prop::sample::select(states));
    (controls, states, any::<bool>(), any::<bool>()).prop_map(
        |(control, state, cordoned, lets_go)| {
            let let_go = lets_go.then(LetGo::default);
            let job = record(state).job.filter(|_| state != State::Empty);
            Record { control, cordoned, let_go, job, ..record(state) }
        },
    )
}

proptest! {
    #[test]
    fn a_thread_steps_when_nothing_holds_it_up_and_rests_only_for_what_ends_by_itself_or_a_command(
        record in any_record(),
        uses in prop::sample::select(vec![StoreUse::Works, StoreUse::Behind, StoreUse::Unusable]),
        verdict in prop::option::of(failure()),
        until_ms in prop::option::of(-1_000i64..1_000),
    ) {
        let now = Instant::now() + Duration::from_secs(10);
        let until = until_ms.map(|ms| match u64::try_from(ms) {
            Ok(ms) => now + Duration::from_millis(ms),
            Err(_) => now - Duration::from_millis(ms.unsigned_abs()),
        });
        let heeded = verdict.as_ref().map(|verdict| heed(&record, verdict)) == Some(Heed::Now);
        let waits = until.is_some_and(|until| until > now);
        let stands = record.is_paused() || (record.cordoned && record.state == State::Empty);
        match next(&record, Held { store: uses, verdict: verdict.as_ref(), until }, now) {
            Next::Step => prop_assert!(uses == StoreUse::Works && !heeded && !stands && !waits),
            Next::HeedVerdict => prop_assert!(uses == StoreUse::Works && heeded),
            Next::WriteDown => prop_assert!(uses == StoreUse::Behind && !waits),
            Next::OpenStore => prop_assert!(uses == StoreUse::Unusable && until.is_some() && !waits),
            Next::RestUntil(moment) => {
                prop_assert!(Some(moment) == until && waits);
                prop_assert!(uses != StoreUse::Works || !(heeded || stands));
            }
            Next::Rest => prop_assert!(
                (uses == StoreUse::Works && stands && !heeded)
                    || (uses == StoreUse::Unusable && until.is_none())
            ),
        }
    }
}
