//! The bus as an operator's client has it, behind the port of `damocles_client`: the real client
//! decides when it asks again, and what silence means.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use damocles_client::bus::{Bus, Message, Stored, Unasked};
use futures::{
    FutureExt,
    future::{BoxFuture, pending},
    stream::{self, BoxStream},
};
use shared_msgs::{id::Id, name::WorkerName, subject::Prefix};
use tokio::{sync::mpsc, time::sleep};

use super::{
    bus::{self, Inbox, Sent},
    clock,
    world::World,
};

/// The bus as an operator's client has it.
pub struct ClientBus {
    world: Arc<World>,
    // Its inboxes, of which each is the prefix of subjects, in the order in which they were made.
    inboxes: Mutex<Vec<Option<mpsc::UnboundedSender<Message>>>>,
}

impl ClientBus {
    /// One that is there.
    pub fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(ClientBus { world, inboxes: Mutex::default() })
    }

    fn listener(&self, subject: &str) -> Option<mpsc::UnboundedSender<Message>> {
        self.with_inbox(subject, |listener| listener.clone())?
    }

    // `None` if the subject is in no inbox.
    fn with_inbox<T>(
        &self,
        subject: &str,
        work: impl FnOnce(&mut Option<mpsc::UnboundedSender<Message>>) -> T,
    ) -> Option<T> {
        let number: usize = subject.split('.').nth(1)?.parse().ok()?;
        let mut inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        inboxes.get_mut(number).map(work)
    }

    // A subject's workers and verb.
    fn send_to(&self, subject: &str, payload: Bytes, inbox: Inbox) -> Result<(), String> {
        let (prefix, names) = (Prefix::default(), &self.world.names);
        let verb = subject.rsplit('.').next().unwrap_or_default().to_owned();
        let to_all = subject == prefix.command_of_all(&verb);
        let hearing: Vec<usize> = (0..names.len())
            .filter(|name| to_all || subject == prefix.command(&names[*name], &verb))
            .collect();
        if hearing.is_empty() {
            return Err(format!("nobody could ever listen on {subject}"));
        }
        self.world.history().sent(&payload);
        bus::send(&self.world, hearing, Sent { verb, to_all, payload, inbox });
        Ok(())
    }
}

impl Bus for ClientBus {
    fn ask(&self, subject: String, request: Bytes) -> BoxFuture<'_, Result<Bytes, Unasked>> {
        async move {
            let (messages, mut answers) = mpsc::unbounded_channel();
            let inbox = Inbox { subject: "answer".into(), messages };
            self.send_to(&subject, request, inbox).map_err(Unasked::NotSent)?;
            match answers.recv().await {
                Some(Message { body: Some(body), .. }) => Ok(body),
                Some(Message { body: None, .. }) => Err(Unasked::NoResponders),
                // It was lost: the client has its own patience.
                None => pending().await,
            }
        }
        .boxed()
    }

    fn inbox(&self) -> String {
        let mut inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        inboxes.push(None);
        format!("inbox.{}", inboxes.len() - 1)
    }

    fn listen(
        &self,
        subject: String,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Message>, String>> {
        async move {
            let (messages, mut heard) = mpsc::unbounded_channel();
            self.with_inbox(&subject, |listener| *listener = Some(messages))
                .ok_or("only an inbox can be listened to here")?;
            Ok(Box::pin(stream::poll_fn(move |context| heard.poll_recv(context))) as _)
        }
        .boxed()
    }

    fn send(
        &self,
        subject: String,
        reply: String,
        request: Bytes,
    ) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let messages = self.listener(&reply).ok_or("nobody listens for the answers")?;
            self.send_to(&subject, request, Inbox { subject: reply, messages })
        }
        .boxed()
    }

    fn stored<'a>(
        &'a self,
        _prefix: &'a Prefix,
        worker: Option<&'a WorkerName>,
    ) -> BoxFuture<'a, Result<Vec<(WorkerName, Stored)>, String>> {
        async move {
            let fate = self.world.fate();
            if fate.lost_there || fate.lost_back {
                return pending().await;
            }
            sleep(fate.there + fate.back).await;
            let names = self.world.names.iter().enumerate();
            let stored = names.filter(|(_, name)| worker.is_none_or(|worker| worker == *name));
            let stored = stored.filter_map(|(number, name)| {
                let shown = self.world.shown(number)?;
                let body = serde_json::to_vec(&*shown.snapshot).unwrap().into();
                let age = Duration::from_millis(clock::unix_ms() - shown.at);
                Some((name.clone(), Stored { body, age, revision: shown.revision }))
            });
            Ok(stored.collect())
        }
        .boxed()
    }

    fn holder<'a>(
        &'a self,
        _prefix: &'a Prefix,
        worker: &'a WorkerName,
    ) -> BoxFuture<'a, Result<Option<Id>, String>> {
        async move {
            let fate = self.world.fate();
            if fate.lost_there || fate.lost_back {
                return pending().await;
            }
            sleep(fate.there).await;
            let number = self.world.names.iter().position(|name| name == worker);
            let number = number.ok_or("there is no such name")?;
            let holder = self.world.server().leases[number].holder(clock::unix_ms());
            sleep(fate.back).await;
            Ok(holder)
        }
        .boxed()
    }

    fn server_time_ms<'a>(&'a self, _prefix: &'a Prefix) -> BoxFuture<'a, Result<i64, String>> {
        async move {
            let fate = self.world.fate();
            if fate.lost_there || fate.lost_back {
                return pending().await;
            }
            sleep(fate.there).await;
            let shown = clock::unix_ms() as i64;
            sleep(fate.back).await;
            Ok(shown)
        }
        .boxed()
    }

    fn state_bucket_trouble<'a>(&'a self, _prefix: &'a Prefix) -> BoxFuture<'a, Option<String>> {
        async { None }.boxed()
    }
}
