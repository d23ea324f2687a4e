//! A worker whose lease has run out without a word is lost; other claims to its name are told.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::time::Duration;

use e2e::{bus::name, testbed::Testbed};
use serde_json::json;
use shared_msgs::{
    api::WorkerView,
    id::Id,
    lease::{self, Lease},
    snapshot::WorkerSnapshot,
};

const TTL: Duration = Duration::from_secs(1);

fn lease_of(host: &str, pid: u32) -> Lease {
    Lease {
        worker_id: Id::generate(),
        instance_id: Id::generate(),
        epoch: None,
        host: host.into(),
        pid,
    }
}

fn snapshot(lease: &Lease, seq: u64, status: &str) -> WorkerSnapshot {
    let Lease { instance_id, host, pid, .. } = lease;
    let json = json!({"instance_id": instance_id, "epoch": 1, "seq": seq, "host": host, "pid": pid, "status": status, "ping_interval_ms": 3_600_000});
    serde_json::from_value(json).unwrap()
}

// The last column of each row.
async fn last_pings(bed: &Testbed) -> Vec<String> {
    let list = bed.util_worker(&["list"]).await.expect(0);
    list.rows().iter().map(|row| row.last().unwrap().to_string()).collect()
}

#[tokio::test]
async fn a_worker_whose_lease_runs_out_is_lost_unless_it_has_stopped_and_others_of_its_name_are_told()
 {
    let bed = Testbed::start().await;
    let config = bed.scratch.path().join("manager.toml");
    std::fs::write(&config, "nats.lease_ttl = '1s'").unwrap();
    let mut manager = bed.mock_manager_with(&["--config", config.to_str().unwrap()]).await;
    manager.process().log().line_with(&["loaded the workers' leases"]).await;
    let jetstream = async_nats::jetstream::new(bed.bus.client.clone());
    let (bucket, ttl) =
        damocles_client::lease::open_bucket(&jetstream, &bed.bus.prefix, Duration::from_secs(60))
            .await
            .unwrap();
    assert_eq!(ttl, TTL, "the manager's configuration made the bucket");

    let (held, other, clean) = (lease_of("h1", 55), lease_of("h2", 77), lease_of("h3", 99));
    let put = async |key: String, lease: &Lease| {
        bucket.put(key, serde_json::to_vec(lease).unwrap().into()).await.unwrap()
    };
    // Until it was seen, as its holders would.
    let renewing = async {
        loop {
            put(lease::key(&name("twin")), &held).await;
            put(lease::standby_key(&name("twin"), other.instance_id), &other).await;
            put(lease::key(&name("clean")), &clean).await;
            tokio::time::sleep(TTL / 3).await;
        }
    };
    bed.bus.report("twin", &snapshot(&held, 1, "running")).await;
    bed.bus.report("clean", &snapshot(&clean, 1, "stopped")).await;
    let twin =
        |workers: &[WorkerView]| workers.iter().find(|worker| worker.name == "twin").cloned();
    let seen = bed.bus.listed("both processes", |workers| {
        twin(workers).is_some_and(|twin| twin.duplicate && !twin.lost)
    });
    let told = async {
        seen.await;
        bed.util_worker(&["list"]).await.expect(0)
    };
    let told = tokio::select! { told = told => told, () = renewing => unreachable!() };
    let expected = "twin: held by host h1 pid 55; a second process stands by on host h2 pid 77: stop one of them, or give it another name";
    assert!(told.stderr.contains(expected), "{}", told.stderr);

    // Nobody renews them any more.
    bed.bus
        .listed("a lost worker", |workers| {
            twin(workers).is_some_and(|twin| twin.lost && !twin.duplicate)
        })
        .await;
    let shown = last_pings(&bed).await;
    assert!(shown[0].ends_with(" (stopped)") && shown[1].ends_with(" (lost)"), "{shown:?}");
    put(lease::key(&name("twin")), &held).await;
    bed.bus.listed("it is back", |workers| twin(workers).is_some_and(|twin| !twin.lost)).await;
}
