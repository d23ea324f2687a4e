//! The real `nats` client does what the README tells its users to type.

use e2e::{binaries, nats_client::NatsClient, testbed::Testbed, worker::WorkerConfig};
use serde_json::Value;

#[tokio::test]
async fn nats_sub_shows_state_through_util_decode_while_a_thread_changes() {
    let mut bed = Testbed::start().await;
    let Some(nats) = NatsClient::find(&bed) else { return };
    let _manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;

    let decode = format!("{} util decode", binaries::manager().display());
    let sub = nats.start(&["sub", "damocles.v1.state.>", "--translate", &decode]);
    sub.log().line_with(&["\"name\":\"w1\"", "\"kind\":\"waiting\""]).await;
    bed.bus.pause("w1", 0).await.unwrap();
    let line = sub.log().line_with(&["\"name\":\"w1\"", "\"kind\":\"paused\""]).await;
    let snapshot: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(snapshot["threads"][0]["status"]["by"], "operator");
    let received = sub.log().line_with(&["damocles.v1.state.w1"]).await;
    assert!(received.contains("Received"), "{received}");
}

#[tokio::test]
async fn nats_req_lists_pauses_and_resumes_with_answers_in_json() {
    let mut bed = Testbed::start().await;
    let Some(nats) = NatsClient::find(&bed) else { return };
    let _manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until_stuck("w1").await;

    let list = nats.run(&["req", "--raw", "damocles.v1.cmd.w1.list", ""]).await.expect(0).json();
    assert_eq!(list["threads"][0]["state"], "C1Done");
    let pause = nats
        .run(&["req", "--raw", "damocles.v1.cmd.w1.pause", "{\"index\":0}"])
        .await
        .expect(0)
        .json();
    assert_eq!(pause["outcome"]["kind"], "already_paused");
    let resume = nats
        .run(&["req", "--raw", "damocles.v1.cmd.w1.resume", "{\"index\":0}"])
        .await
        .expect(0)
        .json();
    assert_eq!(
        (&resume["outcome"]["kind"], &resume["outcome"]["from"]),
        (&"resumed".into(), &"C1Done".into())
    );
    let workers = nats.run(&["req", "--raw", "damocles.v1.api.list", ""]).await.expect(0).json();
    assert_eq!(workers["workers"][0]["name"], "w1");
}

#[tokio::test]
async fn nats_req_shows_the_headers_of_a_refusal() {
    let mut bed = Testbed::start().await;
    let Some(nats) = NatsClient::find(&bed) else { return };
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it reports", |_| true).await;

    let answer = nats.run(&["req", "damocles.v1.cmd.w1.pause", "{\"index\":7}"]).await.expect(0);
    let shown = format!("{}{}", answer.stdout, answer.stderr);
    assert!(shown.contains("Nats-Service-Error-Code: 404"), "{shown}");
    assert!(shown.contains("Nats-Service-Error: "), "{shown}");
    assert!(shown.contains("\"kind\":\"thread_not_found\""), "{shown}");
}

#[tokio::test]
async fn nats_kv_lists_the_workers_and_gets_a_state() {
    let mut bed = Testbed::start().await;
    let Some(nats) = NatsClient::find(&bed) else { return };
    let _manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::new("127.0.0.1").idle());
    bed.states.until("127.0.0.1", "it waits", |snapshot| snapshot.summary.waiting == 1).await;

    let buckets = nats.run(&["kv", "ls"]).await.expect(0);
    assert!(buckets.stdout.contains("DAMOCLES_STATE"), "{}", buckets.stdout);
    let keys = nats.run(&["kv", "ls", "DAMOCLES_STATE"]).await.expect(0);
    assert!(keys.stdout.contains("127=2E0=2E0=2E1"), "{}", keys.stdout);
    let shown = nats.run(&["kv", "get", "DAMOCLES_STATE", "127=2E0=2E0=2E1"]).await.expect(0);
    assert!(shown.stdout.contains("DAMOCLES_STATE > 127=2E0=2E0=2E1"), "{}", shown.stdout);
}

#[tokio::test]
async fn nats_micro_finds_the_service_of_a_worker() {
    let mut bed = Testbed::start().await;
    let Some(nats) = NatsClient::find(&bed) else { return };
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it reports", |_| true).await;

    let services = nats.run(&["service", "ls"]).await.expect(0);
    assert!(services.stdout.contains("w1"), "{}{}", services.stdout, services.stderr);
}

#[tokio::test]
async fn nats_service_shows_each_worker_with_its_verbs_its_dest_and_its_summary() {
    let mut bed = Testbed::start().await;
    let Some(nats) = NatsClient::find(&bed) else { return };
    let mut workers = vec![];
    for (name, threads) in [("w1", 1), ("127.0.0.1", 2)] {
        workers.push(bed.prepare_worker(name, &WorkerConfig::new(name).threads(threads).idle()));
        workers.last_mut().unwrap().start();
        bed.states
            .until(name, "all wait", |snapshot| snapshot.summary.waiting == threads as u32)
            .await;
    }

    let listed = nats.run(&["service", "ls", "damocles-worker"]).await.expect(0).stdout;
    assert!(
        ["damocles-worker", "sealing worker w1", "sealing worker 127.0.0.1"]
            .iter()
            .all(|part| listed.contains(part)),
        "{listed}"
    );
    let services = nats.run(&["service", "ls", "damocles-worker", "--json"]).await.expect(0).json();
    assert_eq!(services.as_array().map(Vec::len), Some(2), "{services}");
    for service in services.as_array().unwrap() {
        let id = service["id"].as_str().unwrap();
        let name = service["metadata"]["name"].as_str().unwrap();
        let snapshot = bed.bus.list(name).await;
        assert_eq!(service["metadata"]["dest"], snapshot.dest);
        assert_eq!(service["metadata"]["instance_id"], snapshot.instance_id.to_string());
        assert_eq!(service["version"], snapshot.version);

        let info =
            nats.run(&["service", "info", "damocles-worker", id, "--json"]).await.expect(0).json();
        let mut served: Vec<_> = endpoints(&info["info"])
            .iter()
            .map(|endpoint| endpoint["subject"].as_str().unwrap())
            .collect();
        served.sort();
        let verbs = ["cordon", "list", "pause", "resume", "uncordon"]
            .map(|verb| format!("{}.{verb}", snapshot.dest));
        assert_eq!(served, verbs);

        let stats =
            nats.run(&["service", "stats", "damocles-worker", id, "--json"]).await.expect(0).json();
        let list = endpoints(&stats[0]).iter().find(|endpoint| endpoint["name"] == "list").unwrap();
        assert!(list["num_requests"].as_u64().unwrap() >= 1, "{stats}");
        assert_eq!(list["data"], serde_json::json!(snapshot.summary), "{stats}");
    }
    // For people.
    let id = services[0]["id"].as_str().unwrap();
    let info = nats.run(&["service", "info", "damocles-worker", id]).await.expect(0).stdout;
    assert!(info.contains(services[0]["metadata"]["dest"].as_str().unwrap()), "{info}");
    nats.run(&["service", "stats", "damocles-worker"]).await.expect(0);
}

fn endpoints(service: &serde_json::Value) -> &[serde_json::Value] {
    service["endpoints"].as_array().map_or(&[], Vec::as_slice)
}
