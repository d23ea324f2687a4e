//! Watching one worker: what it says on the bus, as it says it.

use std::{sync::Arc, time::Duration};

use async_nats::Subscriber;
use damocles_client::{
    connect::{Link, NatsSettings},
    state_bucket::LastReport,
    worker_client::{Via, WorkerClient},
};
use futures::{FutureExt, StreamExt};
use shared_msgs::{
    codec::decode,
    name::WorkerName,
    snapshot::{ThreadStatus, WorkerSnapshot, WorkerStatus, is_expired},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    CliError, Exit, Output, jsonl,
    nats::connect_to_stay,
    screen::{Frame, Frames, TICK, pace, watched},
    table::{Look, LookArgs, Shown},
    unanswered::unanswered,
};

/// How a tool shows a worker.
pub type Render = fn(&WorkerSnapshot, Output) -> Result<Shown, CliError>;

// The newest snapshot, and what is known of its age.
struct Seen {
    snapshot: WorkerSnapshot,
    age: Duration,
    at: Instant,
}

/// Shows the worker again whenever it changes, until the process is told to end; `client_name` is
/// what NATS shows of the connection.
pub async fn watch(
    settings: NatsSettings,
    client_name: &str,
    worker: WorkerName,
    (output, look): (Output, LookArgs),
    render: Render,
) -> Result<(), CliError> {
    watched(output, look, |frames| follow(settings, client_name, worker, frames, output, render))
        .await
}

async fn follow(
    settings: NatsSettings,
    client_name: &str,
    worker: WorkerName,
    frames: Frames,
    output: Output,
    render: Render,
) -> Result<(), CliError> {
    let (connection, link) = connect_to_stay(&settings, client_name).await?;
    let NatsSettings { prefix, timeout, .. } = settings;
    let subject = prefix.state(&worker);
    let unsubscribed = connection.unsubscribed(&*subject);
    let states = connection.client.subscribe(subject).await;
    let states = states.map_err(|error| CliError::new(Exit::Failed, error))?;
    let bus = Arc::new(connection);
    let worker = WorkerClient { bus, prefix, worker, via: Via::Worker, timeout };
    tokio::select! {
        ended = shown(worker, states, link, frames, output, render) => ended,
        denial = unsubscribed => Err(denial.into()),
    }
}

async fn shown(
    worker: WorkerClient,
    mut states: Subscriber,
    mut link: watch::Receiver<Link>,
    frames: Frames,
    output: Output,
    render: Render,
) -> Result<(), CliError> {
    let mut seen = first(&worker).await?;
    loop {
        let began = Instant::now();
        let connected = matches!(*link.borrow_and_update(), Link::Up(_));
        // Elsewhere than on a terminal the log says that NATS is gone.
        let outage = (!connected && frames.on_terminal)
            .then_some("the connection to NATS is lost: this is what was known then");
        let notes = outage
            .map(str::to_owned)
            .or_else(|| seen.trouble(worker.worker.as_str()))
            .into_iter()
            .collect();
        frames.show(seen.frame(output, render, notes)?).await;
        let took = began.elapsed();
        tokio::select! {
            message = states.next() => {
                let Some(message) = message else { return Err(CliError::new(Exit::Failed, "the connection to NATS was closed")) };
                seen.take(&message.payload);
            }
            () = sleep(TICK) => {}
            _ = link.changed() => {
                let is_back = matches!(*link.borrow(), Link::Up(_));
                // What it said meanwhile was not heard here.
                if is_back && let Ok(snapshot) = worker.list().await {
                    seen.take_snapshot(snapshot);
                }
            }
        }
        pace(began, took).await;
        while let Some(message) = states.next().now_or_never().flatten() {
            seen.take(&message.payload);
        }
    }
}

async fn first(worker: &WorkerClient) -> Result<Seen, CliError> {
    match worker.list().await {
        Ok(snapshot) => Ok(Seen { snapshot, age: Duration::ZERO, at: Instant::now() }),
        Err(error) => match error.last_report() {
            Some(LastReport { snapshot, age, .. }) => {
                Ok(Seen { snapshot: snapshot.clone(), age: *age, at: Instant::now() })
            }
            None => Err(unanswered(&worker.worker, &error)),
        },
    }
}

impl Seen {
    // What cannot be read changes nothing.
    fn take(&mut self, payload: &[u8]) {
        if let Ok(snapshot) = decode(payload) {
            self.take_snapshot(snapshot);
        }
    }

    fn take_snapshot(&mut self, snapshot: WorkerSnapshot) {
        let same = snapshot.instance_id == self.snapshot.instance_id;
        let is_news = match (snapshot.epoch, self.snapshot.epoch) {
            _ if same => snapshot.supersedes(&self.snapshot),
            (Some(its), Some(ours)) => its >= ours,
            _ => true,
        };
        if is_news {
            *self = Seen { snapshot, age: Duration::ZERO, at: Instant::now() };
        }
    }

    fn trouble(&self, worker: &str) -> Option<String> {
        let age = self.age + self.at.elapsed();
        match self.snapshot.status {
            WorkerStatus::Stopped => {
                Some(format!("worker {worker} was stopped: this is its last report"))
            }
            _ if is_expired(age, self.snapshot.ping_interval_ms) => Some(format!(
                "worker {worker} has not reported for three of its ping intervals: this is its last report"
            )),
            _ => None,
        }
    }

    fn frame(&self, output: Output, render: Render, notes: Vec<String>) -> Result<Frame, CliError> {
        let text = |snapshot: &WorkerSnapshot| match output {
            // A document a line, so that a reader knows where it ends.
            Output::Json => jsonl(std::slice::from_ref(snapshot)).map(Shown::from),
            _ => render(snapshot, output),
        };
        let mut still = self.snapshot.clone();
        (still.seq, still.taken_at) = (0, 0);
        each_elapsed(&mut still, |elapsed| *elapsed = 0);
        let mut now = self.snapshot.clone();
        let since = (self.age + self.at.elapsed()).as_millis() as u64;
        if now.status != WorkerStatus::Stopped && !matches!(output, Output::Json | Output::Jsonl) {
            each_elapsed(&mut now, |elapsed| *elapsed = elapsed.saturating_add(since));
        }
        let content = text(&still)?.text(&Look::default());
        Ok(Frame { shown: text(&now)?, content, notes })
    }
}

fn each_elapsed(snapshot: &mut WorkerSnapshot, change: impl Fn(&mut u64)) {
    for thread in &mut snapshot.threads {
        match &mut thread.status {
            ThreadStatus::Running { elapsed_ms, .. }
            | ThreadStatus::Waiting { elapsed_ms, .. }
            | ThreadStatus::PausePending { elapsed_ms, .. }
            | ThreadStatus::Paused { elapsed_ms, .. }
            | ThreadStatus::Unreachable { elapsed_ms, .. } => change(elapsed_ms),
            ThreadStatus::Idle | ThreadStatus::Other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared_msgs::id::Id;

    use super::*;

    fn snapshot(instance: Id, epoch: Option<u64>, seq: u64, elapsed_ms: u64) -> WorkerSnapshot {
        let threads = json!([{"index": 0, "state": "C1Done", "status": {"kind": "paused", "elapsed_ms": elapsed_ms, "by": "error"}}]);
        serde_json::from_value(
            json!({"instance_id": instance, "epoch": epoch, "seq": seq, "threads": threads}),
        )
        .unwrap()
    }

    fn plain(snapshot: &WorkerSnapshot, _: Output) -> Result<Shown, CliError> {
        Ok(crate::threads::plain(&snapshot.threads).into())
    }

    fn text(frame: &Frame) -> String {
        frame.shown.text(&Look::default())
    }

    fn seen(snapshot: WorkerSnapshot) -> Seen {
        Seen { snapshot, age: Duration::from_secs(7), at: Instant::now() }
    }

    #[test]
    fn ages_move_and_are_no_change() {
        let later = |seq, elapsed| {
            seen(snapshot(Id::NIL, None, seq, elapsed)).frame(Output::Plain, plain, vec![]).unwrap()
        };
        let (first, second) = (later(1, 10_000), later(2, 20_000));
        let ages = (text(&first).contains("17s"), text(&second).contains("27s"));
        assert_eq!(ages, (true, true), "{}", text(&first));
        assert_eq!(first.content, second.content);
        let frame = seen(snapshot(Id::NIL, None, 1, 10_000)).frame(Output::Json, plain, vec![]);
        let json = text(&frame.unwrap());
        assert!(json.contains("\"elapsed_ms\":10000") && json.lines().count() == 1, "{json}");
    }

    #[test]
    fn what_is_older_is_not_shown() {
        let (one, other) = (Id::generate(), Id::generate());
        let mut seen = seen(snapshot(one, Some(5), 7, 0));
        for older in [snapshot(one, Some(5), 7, 0), snapshot(other, Some(4), 99, 0)] {
            seen.take_snapshot(older);
            assert_eq!((seen.snapshot.instance_id, seen.age), (one, Duration::from_secs(7)));
        }
        seen.take_snapshot(snapshot(other, Some(6), 1, 0));
        assert_eq!((seen.snapshot.instance_id, seen.age), (other, Duration::ZERO));
        seen.take(b"garbage");
        assert_eq!(seen.snapshot.instance_id, other);
    }
}
