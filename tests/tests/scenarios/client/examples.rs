//! The client's examples do to a real system what they say.

use std::time::Duration;

use damocles_client::{
    connect::{NatsOptions, NatsSettings},
    system::System,
};
use e2e::{state_watch::is_paused, testbed::Testbed, worker::WorkerConfig};
use shared_msgs::snapshot::PausedBy;

#[expect(dead_code, reason = "an example has a `main`, which nobody calls here")]
#[path = "../../../../client/examples/follow_events.rs"]
mod follow_events;
#[expect(dead_code, reason = "an example has a `main`, which nobody calls here")]
#[path = "../../../../client/examples/list_fleet.rs"]
mod list_fleet;
#[expect(dead_code, reason = "an example has a `main`, which nobody calls here")]
#[path = "../../../../client/examples/resume_by_error.rs"]
mod resume_by_error;

fn options(bed: &Testbed) -> NatsOptions {
    NatsOptions { server: Some(bed.nats.url().into()), ..NatsOptions::default() }
}

fn lines(written: Vec<u8>) -> Vec<String> {
    String::from_utf8_lossy(&written).lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_examples_list_a_fleet_resume_by_error_and_follow_events() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _stuck = bed.worker(&WorkerConfig::new("seal-1"));
    let mut gone = bed.prepare_worker("seal-2", &WorkerConfig::new("seal-2").idle());
    gone.start();
    bed.states.until_stuck("seal-1").await;
    bed.bus.listed("both workers", |workers| workers.len() == 2).await;
    gone.kill9().await;
    let system = System::connect(&options(&bed), "test").await.unwrap();

    let mut listed = vec![];
    list_fleet::run(&system, &mut listed).await.unwrap();
    let listed = lines(listed);
    assert!(listed[0].starts_with("seal-1: heard from "), "{listed:?}");
    assert!(
        listed[1].starts_with("  #0 s-t010000-") && listed[1].ends_with(": C1Done"),
        "{listed:?}"
    );
    assert!(listed[2].starts_with("seal-2: ") && listed[3] == "  is not there", "{listed:?}");

    let before = bed.bus.list("seal-1").await.threads[0].revision;
    let system = System { timeout: Duration::from_secs(2), ..system };
    // Of `seal-2` nobody knows, as long as its last report is no older than three of its pings.
    let of_those_that_are_there =
        |written| lines(written).into_iter().filter(|line| !line.starts_with("seal-2: no answer"));
    let mut resumed = vec![];
    resume_by_error::run(&system, "no such error", &mut resumed).await.unwrap();
    assert_eq!(of_those_that_are_there(resumed).count(), 0);
    let mut resumed = vec![];
    resume_by_error::run(&system, "parameters", &mut resumed).await.unwrap();
    let resumed: Vec<_> = of_those_that_are_there(resumed).collect();
    assert!(resumed[0].starts_with("seal-1 #0: Resumed") && resumed.len() == 1, "{resumed:?}");
    bed.states
        .until("seal-1", "it has failed again", |snapshot| {
            let thread = &snapshot.threads[0];
            thread.revision > before && is_paused(thread, PausedBy::Error)
        })
        .await;

    let settings = NatsSettings::new(&options(&bed), &NatsOptions::default()).unwrap();
    let mut events = vec![];
    follow_events::run(&settings, &mut events, 12).await.unwrap();
    let events = lines(events);
    assert_eq!(events.len(), 12);
    assert!(events.contains(&"seal-1: worker_started ".to_owned()), "{events:?}");
    assert!(events.contains(&"seal-1 #0: transition Allocated".to_owned()), "{events:?}");
}
