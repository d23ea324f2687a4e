//! A connection to NATS, and whom it asks: a worker, any manager, or a sector manager of ours.

use std::sync::Arc;

use clap::Args;
use damocles_client::{
    call::{CallError, call, read},
    connect::{Link, NatsSettings},
    nats::Connection,
    system::{self, System},
    worker_client::{Via, WorkerClient},
};
use damocles_terminal::{CliError, Exit, nats::connect_to_stay};
use shared_msgs::{
    codec::Encoding, error::ErrorKind, sector_manager::SectorManagerReply, sectors::OperatorRequest,
};
use tokio::sync::watch;

/// What NATS shows of a tool's connection.
pub(super) const CLIENT_NAME: &str = "damocles-manager util";

#[derive(Args, Debug)]
pub struct Target {
    /// The worker's name or Dest, as `list` shows them
    #[arg(value_name = "WORKER")]
    pub worker: String,
}

/// A connection for commands.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) settings: NatsSettings,
    pub(super) system: System,
}

impl Session {
    pub(super) async fn connect(settings: NatsSettings) -> Result<Session, CliError> {
        Ok(Session::over(settings.connect_once(CLIENT_NAME).await?, settings))
    }

    fn over(connection: Connection, settings: NatsSettings) -> Session {
        let (prefix, timeout) = (settings.prefix.clone(), settings.timeout);
        let bus = Arc::new(connection.clone());
        let system = System { bus, prefix, via: Via::Worker, timeout };
        Session { connection, settings, system }
    }

    /// The same, which asks somebody else for what workers are to do.
    pub(super) fn via(mut self, via: Via) -> Session {
        self.system.via = via;
        self
    }

    /// See [`connect_to_stay`].
    pub(super) async fn connect_to_stay(
        settings: NatsSettings,
    ) -> Result<(Session, watch::Receiver<Link>), CliError> {
        let (connection, link) = connect_to_stay(&settings, CLIENT_NAME).await?;
        Ok((Session::over(connection, settings), link))
    }

    /// Somebody who commands the worker of that name or Dest.
    pub(super) fn worker(&self, name_or_dest: &str) -> Result<WorkerClient, CliError> {
        let worker = self.system.prefix.worker_named(name_or_dest);
        Ok(self.system.worker(worker.map_err(|error| CliError::new(Exit::Usage, error))?))
    }

    /// Asks a sector manager for something that changes nothing.
    pub(super) async fn read_sectors<R: OperatorRequest>(
        &self,
        request: &R,
    ) -> Result<R::Reply, CliError> {
        let subject = self.settings.prefix.sectors(R::METHOD);
        let reply: Result<SectorManagerReply<R::Reply>, _> =
            read(&*self.system.bus, &subject, Encoding::Msgpack, request, self.settings.timeout)
                .await;
        Ok(reply.map_err(explain)?.result)
    }

    /// Asks a sector manager for a change.
    pub(super) async fn ask_sectors<R: OperatorRequest>(
        &self,
        request: &R,
    ) -> Result<R::Reply, CliError> {
        let subject = self.settings.prefix.sectors(R::METHOD);
        let reply: Result<SectorManagerReply<R::Reply>, _> =
            call(&*self.system.bus, &subject, Encoding::Msgpack, request, self.settings.timeout)
                .await;
        let reply = reply.map_err(|error| match &error {
            CallError::TimedOut { .. } | CallError::BadReply(..) => {
                let message = format!(
                    "{error}; the outcome is unknown: it may have been done, or may still be"
                );
                CliError { message, ..error.into() }
                    .hint("look at the list before you repeat the command")
            }
            _ => explain(error),
        });
        Ok(reply?.result)
    }
}

/// Says what to do when no manager answers.
pub(super) fn no_manager(error: CallError) -> CliError {
    let message = match &error {
        CallError::NoResponders(_) => Some(format!("no manager is running: {error}")),
        CallError::TimedOut { .. } => Some(format!("no manager answers: {error}")),
        _ => None,
    };
    match message {
        Some(message) => CliError { message, ..error.into() }
            .hint("start one with `damocles-manager daemon`; `util worker info`, `pause` and `resume` work without a manager"),
        None => error.into(),
    }
}

fn explain(error: CallError) -> CliError {
    let (message, hint) = match &error {
        CallError::NoResponders(_) => (
            Some(format!("no sector manager is running: {error}")),
            "start one with `damocles-manager mock`; another one does not serve operators",
        ),
        CallError::TimedOut { .. } => (
            Some(format!("no sector manager answers: {error}")),
            "see its log, or wait longer with --timeout",
        ),
        CallError::Refused(body) => (None, hint(&body.kind)),
        CallError::Denied(_)
        | CallError::BadReply(..)
        | CallError::NotSent(..)
        | CallError::NotHeard(..) => (None, ""),
    };
    let text = message.unwrap_or_else(|| error.to_string());
    let error = CliError { message: text, ..error.into() };
    if hint.is_empty() { error } else { error.hint(hint) }
}

fn hint(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::SectorNotFound { .. } => {
            "`damocles-manager util sealer sectors list` shows the sectors there are"
        }
        ErrorKind::SectorNotFinished { .. } => {
            "wait until it is: `damocles-manager util sealer sectors list` shows its state"
        }
        ErrorKind::SectorBusy { .. } => {
            "wait until it has ended, or give it up with `damocles-manager util sealer sectors abort`"
        }
        ErrorKind::PieceNotFound { deals, .. } if !deals.is_empty() => {
            "name one of them with --piece"
        }
        ErrorKind::JobNotFound { .. } => {
            "`damocles-manager util worker wdpost list` shows the jobs there are"
        }
        _ => "",
    }
}

/// Goes from page to page of a sector manager's list.
pub(super) fn next_page<K: PartialOrd + std::fmt::Debug>(
    after: &Option<K>,
    next: Option<K>,
) -> Result<Option<K>, CliError> {
    system::next_page(after, next)
        .map_err(|error| CliError::new(Exit::Failed, format!("the sector manager's list {error}")))
}
