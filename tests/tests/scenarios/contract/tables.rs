//! What the tools show, as tables and as JSON, of answers that are always the same.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::path::Path;

use async_nats::Subscriber;
use e2e::{binaries, bus::Bus, cli, contract, event_log::EventLog, testbed::Testbed};
use futures::StreamExt;
use serde::Serialize;
use shared_msgs::{
    api::{self, ListWorkersReply},
    command,
    event::Event,
    sector_manager::SectorManagerReply,
    sectors::{ListSectors, ListWdpostJobs, OperatorRequest, SectorPage, WdpostPage},
};

use super::messages::{event, event_kinds, sectors, snapshot, workers};

const OUTPUTS: [&[&str]; 4] = [&[], &["-o", "wide"], &["-o", "json"], &["-o", "jsonl"]];

// Answers every request on a subject alike.
async fn answer(bus: &Bus, subject: String, reply: &impl Serialize) {
    let (client, body) = (bus.client.clone(), serde_json::to_vec(reply).unwrap());
    let mut requests: Subscriber = client.subscribe(subject).await.unwrap();
    client.flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            client.publish(request.reply.unwrap(), body.clone().into()).await.unwrap();
        }
    });
}

async fn answer_sectors<Q: OperatorRequest>(bus: &Bus, _: &Q, result: Q::Reply) {
    answer(bus, bus.prefix.sectors(Q::METHOD), &SectorManagerReply { result }).await;
}

async fn shown(bed: &Testbed, program: &Path, command: &[&str]) -> String {
    let name = program.file_name().unwrap().to_str().unwrap();
    let mut text = String::new();
    for output in OUTPUTS {
        let typed = [command, output].concat();
        let shown = cli::run(program, &typed, &bed.nats.url(), b"").await.expect(0).stdout;
        text += &format!("$ {name} {}\n{shown}\n", typed.join(" "));
    }
    text
}

#[tokio::test]
async fn what_the_tools_show_is_as_it_was() {
    let bed = Testbed::start().await;
    let list = ListWorkersReply { next: None, ..workers() };
    answer(&bed.bus, bed.bus.prefix.api(api::verb::LIST), &list).await;
    answer(&bed.bus, bed.bus.command("w1", command::verb::LIST), &snapshot()).await;
    let page = SectorPage { sectors: vec![sectors::sector()], next: None };
    answer_sectors(&bed.bus, &ListSectors::default(), page).await;
    let page = WdpostPage { jobs: vec![sectors::window_post()], next: None };
    answer_sectors(&bed.bus, &ListWdpostJobs::default(), page).await;
    EventLog::make(&bed.bus).await;
    for kind in event_kinds() {
        bed.bus.record("w1", &Event { kind, ..event() }).await;
    }

    let mut text = String::new();
    for command in [
        &["util", "worker", "list"][..],
        &["util", "worker", "info", "w1"],
        &["util", "worker", "wdpost", "list"],
        &["util", "sealer", "sectors", "list"],
    ] {
        text += &shown(&bed, binaries::manager(), command).await;
    }
    text += &shown(&bed, binaries::worker(), &["worker", "--name", "w1", "list"]).await;
    let typed = ["util", "worker", "history"];
    let history = cli::run(binaries::manager(), &typed, &bed.nats.url(), b"").await.expect(0);
    text += &format!("$ damocles-manager {}\n{}", typed.join(" "), history.stdout);
    contract::assert_is("tables.txt", &text);
}
