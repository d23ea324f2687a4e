//! Real processes, made of shell scripts, behind a real queue.

use std::time::Duration;

use damocles_daemon::tasks::Tasks;
use tokio::{sync::watch, time::timeout};

use super::{Pool, Seat};
use crate::{
    activity::{Activity, Kind},
    failure::{Failure, Level},
    processor::{
        groups::Groups,
        processes::Process,
        settings::{ProcessorsConfig, Settings},
        task::SynthProof,
    },
};

const DEADLINE: Duration = Duration::from_secs(30);
const READY: &str = "echo 'synth_proof processor ready'";
/// Answers everything it is asked, in order.
const ANSWER_ALL: &str =
    r#"n=0; while read line; do echo "{\"id\":$n,\"output\":true}"; n=$((n+1)); done"#;

// Ends its processes when it is dropped.
struct Bench {
    pool: Pool,
    stop: watch::Sender<bool>,
    directory: tempfile::TempDir,
}

fn processor(script: &str, more: &str) -> String {
    format!(
        "[[synth_proof]]\nbin = 'sh'\nargs = ['-c', {}]\n{more}\n",
        serde_json::Value::from(script)
    )
}

// `$DIR` is a directory of the test's own.
fn bench(config: &str) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let mut config = ProcessorsConfig::check(toml::from_str(config).unwrap()).unwrap();
    let all: Vec<&mut Settings> = config.stages.values_mut().flatten().collect();
    for settings in all {
        settings.envs.insert("DIR".into(), directory.path().display().to_string());
    }
    let (stop, stopped) = watch::channel(false);
    let tasks = Tasks::new().0;
    Bench {
        pool: Pool::start(&tasks, &config, "false", &Groups::new(&tasks, &[]), &stopped),
        stop,
        directory,
    }
}

// The first time it is run it does this, then it answers.
fn at_first(script: &str) -> String {
    format!("if mkdir $DIR/first 2>/dev/null; then {script}; fi; {READY}; {ANSWER_ALL}")
}

fn task() -> SynthProof {
    let zeros = [0; 32];
    let replica = serde_json::json!({
        "cache_path": "", "replica_path": "", "prover_id": zeros, "sector_id": 1, "ticket": zeros, "piece_infos": [],
        "pre_commit": {"registered_proof": "", "comm_r": zeros, "comm_d": zeros},
    });
    serde_json::from_value(replica).unwrap()
}

impl Bench {
    async fn take(&self) -> Result<Seat, Failure> {
        timeout(DEADLINE, self.pool.take("synth_proof", &Activity::begin())).await.unwrap()
    }

    async fn run(&self) -> Result<bool, Failure> {
        let seat = self.take().await?;
        timeout(DEADLINE, seat.run(&task(), &Activity::begin())).await.unwrap()
    }

    async fn fails_once_then_works(&self, words: &str) {
        let failure = self.run().await.unwrap_err();
        assert!(failure.level == Level::Temporary && failure.message.contains(words), "{failure}");
        assert_eq!(self.run().await, Ok(true));
    }

    async fn stopped(self) {
        self.stop.send_replace(true);
        timeout(DEADLINE, self.stop.closed()).await.unwrap();
    }
}

#[tokio::test]
async fn whatever_a_processor_does_instead_of_answering_only_its_request_fails() {
    let ready_then = |script: &str| at_first(&format!("{READY}; read line; {script}"));
    for (does, words) in [
        ("exit 3", "has ended (exit status: 3)"),
        ("kill -9 $$", "has ended (signal 9)"),
        ("echo '{\"id\":0,\"output\"'; sleep 60", "no answer"),
        ("echo '{\"id\":0,\"output\":'; sleep 60", "no answer"),
        ("printf '\\377\\n'; sleep 60", "no answer"),
        ("head -c 50000000 /dev/zero; echo; sleep 60", "no answer"),
        ("exec 1>&-; sleep 60", "has closed its output (so it was ended)"),
        ("sleep 60 & kill -9 $$", "has ended (signal 9)"),
        ("echo '{\"id\":0}'; read line; exit", "neither output nor error"),
        ("echo '{\"id\":0,\"output\":[1]}'; read line; exit", "unfitting output"),
    ] {
        let bench = bench(&processor(&ready_then(does), ""));
        let failure = bench.run().await.unwrap_err();
        assert!(
            failure.level == Level::Temporary && failure.message.contains(words),
            "{does}: {failure}"
        );
        bench.stopped().await;
    }
    bench(&processor(&ready_then("exit"), "")).fails_once_then_works("has ended").await;
    bench(&processor(&ready_then("echo '{garbage'; sleep 60"), ""))
        .fails_once_then_works("no answer")
        .await;
}

#[tokio::test]
async fn a_stray_line_is_only_logged() {
    let lines = [
        "echo 50 % done",
        "echo",
        r#"echo '{"level":"info","id":"x"}'"#,
        r#"echo '["id",0]'"#,
        "echo synth_proof processor ready",
    ];
    for stray in lines {
        let answers = format!("read line; {stray}; echo '{{\"id\":0,\"output\":true}}'; read line");
        let bench = bench(&processor(&format!("{READY}; {answers}"), ""));
        assert_eq!(bench.run().await, Ok(true), "{stray}");
        bench.stopped().await;
    }
}

/// One that a processor has started, which holds its pipes and goes on when it is asked to end.
const HELPER: &str = "sh -c \"trap '' TERM; while :; do sleep 0.1; done\" & echo $! > $DIR/helper";

impl Bench {
    fn helper_lives(&self) -> bool {
        let pid = std::fs::read_to_string(self.directory.path().join("helper")).unwrap();
        Process::find(pid.trim().parse().unwrap()).is_some_and(|helper| helper.lives())
    }
}

#[tokio::test]
async fn a_request_fails_and_the_next_one_starts_only_when_nothing_of_the_processor_lives() {
    for does in ["exit 3", "kill -9 $$", "echo '{garbage'; sleep 60", "exec 0<&-; read line"] {
        let bench = bench(&processor(
            &format!("{HELPER}; {READY}; read line; {does}"),
            "auto_restart = false",
        ));
        assert_eq!(bench.run().await.unwrap_err().level, Level::Temporary, "{does}");
        assert!(!bench.helper_lives(), "{does}");
    }
    for does in ["exit 3", "sleep 60"] {
        let bench =
            bench(&processor(&at_first(&format!("{HELPER}; {does}")), "stable_wait = '500ms'"));
        assert_eq!(bench.run().await, Ok(true), "{does}");
        assert!(!bench.helper_lives(), "{does}");
    }
    let bench = bench(&processor(&format!("{HELPER}; {READY}; wait"), ""));
    drop(bench.take().await.unwrap());
    assert!(bench.helper_lives());
    bench.stop.send_replace(true);
    timeout(DEADLINE, bench.stop.closed()).await.unwrap();
    assert!(!bench.helper_lives());
}

#[tokio::test]
async fn what_was_answered_before_the_end_counts_whoever_holds_the_output() {
    for does in ["exit", "exit 3", "kill -9 $$"] {
        let script =
            format!("sleep 60 & {READY}; read line; echo '{{\"id\":0,\"output\":true}}'; {does}");
        let bench = bench(&processor(&script, "auto_restart = false"));
        assert_eq!(bench.run().await, Ok(true), "{does}");
        bench.stopped().await;
    }
}

#[tokio::test]
async fn one_whose_process_ends_before_it_is_ready_is_started_again_whoever_holds_the_output() {
    let script = at_first("sleep 60 & exit 1");
    assert_eq!(bench(&processor(&script, "stable_wait = '1h'")).run().await, Ok(true));
}

#[tokio::test]
async fn what_a_processor_says_too_much_changes_nothing() {
    let chatty = r#"echo hello; echo 'synth_proof processor ready'; while read line; do
        echo '{"id":77,"output":true}'; echo "{\"id\":$((n)),\"output\":true}"; echo "{\"id\":$((n)),\"output\":false}"; n=$((n+1)); done"#;
    let bench = bench(&processor(chatty, "auto_restart = false"));
    for _ in 0..3 {
        assert_eq!(bench.run().await, Ok(true));
    }
    bench.stopped().await;
}

#[tokio::test]
async fn a_lost_answer_does_not_cost_the_others_theirs() {
    let script = at_first(&format!(
        "{READY}; read a; read b; read c; echo '{{oops'; {}",
        r#"echo '{"id":2,"output":true}'; echo '{"id":0,"output":true}'; sleep 60"#
    ));
    let bench = bench(&processor(&script, ""));
    let (first, second, third) = tokio::join!(bench.run(), bench.run(), bench.run());
    // Which of them was asked first is not known.
    let failures: Vec<_> = [first, second, third].into_iter().filter_map(Result::err).collect();
    let [failure] = failures.as_slice() else { panic!("{failures:?}") };
    assert!(
        failure.level == Level::Temporary && failure.message.contains("no answer"),
        "{failure}"
    );
    assert_eq!(bench.run().await, Ok(true));
}

#[tokio::test]
async fn an_error_is_permanent_unless_its_words_say_that_it_may_pass() {
    for (message, level) in
        [("no GPU", Level::Permanent), ("write x: No space left on device", Level::Temporary)]
    {
        let script = format!(
            "{READY}; read line; echo '{{\"id\":0,\"err_msg\":\"{message}\",\"output\":null}}'; read line"
        );
        let failure = bench(&processor(&script, "")).run().await.unwrap_err();
        assert_eq!(failure, Failure { level, message: message.into() });
    }
}

#[tokio::test]
async fn one_that_hangs_or_dies_at_start_is_started_again() {
    for script in [at_first("sleep 60"), at_first("exit 1")] {
        assert_eq!(
            bench(&processor(&script, "stable_wait = '500ms'")).run().await,
            Ok(true),
            "{script}"
        );
    }
    let dies_when_ready = at_first(&format!("{READY}; exit 1"));
    let bench = bench(&processor(&dies_when_ready, ""));
    // A request may be quicker than its death.
    let first = bench.run().await;
    assert!(
        first.as_ref().map_or_else(|failure| failure.level == Level::Temporary, |yes| *yes),
        "{first:?}"
    );
    assert_eq!(bench.run().await, Ok(true));
}

#[tokio::test]
async fn waiting_for_one_that_is_not_ready_can_be_given_up_at_once() {
    let bench = bench(&processor("sleep 60", "stable_wait = '1h'"));
    let activity = Activity::begin();
    let mut waiting = Box::pin(bench.pool.take("synth_proof", &activity));
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(activity.now().kind, Kind::Waiting { reason: "synth_proof processor".into() });
    drop(waiting);
    bench.stopped().await;
}

#[tokio::test]
async fn without_auto_restart_the_others_do_the_work_and_the_last_ones_death_is_permanent() {
    let dies = format!("{READY}; read line; exit 1");
    let bench = bench(
        &(processor(&dies, "auto_restart = false")
            + &processor(&dies, "auto_restart = false\nconcurrent = 1")),
    );
    for _ in 0..2 {
        assert_eq!(bench.run().await.unwrap_err().level, Level::Temporary);
    }
    let failure = bench.run().await.unwrap_err();
    assert!(
        failure.level == Level::Permanent && failure.message.contains("auto_restart"),
        "{failure}"
    );
}

#[tokio::test]
async fn children_that_do_not_end_with_their_input_are_made_to() {
    let script = format!("trap '' TERM; echo $$ > $DIR/pid; {READY}; while :; do sleep 60; done");
    let bench = bench(&processor(&script, ""));
    drop(bench.take().await.unwrap());
    let pid = std::fs::read_to_string(bench.directory.path().join("pid")).unwrap();
    bench.stop.send_replace(true);
    timeout(DEADLINE, bench.stop.closed()).await.unwrap();
    assert!(!std::path::Path::new("/proc").join(pid.trim()).exists());
}

#[tokio::test]
async fn a_child_gets_the_environment_and_arguments_of_its_settings() {
    let script = format!("[ \"$A$HOME\" = 1 ] && {READY} && {ANSWER_ALL}");
    let bench = bench(&processor(
        &script,
        "inherit_envs = false\nenvs = { A = '1', PATH = '/usr/bin:/bin' }\nauto_restart = false",
    ));
    assert_eq!(bench.run().await, Ok(true));
}
