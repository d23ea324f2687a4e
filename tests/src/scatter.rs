//! One command that every worker hears, and what each of them answers.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use shared_msgs::{
    codec::{Encoding, decode},
    command::{BulkReply, CommandRequest, Verb},
};
use tokio::time::timeout;

use crate::{DEADLINE, bus::Bus};

impl Bus {
    /// Gives a command to all workers, and collects the answers of `workers`. Fails the test if
    /// anybody else answers, until all of the `running` ones have answered something that was sent
    /// later.
    pub async fn order_all(
        &self,
        verb: Verb,
        encoding: Encoding,
        request: &CommandRequest,
        workers: usize,
        running: usize,
    ) -> Vec<Value> {
        let body = encoding.encode(request).unwrap();
        let (answers, fence) = (self.client.new_inbox(), self.client.new_inbox());
        let mut received = self.client.subscribe(answers.clone()).await.unwrap();
        let mut fenced = self.client.subscribe(fence.clone()).await.unwrap();
        let subject = self.prefix.command_of_all(verb.name());
        self.client.publish_with_reply(subject.clone(), answers, body.into()).await.unwrap();
        let collecting = async {
            let mut bodies: Vec<Bytes> = vec![];
            while bodies.len() < workers {
                bodies.extend(received.next().await.map(|answer| answer.payload));
            }
            let later = json!({"selector": {"all": true}, "dry_run": true}).to_string();
            self.client.publish_with_reply(subject, fence, later.into()).await.unwrap();
            for _ in 0..running {
                fenced.next().await;
            }
            received.unsubscribe().await.unwrap();
            while let Some(answer) = received.next().await {
                bodies.push(answer.payload);
            }
            bodies
        };
        let bodies = timeout(DEADLINE, collecting)
            .await
            .unwrap_or_else(|_| panic!("not {workers} answers to {request:?}"));
        assert!(
            bodies.iter().all(|body| Encoding::of(body).unwrap() == encoding),
            "not in the request's encoding"
        );
        let answers: Vec<Value> = bodies.iter().map(|body| decode(body).unwrap()).collect();
        assert_eq!(answers.len(), workers, "{request:?} was answered by {answers:?}");
        answers
    }

    /// Gives a command for many threads to one worker.
    pub async fn order_many(
        &self,
        worker: &str,
        verb: Verb,
        request: &CommandRequest,
    ) -> Result<BulkReply, damocles_client::call::CallError> {
        self.ask(worker, verb.name(), request).await
    }
}

/// Which threads of which workers were selected.
pub fn selected(answers: &[Value]) -> BTreeMap<String, Vec<u32>> {
    let replies =
        answers.iter().map(|answer| serde_json::from_value::<BulkReply>(answer.clone()).unwrap());
    replies
        .map(|reply| (reply.worker, reply.threads.iter().map(|thread| thread.index).collect()))
        .collect()
}
