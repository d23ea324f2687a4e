//! A worker may have any name, and is found by it and by its Dest.

use e2e::{testbed::Testbed, worker::WorkerConfig};

const NAMES: [(&str, &str); 4] = [
    ("127.0.0.1", "damocles.v1.cmd.127=2E0=2E0=2E1"),
    ("_worker_1", "damocles.v1.cmd.=5Fworker_1"),
    ("worker-#1", "damocles.v1.cmd.worker-=231"),
    ("矿机 1", "damocles.v1.cmd.=E7=9F=BF=E6=9C=BA=201"),
];

#[tokio::test]
async fn workers_of_any_name_are_seen_and_commanded_by_name_and_by_dest() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut workers = Vec::new();
    for (index, (name, _)) in NAMES.into_iter().enumerate() {
        let mut worker =
            bed.prepare_worker(&format!("worker{index}"), &WorkerConfig::new(name).idle());
        worker.start();
        workers.push(worker);
    }
    for ((name, dest), worker) in NAMES.into_iter().zip(&workers) {
        let snapshot =
            bed.states.until(name, "it waits", |snapshot| snapshot.summary.waiting == 1).await;
        assert_eq!((snapshot.name.as_str(), snapshot.dest.as_str()), (name, dest));
        worker.cli(&["pause", "--index", "0"]).await.expect(0);
        assert_eq!(bed.bus.list(name).await.summary.paused, 1);
        bed.util_worker(&["resume", dest, "0"]).await.expect(0);
        bed.util_worker(&["pause", name, "0"]).await.expect(0);
        let info = bed.util_worker(&["info", dest]).await.expect(0);
        assert_eq!(info.rows()[0][1], worker.location(0).display().to_string());
    }
    bed.bus.listed("every worker", |workers| workers.len() == NAMES.len()).await;
    let list = bed.util_worker(&["list"]).await.expect(0);
    let listed: Vec<_> =
        list.rows().iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect();
    assert_eq!(listed, NAMES.map(|(name, dest)| (name.to_owned(), dest.to_owned())));
}

#[tokio::test]
async fn a_tool_without_a_configuration_file_finds_the_worker_by_its_name() {
    let mut bed = Testbed::start().await;
    let mut workers =
        ["127.0.0.1", "w1"].map(|name| bed.prepare_worker(name, &WorkerConfig::new(name).idle()));
    for worker in &mut workers {
        worker.start();
    }
    for (name, args) in
        [("127.0.0.1", &["worker", "list"][..]), ("w1", &["worker", "--name", "w1", "list"])]
    {
        bed.states.until(name, "it reports", |_| true).await;
        let list = bed.worker_cli(args).await.expect(0);
        assert!(list.stdout.contains(&format!("/{name}/store1\"")), "{}", list.stdout);
    }
}
