//! A sector manager that answers what a test wants, for tests about what the worker makes of the
//! answers. The mock of `damocles-manager` is there for everything else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::StreamExt;
use serde_json::{Value, json};
use shared_msgs::{
    codec::{Encoding, decode},
    error::{ErrorKind, ErrorReply},
    subject::SECTOR_MANAGER_QUEUE,
};
use tokio::task::JoinHandle;

use crate::{bus::Bus, testbed::MINER};

const RANDOMNESS: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// Answers until it is dropped.
#[derive(Debug)]
pub struct FakeSectorManager(JoinHandle<()>);

/// What a [`FakeSectorManager::with_sectors`] answers instead of that all goes well, by method.
#[derive(Clone, Debug, Default)]
pub struct Answers(Arc<Mutex<HashMap<&'static str, Value>>>);

impl Answers {
    /// Answers a method so from now on: with a [`result`] or a [`refusal`]. Reports are answered so
    /// only of the first sector.
    pub fn say(&self, method: &'static str, answer: Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(method, answer);
    }

    /// From now on all goes well with that method.
    pub fn go_well(&self, method: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(method);
    }

    fn wanted(&self, method: &str, body: &Value) -> Option<Value> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers
            .get(method)
            .filter(|_| method != "report_state" || body["sector"]["number"] == 1)
            .cloned()
    }
}

impl FakeSectorManager {
    /// Has sector after sector, on whose chain all goes well; what the answers hold it says
    /// instead.
    pub async fn with_sectors(bus: &Bus) -> (FakeSectorManager, Answers) {
        let answers = Answers::default();
        let wanted = answers.clone();
        let mut allocated: Vec<Value> = vec![];
        let answer = move |method: &str, body: Value| {
            if let Some(answer) = wanted.wanted(method, &body) {
                return answer;
            }
            result(match method {
                "allocate_sector" => {
                    let request = body["request_id"].clone();
                    let known = allocated.iter().position(|known| *known == request);
                    let number = known.unwrap_or_else(|| {
                        allocated.push(request);
                        allocated.len() - 1
                    });
                    json!({"id": {"miner": MINER, "number": number + 1}, "proof_type": 5})
                }
                "assign_ticket" => json!({"ticket": RANDOMNESS, "epoch": 1}),
                "wait_seed" => {
                    json!({"should_wait": false, "delay": 0, "seed": {"seed": RANDOMNESS, "epoch": 151}})
                }
                "submit_pre_commit" | "submit_proof" => json!({"res": "accepted"}),
                "poll_pre_commit_state" | "poll_proof_state" => json!({"state": "landed"}),
                "submit_persisted" => json!(true),
                "store_reserve_space" => json!({"name": body["candidates"][0], "path": ""}),
                // damocles writes an empty text where there is no reason.
                "report_state" => json!({"id": body["sector"], "abort_reason": ""}),
                "allocate_wdpost_job" => json!([]),
                _ => Value::Null,
            })
        };
        (FakeSectorManager::start(bus, answer).await, answers)
    }

    /// Answers every request with what `answer` makes of its method and body; see [`result`] and
    /// [`refusal`].
    pub async fn start(
        bus: &Bus,
        mut answer: impl FnMut(&str, Value) -> Value + Send + 'static,
    ) -> FakeSectorManager {
        let client = bus.client.clone();
        let mut requests = client
            .queue_subscribe(bus.prefix.sector_manager_of_all(), SECTOR_MANAGER_QUEUE.to_owned())
            .await
            .unwrap();
        client.flush().await.unwrap();
        FakeSectorManager(tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let method = request.subject.rsplit('.').next().unwrap_or_default();
                let reply = answer(method, decode(&request.payload).unwrap());
                let encoding = Encoding::of(&request.payload).unwrap();
                let inbox =
                    request.reply.clone().unwrap_or_else(|| panic!("{method} wants no answer"));
                client.publish(inbox, encoding.encode(&reply).unwrap().into()).await.unwrap();
            }
        }))
    }
}

impl Drop for FakeSectorManager {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The successful answer to a method, with this result.
pub fn result(result: Value) -> Value {
    json!({ "result": result })
}

/// A refusal for a reason of the sector manager's own.
pub fn refusal(detail: &str) -> Value {
    serde_json::to_value(ErrorReply::from(ErrorKind::internal(detail))).unwrap()
}
