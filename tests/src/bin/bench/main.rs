//! `make bench`: what the system costs, measured on the real programs. Each figure stands beside a
//! baseline that was measured in the same run, because machines differ and are noisy: compare
//! ratios, not milliseconds. The last column is what damocles took on a 2-core machine, for
//! orientation.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails loudly and prints its result"
)]

mod baseline;
mod figure;
mod fleet;

use std::time::Duration;

use damocles_client::call::call;
use e2e::{binaries, bus::Bus, state_watch::is_stuck, testbed::Testbed, worker::WorkerConfig};
use figure::{Figure, Samples};
use shared_msgs::{
    api::{ListWorkersReply, ListWorkersRequest, verb},
    codec::Encoding,
    command::{CommandRequest, Verb},
    id::Id,
    snapshot::WorkerSnapshot,
};
use tokio::time::Instant;

const WORKER: &str = "bench";
const WAITING: &str = "waiting";

#[tokio::main]
async fn main() {
    let mut figures = Vec::new();
    let round_trip = baseline::round_trip().await;
    let process =
        Samples::of(30, async || baseline::process(binaries::worker(), &["--version"]).await).await;
    let proofs = baseline::proofs();

    for _ in 0..5 {
        let start = fresh_start().await;
        figure::add(
            &mut figures,
            Figure::new(
                "fresh start to three sectors paused at C1Done",
                start,
                "the proofs of one sector",
                &proofs.whole,
            )
            .damocles("312 ms"),
        );
    }

    let bed = Testbed::start().await;
    let manager_started = Instant::now();
    let mut manager = bed.mock_manager().await;
    println!(
        "a mock manager answers {:.0} ms after its start",
        manager_started.elapsed().as_secs_f64() * 1e3
    );
    let mut worker = bed.worker(&WorkerConfig::new(WORKER).threads(1));
    bed.bus.served(&bed.bus.command(WORKER, verb::LIST)).await;
    let stuck = |snapshot: &WorkerSnapshot| snapshot.threads.iter().all(is_stuck);
    poll(&bed.bus, stuck).await;

    for _ in 0..20 {
        let took = after_resume(&bed.bus, Some("Aborted")).await;
        figure::add(
            &mut figures,
            Figure::new(
                "one new sector to C1Done (the old one given up)",
                took,
                "the proofs of one sector",
                &proofs.whole,
            )
            .damocles("51.5 ms"),
        );
    }
    for _ in 0..30 {
        let took = after_resume(&bed.bus, None).await;
        figure::add(
            &mut figures,
            Figure::new(
                "C2 retried until it is paused again",
                took,
                "C2's failure alone",
                &proofs.c2,
            )
            .damocles("13 ms"),
        );
    }
    for _ in 0..30 {
        let took =
            baseline::tool(&bed, binaries::worker(), &["worker", "--name", WORKER, "list"]).await;
        figure::add(
            &mut figures,
            Figure::new(
                "whole process: worker list",
                took,
                "a process that prints its version",
                &process,
            )
            .damocles("49 ms"),
        );
        let took = baseline::tool(&bed, binaries::manager(), &["util", "worker", "list"]).await;
        figure::add(
            &mut figures,
            Figure::new(
                "whole process: util worker list",
                took,
                "a process that prints its version",
                &process,
            )
            .damocles("88 ms"),
        );
    }
    for _ in 0..1000 {
        let asked = Instant::now();
        bed.bus.list(WORKER).await;
        figure::add(
            &mut figures,
            Figure::new("list over the bus", asked.elapsed(), "one NATS request", &round_trip),
        );
    }
    let mut waiting = bed.prepare_worker("waiting", &WorkerConfig::new(WAITING).idle());
    waiting.start();
    bed.bus.served(&bed.bus.command(WAITING, verb::LIST)).await;
    for round in 0..100 {
        let took = until_manager_sees(&bed, round % 2 == 0).await;
        figure::add(
            &mut figures,
            Figure::new(
                "a change becomes visible at the manager",
                took,
                "one NATS request",
                &round_trip,
            )
            .damocles("18 to 30 s"),
        );
    }
    for round in 0..200 {
        let took = cordon_or_uncordon(&bed.bus, round).await;
        figure::add(
            &mut figures,
            Figure::new(
                "a command, durable with its answer and its event",
                took,
                "one NATS request",
                &round_trip,
            ),
        );
    }
    let stored = baseline::stored_message(&bed).await;
    for _ in 0..5 {
        let each = events_after_an_outage(&bed).await;
        figure::add(
            &mut figures,
            Figure::new(
                "an event of a backlog into the stream",
                each,
                "one message into a stream",
                &stored,
            ),
        );
    }
    let (idle_worker, idle_manager) = (
        resident(worker.pid()),
        resident(manager.process().pid().as_raw_nonzero().get().unsigned_abs()),
    );
    let took = outage(bed).await;
    figure::add(
        &mut figures,
        Figure::new(
            "visible again after kill -9 and restart of NATS",
            took,
            "one NATS request",
            &round_trip,
        ),
    );

    let (tool, alone) = fleet::bulk_command(7).await;
    figures.push(Figure::of(
        "whole process: a command for 10,000 workers",
        tool,
        "the request and its 10,000 answers",
        &alone,
    ));

    println!("\n{}", figure::table(&figures));
    println!(
        "idle worker {idle_worker:.1} MiB (damocles: 34 MiB and 160 MiB in processor children), idle manager {idle_manager:.1} MiB (damocles: 94 MiB)"
    );
    drop((worker, waiting, manager));
}

// The whole way of a machine that has never sealed, from the start of the process.
async fn fresh_start() -> Duration {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let started = Instant::now();
    let _worker = bed.worker(&WorkerConfig::new(WORKER).threads(3));
    bed.states.until_stuck(WORKER).await;
    started.elapsed()
}

// Asks the worker itself until its state is the wanted one: finer than its reports.
async fn poll(bus: &Bus, holds: impl Fn(&WorkerSnapshot) -> bool) -> WorkerSnapshot {
    loop {
        let snapshot = bus.list(WORKER).await;
        if holds(&snapshot) {
            return snapshot;
        }
    }
}

async fn after_resume(bus: &Bus, state: Option<&str>) -> Duration {
    let resumed = Instant::now();
    let reply = bus.resume(WORKER, 0, state).await.unwrap();
    poll(bus, |snapshot| {
        snapshot.threads[0].revision > reply.revision && is_stuck(&snapshot.threads[0])
    })
    .await;
    resumed.elapsed()
}

// From a command that was carried out to a manager's list that counts it.
async fn until_manager_sees(bed: &Testbed, pause: bool) -> Duration {
    let answer = if pause {
        bed.bus.pause(WAITING, 0).await
    } else {
        bed.bus.resume(WAITING, 0, None).await
    };
    answer.unwrap();
    let changed = Instant::now();
    loop {
        let reply = ask_manager(bed).await;
        let seen = reply
            .workers
            .iter()
            .find(|worker| worker.name == WAITING)
            .map(|worker| worker.report.summary.paused);
        if seen == Some(u32::from(pause)) {
            return changed.elapsed();
        }
    }
}

// Each under an id of its own.
async fn cordon_or_uncordon(bus: &Bus, round: usize) -> Duration {
    let verb = if round.is_multiple_of(2) { Verb::Cordon } else { Verb::Uncordon };
    let request = CommandRequest { request_id: Some(Id::generate()), ..CommandRequest::to(0) };
    let asked = Instant::now();
    bus.order(WAITING, verb, &request).await.unwrap();
    asked.elapsed()
}

// The stream is away while commands are given; from the first of their events in it to the last, by
// the server's clock.
async fn events_after_an_outage(bed: &Testbed) -> Duration {
    const EVENTS: usize = 500;
    let jetstream = async_nats::jetstream::new(bed.bus.client.clone());
    let stream = jetstream.get_stream(bed.bus.prefix.events_stream()).await.unwrap();
    let config = stream.cached_info().config.clone();
    jetstream.delete_stream(&config.name).await.unwrap();
    for round in 0..EVENTS {
        cordon_or_uncordon(&bed.bus, round).await;
    }
    let mut stream = jetstream.create_stream(config).await.unwrap();
    while stream.info().await.unwrap().state.last_sequence < EVENTS as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let time = async |sequence| stream.get_raw_message(sequence).await.unwrap().time;
    let took = time(EVENTS as u64).await - time(1).await;
    took.unsigned_abs() / (EVENTS as u32 - 1)
}

async fn ask_manager(bed: &Testbed) -> ListWorkersReply {
    let subject = bed.bus.prefix.api(verb::LIST);
    call(
        &bed.bus.client,
        &subject,
        Encoding::Msgpack,
        &ListWorkersRequest::default(),
        e2e::DEADLINE,
    )
    .await
    .unwrap()
}

async fn outage(mut bed: Testbed) -> Duration {
    bed.nats.kill9().await;
    bed.nats.restart().await;
    let back = Instant::now();
    let bus = Bus::connect(&bed.nats.url()).await;
    bus.served(&bus.command(WORKER, verb::LIST)).await;
    back.elapsed()
}

fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}
