//! A worker that only takes commands: it says that it is there, and answers what a test says.

use std::sync::{Arc, Mutex};

use async_nats::Message;
use futures::StreamExt;
use serde_json::{Value, json};
use shared_msgs::{
    codec::{Encoding, decode},
    command::CommandRequest,
    error::{ErrorKind, ErrorReply},
    id::Id,
    name::WorkerName,
};
use tokio::task::JoinHandle;

use crate::bus::{Bus, name};

/// A command as the worker hears it.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The verb, as in the subject.
    pub verb: String,
    /// All workers were asked, not this one by its name.
    pub of_all: bool,
    /// The request, read from either encoding.
    pub request: CommandRequest,
}

/// Answers until it is dropped.
#[derive(Debug)]
pub struct PlayedCommands {
    bus: Bus,
    name: WorkerName,
    instance: Id,
    heard: Arc<Mutex<Vec<Heard>>>,
    answering: JoinHandle<()>,
}

impl PlayedCommands {
    /// A worker of that name. It answers each command with what `answer` makes of it; with nothing
    /// if that is `None`.
    pub async fn start(
        bus: &Bus,
        worker: &str,
        mut answer: impl FnMut(&Heard) -> Option<Value> + Send + 'static,
    ) -> PlayedCommands {
        let worker = name(worker);
        let own = format!("{}.*", bus.prefix.dest(&worker));
        let all = bus.prefix.command_of_all("*");
        let own = bus.client.subscribe(own).await.unwrap();
        let mut commands =
            futures::stream::select(own, bus.client.subscribe(all.clone()).await.unwrap());
        bus.client.flush().await.unwrap();
        let (instance, own_name) = (Id::generate(), worker.to_string());
        let (heard, client, all) = (
            Arc::new(Mutex::new(Vec::new())),
            bus.client.clone(),
            all.trim_end_matches('*').to_owned(),
        );
        let answering = tokio::spawn({
            let heard = heard.clone();
            async move {
                while let Some(message) = commands.next().await {
                    let Message { subject, reply, payload, .. } = message;
                    let verb = subject.rsplit('.').next().unwrap_or_default().to_owned();
                    let command = Heard {
                        verb,
                        of_all: subject.starts_with(&all),
                        request: decode(&payload).unwrap(),
                    };
                    heard.lock().unwrap().push(command.clone());
                    if let (Some(inbox), Some(mut answer)) = (reply, answer(&command)) {
                        // As its reports do.
                        answer["instance_id"] = json!(instance);
                        answer["worker"] = json!(own_name);
                        client
                            .publish(inbox, Encoding::Json.encode(&answer).unwrap().into())
                            .await
                            .unwrap();
                    }
                }
            }
        });
        PlayedCommands { bus: bus.clone(), name: worker, instance, heard, answering }
    }

    /// Reports a state, and waits until the state bucket has it. The threads are JSON.
    pub async fn report(&self, seq: u64, status: &str, threads: Value) {
        let snapshot = json!({
            "name": self.name.as_str(), "instance_id": self.instance, "seq": seq, "status": status, "ping_interval_ms": 60_000,
            "threads": threads,
        });
        let stored = self
            .bus
            .raw(&self.bus.prefix.state(&self.name), Encoding::Json.encode(&snapshot).unwrap())
            .await;
        let stored: Value = decode(&stored.payload).unwrap();
        assert!(stored["seq"].is_u64(), "not stored: {stored}");
    }

    /// What it has heard so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for PlayedCommands {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// What a worker says that did that to these threads.
pub fn bulk(worker: &str, threads: Value) -> Value {
    json!({"worker": worker, "instance_id": Id::NIL, "threads": threads})
}

/// What a worker says that did nothing.
pub fn refusal(kind: ErrorKind) -> Value {
    serde_json::to_value(ErrorReply::from(kind)).unwrap()
}
