//! A sector manager that answers what a test wants, for tests about what the worker makes of the answers. The mock of
//! `damocles-manager` is there for everything else.

use futures::StreamExt;
use serde_json::{Value, json};
use shared_msgs::{
    codec::{Encoding, decode},
    error::{ErrorKind, ErrorReply},
    subject::SEALER_QUEUE,
};
use tokio::task::JoinHandle;

use crate::bus::Bus;

/// Answers until it is dropped.
#[derive(Debug)]
pub struct FakeSectorManager(JoinHandle<()>);

impl FakeSectorManager {
    /// Answers every request with what `answer` makes of its method and body; see [`result`] and [`refusal`].
    pub async fn start(bus: &Bus, mut answer: impl FnMut(&str, Value) -> Value + Send + 'static) -> FakeSectorManager {
        let client = bus.client.clone();
        let mut requests = client.queue_subscribe(bus.prefix.sealer("*"), SEALER_QUEUE.to_owned()).await.unwrap();
        client.flush().await.unwrap();
        FakeSectorManager(tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let method = request.subject.rsplit('.').next().unwrap_or_default();
                let reply = answer(method, decode(&request.payload).unwrap());
                let encoding = Encoding::of(&request.payload).unwrap();
                let inbox = request.reply.clone().unwrap_or_else(|| panic!("{method} wants no answer"));
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

/// A method's result.
pub fn result(result: Value) -> Value {
    json!({ "result": result })
}

/// A refusal for a reason of the sector manager's own.
pub fn refusal(detail: &str) -> Value {
    serde_json::to_value(ErrorReply::from(ErrorKind::internal(detail))).unwrap()
}
