//! Threads that are named have to be there before any of them acts.

use std::process::Command;

use e2e::{
    binaries, cli::CliOutput, state_watch::waits_for, terminal::Terminal, testbed::Testbed,
    worker::WorkerConfig,
};

fn absent(output: CliOutput, said: &str) {
    let output = output.expect(3);
    let whole = format!("worker w1: {said}: it has 2, numbered from 0; nothing was done");
    assert!(output.stdout.is_empty() && output.stderr.contains(&whole), "{output:?}");
}

#[tokio::test]
async fn where_one_of_several_threads_is_missing_nothing_is_done() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1").idle().threads(2));
    bed.states.until("w1", "they wait", |snapshot| snapshot.summary.waiting == 2).await;
    let before = bed.bus.list("w1").await.threads;
    for verb in ["pause", "resume", "cordon", "uncordon", "drain"] {
        absent(bed.util_worker(&[verb, "w1", "0,9"]).await, "there is no thread 9");
        absent(
            bed.util_worker(&[verb, "w1", "1,5-6", "--via", "manager"]).await,
            "there are no threads 5, 6",
        );
        absent(worker.cli(&[verb, "--index", "0,9"]).await, "there is no thread 9");
        let with_more = [verb, "--index", "0,9", "--plan", "sealer", "--dry-run"];
        absent(worker.cli(&with_more).await, "there is no thread 9");
        bed.util_worker(&[verb, "w1", "9"]).await.expect(3);
        worker.cli(&[verb, "--index", "9"]).await.expect(3);
    }
    let revisions = |threads: &[shared_msgs::snapshot::ThreadSnapshot]| {
        threads.iter().map(|thread| thread.revision).collect::<Vec<_>>()
    };
    assert_eq!(revisions(&bed.bus.list("w1").await.threads), revisions(&before));
    bed.util_worker(&["pause", "w1", "0,1"]).await.expect(0);
    assert_eq!(bed.bus.list("w1").await.summary.paused, 2);
}

#[tokio::test]
async fn the_workers_own_tool_selects_as_the_managers_does() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1").threads(2));
    let stuck = bed.states.until_stuck("w1").await;
    let sector = stuck.threads[1].sector_id.clone().unwrap_or_default();
    let second = ["--sector", &sector];
    let none = [
        ["--in-state", "Empty"],
        ["--plan", "unseal"],
        ["--status", "running"],
        ["--error", "disk"],
        ["--sector", "s-t010000-77"],
    ];
    for verb in ["pause", "resume", "cordon", "uncordon", "drain"] {
        let lines = async |selector: &[&str]| {
            let output = worker.cli(&[&[verb, "--dry-run"], selector].concat()).await.expect(0);
            output.stdout.lines().map(|line| line[..2].to_owned()).collect::<Vec<_>>()
        };
        for selector in [
            &["--all"][..],
            &["--in-state", "C1Done"],
            &["--error", "No cached", "--plan", "sealer"],
        ] {
            assert_eq!(lines(selector).await, ["#0", "#1"], "{verb} {selector:?}");
        }
        assert_eq!(lines(&second).await, ["#1"]);
        assert_eq!(lines(&["--status", "paused", "-i", "0"]).await, ["#0"]);
        for selector in none {
            let output = worker.cli(&[&[verb][..], &selector].concat()).await.expect(3);
            assert!(output.stderr.contains("worker w1: no thread is selected"), "{output:?}");
        }
        let wrong = worker.cli(&[verb, "--in-state", "C1Dnoe"]).await.expect(2);
        assert!(wrong.stderr.contains("did you mean C1Done?"), "{}", wrong.stderr);
    }
    for verb in ["pause", "resume"] {
        let nothing = worker.cli(&[verb]).await.expect(2);
        assert!(nothing.stderr.contains("no thread is named"), "{}", nothing.stderr);
    }
    worker.cli(&["cordon", "--all"]).await.expect(0);
    assert!(bed.bus.list("w1").await.threads.iter().all(|thread| thread.cordoned));
    // The file may be named before the verbs' group, too.
    let file = worker.config_file().display().to_string();
    bed.worker_cli(&["-c", &file, "worker", "uncordon", "--plan", "sealer"]).await.expect(0);
    assert!(bed.bus.list("w1").await.threads.iter().all(|thread| !thread.cordoned));
}

#[tokio::test]
async fn what_is_selected_is_shown_on_a_terminal_and_asked() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until_thread("w1", 0, "it waits", waits_for("sector")).await;
    let asked = async |typed: &str, code: i32| {
        let mut command = Command::new(binaries::worker());
        let file = worker.config_file();
        command.args(["worker", "pause", "--plan", "sealer", "-c"]).arg(file);
        command.env("NATS_URL", bed.nats.url());
        let log = bed.scratch.path().join("tool.log");
        let mut tool = Terminal::start("tool", command, 10, 80, &log);
        let is_asked = |lines: &[String]| {
            lines[0] == "#0: would be paused" && lines[1].starts_with("Pause 1 thread? [y/N]")
        };
        tool.shows("the question", |lines| lines.len() > 1 && is_asked(lines)).await;
        tool.press(typed);
        assert_eq!(tool.process.ended().await.code(), Some(code));
    };
    asked("n\n", 1).await;
    assert_eq!(bed.bus.list("w1").await.summary.paused, 0);
    asked("y\n", 0).await;
    assert_eq!(bed.bus.list("w1").await.summary.paused, 1);
}
