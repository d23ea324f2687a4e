//! The worker's commands over NATS: the endpoints of one service (ADR-32), the only subscriptions on
//! `cmd.<w>.*`; and beside them a subscription on what every worker hears.
//!
//! Decision 015 in `docs/decisions`.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use async_nats::{
    Client, Message, Subscriber,
    service::{self, Service, ServiceExt},
};
use damocles_daemon::answering;
use futures::{FutureExt, Stream, StreamExt, stream::select_all};
use shared_msgs::command::{Verb, verb};
use tracing::{debug, warn};

use super::NatsBus;
use crate::{
    commands::{
        Answer,
        serve::{CommandSource, Request, Requests},
    },
    failpoint,
    identity::Worker,
};

const SERVICE_NAME: &str = "damocles-worker";

/// What is subscribed to.
pub struct Subscriptions {
    client: Client,
    service: Service,
    to_one: Pin<Box<dyn Stream<Item = (&'static str, service::Request)> + Send>>,
    to_all: Subscriber,
}

// A command, to this worker or to every worker.
enum Heard {
    One(&'static str, Box<service::Request>),
    All(Message),
}

impl CommandSource for NatsBus {
    type Requests = Subscriptions;

    async fn subscribe(&self, worker: &Arc<Worker>) -> Result<Subscriptions, String> {
        self.subscriptions(worker).await.map_err(|error| error.to_string())
    }
}

impl NatsBus {
    async fn subscriptions(
        &self,
        worker: &Arc<Worker>,
    ) -> Result<Subscriptions, async_nats::Error> {
        let metadata = HashMap::from([
            ("name".to_owned(), worker.name.to_string()),
            ("dest".to_owned(), worker.dest()),
            ("instance_id".to_owned(), worker.instance_id.to_string()),
        ]);
        let shown = worker.clone();
        let service = self
            .client
            .service_builder()
            .description(format!("sealing worker {}", worker.name))
            .metadata(metadata)
            .stats_handler(move |_, _| serde_json::json!(shown.snapshot().summary))
            .start(SERVICE_NAME, env!("CARGO_PKG_VERSION"))
            .await?;
        let mut endpoints = vec![];
        for verb in [verb::LIST].into_iter().chain(Verb::ALL.iter().map(|verb| verb.name())) {
            // A group of its own, or two instances would share the requests between them.
            let builder = service.endpoint_builder().name(verb).queue_group(worker.instance_id);
            let endpoint = builder.add(worker.command_subject(verb)).await?;
            endpoints.push(endpoint.map(move |request| (verb, request)));
        }
        let to_all = self.client.subscribe(self.prefix.command_of_all("*")).await?;
        let to_one = Box::pin(select_all(endpoints));
        Ok(Subscriptions { client: self.client.clone(), service, to_one, to_all })
    }
}

impl Requests for Subscriptions {
    async fn next(&mut self) -> Option<Request> {
        loop {
            let heard = tokio::select! {
                next = self.to_one.next() => next.map(|(verb, request)| Heard::One(verb, Box::new(request)))?,
                next = self.to_all.next() => Heard::All(next?),
            };
            failpoint::reach("task", "commands");
            if let Some(request) = heard.into_request(&self.client) {
                return Some(request);
            }
        }
    }

    async fn unsubscribe(self) {
        if let Err(error) = self.service.stop().await {
            debug!(%error, "stopping the service");
        }
    }
}

impl Heard {
    // `None` if its answer is not wanted in an inbox.
    fn into_request(self, client: &Client) -> Option<Request> {
        let (verb, message) = match &self {
            Heard::One(verb, request) => (*verb, &request.message),
            Heard::All(message) => {
                (message.subject.rsplit('.').next().unwrap_or_default(), message)
            }
        };
        let inbox = answering::inbox(message)?;
        let (verb, payload) = (verb.to_owned(), message.payload.to_vec());
        let (subject, client) = (message.subject.clone(), client.clone());
        let (to_all, room) = (matches!(self, Heard::All(_)), answering::room(&client));
        let answer = async move |Answer { body, refusal }: Answer| {
            let sent = match &self {
                // Through the service, which counts what it answers.
                Heard::One(_, request) => {
                    let headers = answering::headers(refusal.as_ref());
                    request.respond_with_headers(Ok(body.into()), headers).await
                }
                Heard::All(_) => {
                    answering::send(&client, inbox, body.into(), refusal.as_ref()).await
                }
            };
            if let Err(error) = sent {
                warn!(%subject, %error, "an answer could not be sent");
            }
        };
        let reply = Box::new(move |with| answer(with).boxed());
        Some(Request { verb, to_all, payload, room, reply })
    }
}
