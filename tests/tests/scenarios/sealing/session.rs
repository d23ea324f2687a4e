//! The session that the specification prints, on real sealing of 2 KiB sectors.
//!
//! That is spec/task-management.zh.md: without proof parameters each thread stops where C2 needs
//! them, and an operator looks at it and commands it.

use e2e::{
    state_watch::is_stuck,
    testbed::Testbed,
    worker::{Worker, WorkerConfig},
};
use shared_msgs::snapshot::WorkerSnapshot;

/// The parameters that C2 of a 2 KiB sector needs, as the specification's sample names them.
const PARAMETERS: &str = "stacked-proof-of-replication-merkletree-poseidon_hasher-8-0-0-sha256_hasher-\
                          032d3138d22506ec0082ed72b2dcba18df18477904e35bafee82b3793b06832f";

fn error_without_parameters(worker: &Worker) -> String {
    let directory = worker.parameters().display().to_string();
    format!(
        "permanent: No cached parameters found for {PARAMETERS} [failure finding {directory}/v28-{PARAMETERS}.params]"
    )
}

async fn three_stuck_threads(bed: &mut Testbed) -> (Worker, WorkerSnapshot) {
    let worker = bed.worker(&WorkerConfig::unnamed().threads(3));
    let snapshot = bed.states.until_stuck("127.0.0.1").await;
    assert_eq!(snapshot.threads.len(), 3);
    (worker, snapshot)
}

#[tokio::test]
async fn worker_list_prints_the_lines_of_the_specification() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (worker, snapshot) = three_stuck_threads(&mut bed).await;

    let list = worker.cli(&["list"]).await.expect(0);
    assert_eq!(list.stdout.lines().count(), 3);
    for (index, line) in list.stdout.lines().enumerate() {
        let location = worker.location(index).display().to_string();
        let sector = snapshot.threads[index].sector_id.clone().unwrap();
        let before = format!(
            "#{index}: \"{location}\"; sector_id=Some({sector}), paused=true, paused_elapsed=Some("
        );
        let after =
            format!("), state=C1Done, last_err=Some(\"{}\")", error_without_parameters(&worker));
        let inner = line.strip_prefix(&before).and_then(|rest| rest.strip_suffix(&after));
        let elapsed = inner.unwrap_or_else(|| panic!("expected {before}…{after}\n     got {line}"));
        humantime::parse_duration(elapsed).unwrap();
        assert!(!elapsed.contains(' ') && !elapsed.contains("ms"), "{elapsed}");
    }
    let mut sectors: Vec<_> =
        snapshot.threads.iter().map(|thread| thread.sector_id.clone().unwrap()).collect();
    sectors.sort();
    assert_eq!(sectors, ["s-t010000-1", "s-t010000-2", "s-t010000-3"]);
}

#[tokio::test]
async fn worker_list_prints_none_where_there_is_nothing() {
    let mut bed = Testbed::start().await;
    let worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until("w1", "it reports", |_| true).await;

    let list = worker.cli(&["list"]).await.expect(0);
    let location = worker.location(0).display().to_string();
    let expected = format!(
        "#0: \"{location}\"; sector_id=None, paused=false, paused_elapsed=None, state=Empty, last_err=None\n"
    );
    assert_eq!(list.stdout, expected);
}

#[tokio::test]
async fn worker_list_prints_the_rest_of_the_snapshot_as_table_json_and_jsonl() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (worker, snapshot) = three_stuck_threads(&mut bed).await;

    let json = worker.cli(&["list", "-o", "json"]).await.expect(0).json();
    assert_eq!(json["instance_id"], snapshot.instance_id.to_string());
    assert_eq!(json["threads"][2]["status"]["by"], "error");
    let jsonl = worker.cli(&["list", "-o", "jsonl"]).await.expect(0);
    let lines: Vec<serde_json::Value> =
        jsonl.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines.iter().map(|line| line["index"].as_u64().unwrap()).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    let table = worker.cli(&["list", "-o", "table"]).await.expect(0);
    assert_eq!(table.rows().len(), 3);
    assert!(
        table.rows()[1].contains(&snapshot.threads[1].sector_id.as_deref().unwrap()),
        "{}",
        table.stdout
    );
}

#[tokio::test]
async fn util_worker_list_has_the_columns_of_the_specification() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (_worker, _) = three_stuck_threads(&mut bed).await;

    bed.bus
        .listed("three paused threads", |workers| {
            workers.iter().any(|worker| worker.report.summary.paused == 3)
        })
        .await;
    let list = bed.util_worker(&["list"]).await.expect(0);
    assert_eq!(
        list.header(),
        ["Name", "Dest", "Threads", "Empty", "Paused", "Errors", "LastPing(with ! if expired)"]
    );
    let rows = list.rows();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0][..6], ["127.0.0.1", "damocles.v1.cmd.127=2E0=2E0=2E1", "3", "0", "3", "3"]);
    humantime::parse_duration(rows[0][6]).unwrap();

    let wide = bed.util_worker(&["list", "-o", "wide"]).await.expect(0);
    for column in ["Version", "Running", "Waiting"] {
        assert!(wide.header().contains(&column), "{}", wide.stdout);
    }
}

#[tokio::test]
async fn util_worker_info_has_the_columns_of_the_specification() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (worker, snapshot) = three_stuck_threads(&mut bed).await;

    let info = bed.util_worker(&["info", "127.0.0.1"]).await.expect(0);
    assert_eq!(
        info.header(),
        ["Index", "Loc", "SectorID", "Paused", "PausedElapsed", "State", "LastErr"]
    );
    assert_eq!(info.rows().len(), 3);
    for (index, row) in info.rows().into_iter().enumerate() {
        let location = worker.location(index).display().to_string();
        let sector = snapshot.threads[index].sector_id.clone().unwrap();
        assert_eq!(row[..4], [&index.to_string(), &location, &sector, "true"]);
        humantime::parse_duration(row[4]).unwrap();
        assert_eq!(row[5..], ["C1Done", &error_without_parameters(&worker)]);
    }

    let wide = bed.util_worker(&["info", "127.0.0.1", "-o", "wide"]).await.expect(0);
    for column in ["Plan", "Stage", "Status"] {
        assert!(wide.header().contains(&column), "{}", wide.stdout);
    }
}

#[tokio::test]
async fn both_tools_pause_and_resume_with_the_same_effect() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (worker, _) = three_stuck_threads(&mut bed).await;

    for index in ["0", "1"] {
        let stuck =
            bed.states.until_thread("127.0.0.1", index.parse().unwrap(), "stuck", is_stuck).await;
        command(&bed, &worker, "pause", index).await;
        command(&bed, &worker, "resume", index).await;
        let retried = |thread: &_| is_stuck(thread) && thread.revision > stuck.revision;
        bed.states.until_thread("127.0.0.1", index.parse().unwrap(), "stuck again", retried).await;
    }
}

// Thread 0 through the worker's own tool, the others through the manager's.
async fn command(bed: &Testbed, worker: &Worker, verb: &str, index: &str) {
    let output = match index {
        "0" => worker.cli(&[verb, "--index", index]).await,
        _ => bed.util_worker(&[verb, "127.0.0.1", index]).await,
    };
    output.expect(0);
}
