//! Serving commands: they are taken while this process holds its lease, from whatever brings them,
//! and answered side by side.
//!
//! Decisions 015, 024 in `docs/decisions`.

use std::{sync::Arc, time::Duration};

use damocles_client::connect::Link;
use damocles_daemon::{answering, tasks::Tasks};
use futures::future::BoxFuture;
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::sleep,
};
use tracing::{info, warn};

use super::{Answer, Commands, Form};
use crate::{identity::Worker, lease::LeaseState, link::connected};

const TRY_AGAIN: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 64;

/// Where commands come from: NATS, or a simulation.
pub trait CommandSource: Send + Sync {
    /// The commands of one subscription.
    type Requests: Requests;
    /// Subscribes to the worker's commands, and to those that every worker hears.
    fn subscribe(
        &self,
        worker: &Arc<Worker>,
    ) -> impl Future<Output = Result<Self::Requests, String>> + Send;
}

/// Commands as they come in.
pub trait Requests: Send {
    /// The next one; `None` when there will be none any more.
    fn next(&mut self) -> impl Future<Output = Option<Request>> + Send;
    /// Gives the subscription back; what has come in is not served.
    fn unsubscribe(self) -> impl Future<Output = ()> + Send;
}

/// A command on its way.
pub struct Request {
    /// As in the subject.
    pub verb: String,
    /// Every worker hears it; else it is for this one.
    pub to_all: bool,
    /// The request as it came, in either encoding.
    pub payload: Vec<u8>,
    /// At most so many bytes can be answered.
    pub room: usize,
    /// Takes the answer, once.
    pub reply: Reply,
}

/// Sends the answer to whoever asked.
pub type Reply = Box<dyn FnOnce(Answer) -> BoxFuture<'static, ()> + Send>;

/// Serves one worker's commands.
pub struct Server {
    /// What reads requests and answers them.
    pub commands: Arc<Commands>,
    /// Where they are answered.
    pub tasks: Tasks,
    /// Told whether commands are served: whoever sees the worker can command it.
    pub serving: watch::Sender<bool>,
}

impl Server {
    /// Serves until `stop`, whenever this process holds its lease.
    pub async fn run(
        &self,
        bus: &impl CommandSource,
        mut link: watch::Receiver<Link>,
        mut stop: oneshot::Receiver<()>,
    ) {
        let mut lease = self.commands.lease.clone();
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => return,
                is = lease.wait_for(LeaseState::is_holder) => if is.is_err() { return },
            }
            let requests = tokio::select! {
                biased;
                _ = &mut stop => return,
                subscribed = self.subscribe(bus, &mut link) => match subscribed { Some(requests) => requests, None => return },
            };
            self.serving.send_replace(true);
            let worker = &self.commands.worker;
            info!(worker = %worker.name, dest = worker.dest(), "serving commands");
            let stopped = tokio::select! {
                biased;
                _ = &mut stop => true,
                () = self.serve(requests, lease.clone()) => false,
            };
            self.serving.send_replace(false);
            if stopped {
                return;
            }
        }
    }

    async fn subscribe<S: CommandSource>(
        &self,
        bus: &S,
        link: &mut watch::Receiver<Link>,
    ) -> Option<S::Requests> {
        while connected(link).await {
            match bus.subscribe(&self.commands.worker).await {
                Ok(requests) => return Some(requests),
                Err(error) => warn!(error, "commands cannot be served yet"),
            }
            sleep(TRY_AGAIN).await;
        }
        None
    }

    // Until another process holds the lease, or the connection is closed.
    async fn serve(&self, mut requests: impl Requests, mut lease: watch::Receiver<LeaseState>) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let request = tokio::select! {
                biased;
                _ = lease.wait_for(|lease| !lease.is_holder()) => break,
                next = requests.next() => match next { Some(request) => request, None => break },
            };
            // The semaphore is never closed.
            let Ok(slot) = slots.clone().acquire_owned().await else { break };
            let commands = self.commands.clone();
            self.tasks.start(async move {
                answer(&commands, request).await;
                drop(slot);
            });
        }
        requests.unsubscribe().await;
    }
}

async fn answer(commands: &Commands, request: Request) {
    let Request { verb, to_all, payload, room, reply } = request;
    let answering = async {
        match to_all {
            true => commands.answer_all(&verb, &payload, room).await,
            false => Some(commands.answer(&verb, &payload, room).await),
        }
    };
    let answered = answering::answered(answering)
        .await
        .unwrap_or_else(|refusal| Some(commands.refused(Form::of(&payload, room), refusal)));
    if let Some(answer) = answered {
        reply(answer).await;
    }
}
