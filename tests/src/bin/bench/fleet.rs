//! A fleet of workers that are there on the bus only: one subscription answers for all of them.

use std::time::Duration;

use e2e::{binaries, bus::name, played_commands::bulk, testbed::Testbed};
use futures::StreamExt;
use serde_json::json;
use shared_msgs::{
    command::{CommandRequest, Verb},
    id::Id,
    selector::Selector,
};
use tokio::time::Instant;

use crate::{baseline, figure::Samples};

/// Workers that report at once.
pub(crate) const WORKERS: usize = 10_000;

/// A command for all threads of the fleet: with the tool, from the start of its process to its end;
/// and the request alone, until somebody who knows how many there are has heard all answers.
pub(crate) async fn bulk_command(count: usize) -> (Samples, Samples) {
    let bed = Testbed::start().await;
    let manager = bed.mock_manager().await;
    let names: Vec<_> = (0..WORKERS).map(|number| format!("w{number:05}")).collect();
    let snapshot =
        json!({"instance_id": Id::NIL, "seq": 1, "ping_interval_ms": 600_000}).to_string();
    for worker in &names {
        bed.bus
            .client
            .publish(bed.bus.prefix.state(&name(worker)), snapshot.clone().into())
            .await
            .unwrap();
    }
    // Its answer comes when those before it are stored.
    bed.bus.raw(&bed.bus.prefix.state(&name(&names[0])), snapshot).await;
    let answering = tokio::spawn({
        let client = async_nats::connect(bed.nats.url()).await.unwrap();
        let mut requests = client.subscribe(bed.bus.prefix.command_of_all("*")).await.unwrap();
        client.flush().await.unwrap();
        async move {
            while let Some(request) = requests.next().await {
                let Some(inbox) = request.reply else { continue };
                for worker in &names {
                    let answer = bulk(
                        worker,
                        json!([{"index": 0, "revision": 3, "outcome": {"kind": "paused"}}]),
                    );
                    client.publish(inbox.clone(), answer.to_string().into()).await.unwrap();
                }
            }
        }
    });
    let alone = Samples::of(count, async || ask_all(&bed).await).await;
    let tool = Samples::of(count, async || {
        baseline::tool(
            &bed,
            binaries::manager(),
            &["util", "worker", "pause", "--all", "--dry-run", "--timeout", "60s"],
        )
        .await
    });
    let tool = tool.await;
    answering.abort();
    drop(manager);
    (tool, alone)
}

async fn ask_all(bed: &Testbed) -> Duration {
    let client = &bed.bus.client;
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    let request = CommandRequest {
        dry_run: true,
        ..CommandRequest::to_all(Selector { all: true, ..Selector::default() })
    };
    let asked = Instant::now();
    let body = serde_json::to_vec(&request).unwrap();
    client
        .publish_with_reply(bed.bus.prefix.command_of_all(Verb::Pause.name()), inbox, body.into())
        .await
        .unwrap();
    for _ in 0..WORKERS {
        answers.next().await.unwrap();
    }
    asked.elapsed()
}
