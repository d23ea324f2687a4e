//! External processors work; what one does wrong harms nobody but its own request.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use e2e::{
    children::{cpus_of, ended, field, kill9, process, processor_pid, ready},
    damocles_tasks::{PostReplica, WinningPost, start},
    state_watch::{is_in_c2, is_paused, waits_for},
    testbed::{Testbed, sector},
    worker::WorkerConfig,
};
use shared_msgs::{
    command::Outcome,
    snapshot::{PausedBy, ThreadSnapshot},
};
use vc_processors::core::Processor;

const OWN_STAGES: [&str; 6] = ["add_pieces", "tree_d", "comm_d", "pc1", "pc2", "c1"];

#[tokio::test]
async fn the_workers_own_program_seals_a_sector_as_its_processors() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let config = OWN_STAGES
        .iter()
        .fold(WorkerConfig::new("w1").fixture_c2(&[]), |config, stage| config.processor(stage, ""));
    let mut worker = bed.worker(&config);
    let mut pids = vec![];
    for stage in OWN_STAGES {
        pids.push(ready(&mut worker, stage).await);
    }
    bed.requests.until_finalized(sector(1)).await;
    assert!(worker.terminate().await.success());
    assert!(pids.iter().all(|pid| !process(*pid).exists()), "{pids:?}");
    // A worker without processors finds everything where it should be.
    worker.configure(&WorkerConfig::new("w1").fixture_c2(&[]));
    worker.start();
    bed.requests.until_finalized(sector(3)).await;
}

#[tokio::test]
async fn a_damocles_manager_finds_a_processor_for_winning_posts() {
    let bed = Testbed::start().await;
    let (own, missing) = (e2e::binaries::worker().to_owned(), bed.scratch.path().join("missing"));
    let task = WinningPost {
        miner_id: 10000,
        proof_type: "StackedDrgWinning2KiBV1".into(),
        replicas: vec![PostReplica {
            sector_id: 2,
            comm_r: [1; 32],
            cache_dir: missing.clone(),
            sealed_file: missing.join("sealed"),
        }],
        seed: [0; 32],
    };
    // As it starts one: with the name of the stage, and it waits for the ready line.
    let refused = tokio::task::spawn_blocking(move || {
        let args = vec!["processor".into(), "winning_post".into()];
        let processor = start::<WinningPost>(own, args).unwrap();
        processor.process(task).unwrap_err().to_string()
    });
    let refused = refused.await.unwrap();
    assert!(refused.contains(missing.to_str().unwrap()), "{refused}");
}

#[tokio::test]
async fn a_program_without_arguments_is_told_its_stage() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let script = bed.scratch.path().join("prover");
    let program = e2e::binaries::worker().display().to_string();
    std::fs::write(&script, format!("#!/bin/sh\necho \"$*\" > $0.args\nexec {program} \"$@\"\n"))
        .unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let config = WorkerConfig::new("w1").processor("pc1", &format!("bin = {script:?}"));
    let _worker = bed.worker(&config);
    bed.states.until_stuck("w1").await;
    let args = std::fs::read_to_string(script.with_extension("args")).unwrap();
    assert_eq!(args.trim(), "processor pc1");
}

#[tokio::test]
async fn the_token_for_pieces_reaches_whoever_adds_them_and_nobody_else_and_no_log() {
    let bed = Testbed::start().await;
    let (adds, builds) = (bed.scratch.path().join("adds"), bed.scratch.path().join("builds"));
    let prints = |stage: &str, file: &Path| {
        let script = format!(
            "echo \"token: $PIECE_FETCHER_TOKEN\" > {}.new; mv {0}.new {0}; echo '{stage} processor ready'; exec cat",
            file.display()
        );
        format!("bin = 'sh'\nargs = ['-c', {script:?}]")
    };
    let config = WorkerConfig::new("w1")
        .idle()
        .raw("[sector_manager]\npiece_token = 'hunter2'")
        .processor("add_pieces", &prints("add_pieces", &adds))
        .processor("tree_d", &prints("tree_d", &builds));
    let mut worker = bed.worker(&config);
    ready(&mut worker, "add_pieces").await;
    ready(&mut worker, "tree_d").await;
    assert_eq!(std::fs::read_to_string(adds).unwrap(), "token: hunter2\n");
    assert_eq!(std::fs::read_to_string(builds).unwrap(), "token: \n");
    assert!(worker.terminate().await.success());
    assert!(!worker.log().to_end().await.contains("hunter2"));
}

#[tokio::test]
async fn a_processor_places_itself_where_a_damocles_worker_says_by_its_variables() {
    let mut command = Command::new(e2e::binaries::worker());
    command
        .args(["processor", "transfer"])
        .envs([("VC_CG_NAME", "sealing"), ("VC_CG_CPUSET", "0")])
        .env("VENUS_WORKER_NUMA_PREFERRED", "4711")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let placed = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "transfer processor ready\n");
        let cpus = cpus_of(child.id());
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        (cpus, String::from_utf8(output.stderr).unwrap())
    });
    let (cpus, log) = placed.await.unwrap();
    assert!(cpus == "0" || log.contains("cgroup.cpuset has no effect"), "{cpus} {log}");
    assert!(log.contains("numa_preferred has no effect: this host has no NUMA node 4711"), "{log}");
}

#[tokio::test]
async fn a_request_that_its_processor_spoils_is_retried() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    for (misdeed, words) in
        [("die", "exit status: 3"), ("garbage", "no answer"), ("long-line", "no answer")]
    {
        let count = bed.scratch.path().join(format!("{misdeed}.count")).display().to_string();
        let args = ["--misbehave", misdeed, "--misbehave-times", "1", "--count-file", &count];
        let config =
            WorkerConfig::new(misdeed).fixture_c2(&args).sealing("recover_interval", "'1h'");
        let mut worker = bed.prepare_worker(misdeed, &config);
        worker.start();
        let thread = bed
            .states
            .until_thread(misdeed, 0, "it waits for a retry", waits_for("retry 1 of 5"))
            .await;
        let error = thread.last_err.unwrap();
        assert!(
            error.starts_with("temporary: processor c2 (pid ") && error.contains(words),
            "{misdeed}: {error}"
        );
        bed.bus.pause(misdeed, 0).await.unwrap();
        bed.bus.resume(misdeed, 0, None).await.unwrap();
        let next =
            |now: &ThreadSnapshot| now.sector_id.is_some() && now.sector_id != thread.sector_id;
        bed.states.until_thread(misdeed, 0, "it has the next sector", next).await;
        assert!(worker.terminate().await.success());
    }
}

#[tokio::test]
async fn what_a_processor_answers_too_much_is_only_logged() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    for (misdeed, words) in [
        ("twice", "was not asked"),
        ("unknown-id", "was not asked"),
        ("stray", "half of it is done"),
    ] {
        let mut worker = bed.prepare_worker(
            misdeed,
            &WorkerConfig::new(misdeed).fixture_c2(&["--misbehave", misdeed]),
        );
        worker.start();
        worker.log().line_with(&[words, "stage=\"c2\""]).await;
        let first = bed.allocated().await;
        bed.requests.until_finalized(sector(first)).await;
        let snapshot = bed.bus.list(misdeed).await;
        assert_eq!(snapshot.threads[0].last_err, None);
        assert!(worker.terminate().await.success());
    }
}

#[tokio::test]
async fn a_processor_that_does_not_start_is_waited_for_and_started_again() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1").fixture(
        "c2",
        &["--misbehave", "hang-at-start"],
        "stable_wait = '1h'",
    ));
    bed.states.until_thread("w1", 0, "it waits for C2", waits_for("c2 processor")).await;
    assert_eq!(bed.bus.pause("w1", 0).await.unwrap().outcome, Outcome::Paused);
    drop(worker);

    for misdeed in ["hang-at-start", "die-at-start"] {
        let count = bed.scratch.path().join(format!("{misdeed}.count")).display().to_string();
        let args = ["--misbehave", misdeed, "--misbehave-times", "1", "--count-file", &count];
        let mut worker = bed.prepare_worker(
            misdeed,
            &WorkerConfig::new(misdeed).fixture("c2", &args, "stable_wait = '2s'"),
        );
        worker.start();
        worker.log().line_with(&["processor does not start", "fixture-processor"]).await;
        ready(&mut worker, "c2").await;
        let first = bed
            .states
            .until_thread(misdeed, 0, "it has a sector", |thread| thread.sector_id.is_some())
            .await
            .sector_id;
        let next =
            |thread: &ThreadSnapshot| thread.sector_id.is_some() && thread.sector_id != first;
        bed.states.until_thread(misdeed, 0, "it has the next one", next).await;
    }
}

#[tokio::test]
async fn two_processors_share_the_work_and_the_next_one_waits_for_a_slot() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut gate = bed.gate("c2");
    let held = ["--hold", gate.path().to_str().unwrap()];
    let config = WorkerConfig::new("w1").threads(3).fixture("c2", &held, "concurrent = 1").fixture(
        "c2",
        &held,
        "concurrent = 1",
    );
    let _worker = bed.worker(&config);
    let all_there = bed.states.until("w1", "two in C2, one waits", |snapshot| {
        let count = |holds: &dyn Fn(&ThreadSnapshot) -> bool| {
            snapshot.threads.iter().filter(|thread| holds(thread)).count()
        };
        count(&is_in_c2) == 2 && count(&waits_for("c2 slot")) == 1
    });
    let threads = all_there.await.threads;
    let pids: Vec<_> =
        threads.iter().filter(|thread| is_in_c2(thread)).map(processor_pid).collect();
    assert_ne!(pids[0], pids[1]);
    let waiting = threads.iter().position(waits_for("c2 slot")).unwrap();
    assert_eq!(bed.bus.pause("w1", waiting as u32).await.unwrap().outcome, Outcome::Paused);
    assert!(is_paused(&bed.bus.list("w1").await.threads[waiting], PausedBy::Operator));
    bed.bus.resume("w1", waiting as u32, None).await.unwrap();

    // Whoever loses a process is retried, by the one that is left or the next one.
    kill9(pids[0]);
    let lost = threads
        .iter()
        .position(|thread| is_in_c2(thread) && processor_pid(thread) == pids[0])
        .unwrap();
    let died = bed
        .states
        .until_thread("w1", lost, "its processor died", |thread| thread.last_err.is_some())
        .await;
    let error = died.last_err.unwrap();
    assert!(
        error.starts_with("temporary: ") && error.contains(&format!("pid {}", pids[0])),
        "{error}"
    );
    gate.open();
    bed.requests.until_first_finalized(3).await;
}

#[tokio::test]
async fn no_processor_outlives_its_worker() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let gate = bed.gate("c2");
    let mut worker = bed.worker(&WorkerConfig::new("w1").held_c2(&gate).processor("pc1", ""));
    let pc1 = ready(&mut worker, "pc1").await;
    let c2 = processor_pid(&bed.states.until_thread("w1", 0, "in C2", is_in_c2).await);
    worker.kill9().await;
    ended(c2).await;
    ended(pc1).await;
}

#[tokio::test]
async fn the_workers_own_processor_ends_when_nobody_reads_its_answers() {
    let mut command = Command::new(e2e::binaries::worker());
    command
        .args(["processor", "pc1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // Its input stays open: only the reader of its output goes.
    let (input, output) = (child.stdin.take(), child.stdout.take());
    drop(output);
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(1));
    drop(input);
}

#[tokio::test]
async fn a_processor_runs_on_the_cpus_of_its_cpuset() {
    let bed = Testbed::start().await;
    let config = WorkerConfig::new("w1")
        .idle()
        .processor("pc1", "cgroup.cpuset = '0'\nnuma_preferred = 4711");
    let mut worker = bed.worker(&config);
    let pid = ready(&mut worker, "pc1").await;
    let cpus = cpus_of(pid);
    let log = worker.log().lines();
    // On hosts that allow neither a control group nor taskset there is only the warning.
    assert!(
        cpus == "0" || log.iter().any(|line| line.contains("cgroup.cpuset has no effect")),
        "{cpus}"
    );
    assert!(
        log.iter()
            .any(|line| line.contains("numa_preferred has no effect") && line.contains("4711"))
    );
    let group = log
        .iter()
        .find(|line| line.contains("in a control group"))
        .map(|line| field(line, "cgroup"));
    assert!(worker.terminate().await.success());
    assert!(group.is_none_or(|group| !Path::new(&group).exists()));
}

#[tokio::test]
async fn sealing_daemons_are_kept_running_and_end_with_the_worker() {
    let bed = Testbed::start().await;
    let config = WorkerConfig::new("w1").idle().processor(
        "sealing_daemons",
        "bin = 'sh'\nargs = ['-c', 'echo hello; echo EMPTY processor ready; exec cat']",
    );
    let mut worker = bed.worker(&config);
    let runs = worker.log().line_with(&["daemon runs", "daemon=\"sh\""]).await;
    let first: u32 = field(&runs, "pid").parse().unwrap();
    worker.log().line_with(&["hello", &format!("pid={first}")]).await;
    worker.log().line_with(&["EMPTY processor ready", &format!("pid={first}")]).await;
    kill9(first);
    worker.log().line_with(&["daemon has ended", &format!("pid={first}"), "signal 9"]).await;
    let log = worker.log().clone();
    let again = async {
        loop {
            let pids: Vec<u32> = log
                .lines()
                .iter()
                .filter(|line| line.contains("daemon runs"))
                .map(|line| field(line, "pid").parse().unwrap())
                .collect();
            if let [_, second] = pids.as_slice() {
                return *second;
            }
            tokio::task::yield_now().await;
        }
    };
    let second = tokio::time::timeout(e2e::DEADLINE, again).await.unwrap();
    assert!(worker.terminate().await.success());
    assert!(!process(second).exists());
}
