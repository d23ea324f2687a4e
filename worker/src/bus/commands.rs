//! The worker's commands: the endpoints of one NATS service (ADR-32), the only subscriptions on
//! `cmd.<w>.*`; and beside them a subscription on what every worker hears. They are there while
//! this process holds its lease.
//!
//! Decisions 015, 024 in `docs/decisions`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_nats::{
    Client, Message, Subscriber,
    service::{Request, Service, ServiceExt, endpoint::Endpoint},
};
use damocles_client::connect::Link;
use damocles_daemon::answering;
use futures::{StreamExt, stream::select_all};
use shared_msgs::{
    command::{Verb, verb},
    subject::Prefix,
};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::sleep,
};
use tracing::{debug, info, warn};

use super::link::connected;
use crate::{
    commands::{Answer, Commands, Form},
    failpoint,
    identity::Worker,
    lease::LeaseState,
};

const SERVICE_NAME: &str = "damocles-worker";
const TRY_AGAIN: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 64;

/// Serves one worker's commands.
pub(crate) struct Server {
    /// What answers them.
    pub commands: Arc<Commands>,
    /// The connection.
    pub client: Client,
    /// First part of every subject.
    pub prefix: Prefix,
    /// Told whether commands are served: whoever sees the worker can command it.
    pub serving: watch::Sender<bool>,
}

struct Subscriptions {
    service: Service,
    endpoints: Vec<(&'static str, Endpoint)>,
    to_all: Subscriber,
}

impl Server {
    /// Serves until `stop`, whenever this process holds its lease.
    pub(crate) async fn run(
        &self,
        mut link: watch::Receiver<Link>,
        mut stop: oneshot::Receiver<()>,
    ) {
        let mut lease = self.commands.lease.clone();
        loop {
            tokio::select! {
                has = lease.wait_for(LeaseState::is_holder) => if has.is_err() { return },
                _ = &mut stop => return,
            }
            let subscriptions = tokio::select! {
                started = self.start(&mut link) => match started { Some(started) => started, None => return },
                _ = &mut stop => return,
            };
            self.serving.send_replace(true);
            info!(worker = %self.worker().name, dest = self.worker().dest(), "serving commands");
            let stopped = tokio::select! {
                () = self.serve(subscriptions, lease.clone()) => false,
                _ = &mut stop => true,
            };
            self.serving.send_replace(false);
            if stopped {
                return;
            }
        }
    }

    fn worker(&self) -> &Worker {
        &self.commands.worker
    }

    async fn start(&self, link: &mut watch::Receiver<Link>) -> Option<Subscriptions> {
        while connected(link).await {
            match self.subscribe().await {
                Ok(subscriptions) => return Some(subscriptions),
                Err(error) => warn!(%error, "commands cannot be served yet"),
            }
            sleep(TRY_AGAIN).await;
        }
        None
    }

    async fn subscribe(&self) -> Result<Subscriptions, async_nats::Error> {
        let worker = self.worker();
        let metadata = HashMap::from([
            ("name".to_owned(), worker.name.to_string()),
            ("dest".to_owned(), worker.dest()),
            ("instance_id".to_owned(), worker.instance_id.to_string()),
        ]);
        let shown = self.commands.worker.clone();
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
            endpoints.push((verb, builder.add(worker.command_subject(verb)).await?));
        }
        let to_all = self.client.subscribe(self.prefix.command_of_all("*")).await?;
        Ok(Subscriptions { service, endpoints, to_all })
    }

    // Until another process holds the lease, or the connection is closed.
    async fn serve(&self, subscriptions: Subscriptions, mut lease: watch::Receiver<LeaseState>) {
        let Subscriptions { service, endpoints, mut to_all } = subscriptions;
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut requests = select_all(
            endpoints
                .into_iter()
                .map(|(verb, endpoint)| endpoint.map(move |request| (verb, request))),
        );
        loop {
            let heard = tokio::select! {
                next = requests.next() => match next { Some((verb, request)) => Heard::One(verb, Box::new(request)), None => break },
                next = to_all.next() => match next { Some(message) => Heard::All(message), None => break },
                _ = lease.wait_for(|lease| !lease.is_holder()) => break,
            };
            // The semaphore is never closed.
            let Ok(slot) = slots.clone().acquire_owned().await else { break };
            failpoint::reach("task", "commands");
            let (commands, client) = (self.commands.clone(), self.client.clone());
            tokio::spawn(async move {
                serve_one(&commands, &client, heard).await;
                drop(slot);
            });
        }
        if let Err(error) = service.stop().await {
            debug!(%error, "stopping the service");
        }
    }
}

// A command, to this worker or to every worker.
enum Heard {
    One(&'static str, Box<Request>),
    All(Message),
}

async fn serve_one(commands: &Commands, client: &Client, heard: Heard) {
    let message = match &heard {
        Heard::One(_, request) => &request.message,
        Heard::All(message) => message,
    };
    let subject = &message.subject;
    let Some(inbox) = answering::inbox(message) else { return };
    let room = answering::room(client);
    let answering = async {
        match &heard {
            Heard::One(verb, _) => Some(commands.answer(verb, &message.payload, room).await),
            Heard::All(_) => {
                commands
                    .answer_all(
                        subject.rsplit('.').next().unwrap_or_default(),
                        &message.payload,
                        room,
                    )
                    .await
            }
        }
    };
    let answered = answering::answered(answering)
        .await
        .unwrap_or_else(|refusal| Some(Answer::refused(Form::of(&message.payload, room), refusal)));
    let Some(Answer { body, refusal }) = answered else { return };
    let sent = match &heard {
        // Through the service, which counts what it answers.
        Heard::One(_, request) => {
            let headers = answering::headers(refusal.as_ref());
            request.respond_with_headers(Ok(body.into()), headers).await
        }
        Heard::All(_) => answering::send(client, inbox, body.into(), refusal.as_ref()).await,
    };
    if let Err(error) = sent {
        warn!(%subject, %error, "an answer could not be sent");
    }
}
