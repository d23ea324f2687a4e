//! States that no longer get into their bucket are said by manager and tools, with a way out.
//!
//! Streams that are as managers made them are not warned about.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use async_nats::jetstream::{
    self,
    stream::{Config, SubjectTransform},
};
use e2e::{nats_client::NatsClient, testbed::Testbed, worker::WorkerConfig};

async fn config(bed: &Testbed, stream: &str) -> Config {
    jetstream::new(bed.bus.client.clone())
        .get_stream(stream)
        .await
        .unwrap()
        .cached_info()
        .config
        .clone()
}

async fn update(bed: &Testbed, config: Config) {
    jetstream::new(bed.bus.client.clone()).update_stream(config).await.unwrap();
}

// What `nats stream edit` makes of a stream with these options. It cannot be run here: of a bucket
// it asks on a terminal.
fn edited(stream: Config, options: &str) -> Config {
    let words: Vec<_> = options.split_whitespace().map(|word| word.trim_matches('\'')).collect();
    let values = |option: &str| {
        words
            .windows(2)
            .filter(|pair| pair[0] == option)
            .map(|pair| pair[1].to_owned())
            .collect::<Vec<_>>()
    };
    let one = |option: &str| values(option).concat();
    let transform = SubjectTransform {
        source: one("--transform-source"),
        destination: one("--transform-destination"),
    };
    Config { subjects: values("--subjects"), subject_transform: Some(transform), ..stream }
}

#[tokio::test]
async fn a_later_manager_does_not_warn_about_what_an_earlier_one_has_made() {
    let bed = Testbed::start().await;
    let mut first = bed.mock_manager().await;
    first.process().log().line_with(&["created a stream", "DAMOCLES_EVENTS"]).await;
    // So that there is something to say, which is said after what there is not.
    for stream in ["DAMOCLES_EVENTS", "KV_DAMOCLES_STATE"] {
        let made = config(&bed, stream).await;
        update(&bed, Config { allow_rollup: !made.allow_rollup, ..made }).await;
    }
    let mut second = bed.start_mock_manager("second-manager");
    for stream in ["DAMOCLES_EVENTS", "KV_DAMOCLES_STATE"] {
        second
            .process()
            .log()
            .line_with(&["is not as a manager makes it", stream, "allow_rollup_hdrs"])
            .await;
    }
    second.process().log().line_with(&["ready"]).await;
    let said: Vec<_> = second
        .process()
        .log()
        .lines()
        .into_iter()
        .filter(|line| line.contains("is not as a manager makes it"))
        .collect();
    assert_eq!(said.len(), 2, "{said:#?}");
}

#[tokio::test]
async fn the_nats_clients_own_edit_of_the_bucket_is_noticed() {
    let bed = Testbed::start().await;
    let Some(nats) = NatsClient::find(&bed) else { return };
    let mut manager = bed.mock_manager().await;
    nats.run(&["kv", "edit", "DAMOCLES_STATE", "--replicas", "1"]).await.expect(0);
    manager.process().log().line_with(&["no longer receives the workers' states"]).await;
}

#[tokio::test]
async fn a_bucket_whose_subject_was_edited_away_is_said_until_it_is_mended() {
    let mut bed = Testbed::start().await;
    let mut manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it reports", |_| true).await;
    bed.bus.listed("the worker", |workers| workers.len() == 1).await;
    let said = bed.util_worker(&["list"]).await.expect(0).stderr;
    assert!(!said.contains("state bucket"), "{said}");

    let made = config(&bed, "KV_DAMOCLES_STATE").await;
    update(
        &bed,
        Config {
            subjects: vec!["$KV.DAMOCLES_STATE.>".into()],
            subject_transform: None,
            ..made.clone()
        },
    )
    .await;
    let warning = manager
        .process()
        .log()
        .line_with(&["the state bucket DAMOCLES_STATE no longer receives the workers' states"])
        .await;
    let listed = bed.util_worker(&["list"]).await.expect(0);
    assert!(
        listed.rows().len() == 1
            && listed.stderr.contains("no longer has the subject damocles.v1.state.*"),
        "{}",
        listed.stderr
    );
    let bulk = bed.util_worker(&["pause", "--all", "--dry-run"]).await;
    assert!(bulk.stderr.contains("no longer receives"), "{}", bulk.stderr);
    worker.kill9().await;
    bed.bus.unserved(&bed.bus.command("w1", "list")).await;
    let info = bed.util_worker(&["info", "w1"]).await.expect(4);
    assert!(
        info.stderr.contains("no longer receives")
            && info.stderr.contains("is damocles-worker running"),
        "{}",
        info.stderr
    );

    // The transform alone is no less.
    update(&bed, Config { subject_transform: None, ..made.clone() }).await;
    manager.process().log().line_with(&["no longer transforms"]).await;

    let (_, command) = warning.split_once("with: nats stream edit KV_DAMOCLES_STATE ").unwrap();
    update(&bed, edited(made.clone(), command)).await;
    manager.process().log().line_with(&["receives the workers' states again"]).await;
    let mended = config(&bed, "KV_DAMOCLES_STATE").await;
    assert_eq!(mended, made);
    let said = bed.util_worker(&["list"]).await.expect(0).stderr;
    assert!(!said.contains("state bucket"), "{said}");
    let before =
        manager.process().log().lines().iter().filter(|line| line.contains("no longer")).count();
    assert_eq!(before, 2, "each change is said once");
    worker.start();
    let pid = worker.pid();
    bed.states.until("w1", "it is back", |snapshot| snapshot.pid == pid).await;
}
