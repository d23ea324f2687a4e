//! `util sealer`: what its verbs, and `util worker wdpost`, have in common: they ask a sector
//! manager of ours.

use clap::Subcommand;
use damocles_client::{
    call::{CallError, call, read},
    connect::NatsSettings,
};
use damocles_terminal::{CliError, Exit};
use shared_msgs::{
    codec::Encoding,
    error::ErrorKind,
    sector_manager::{SealerReply, SealerRequest},
};

use super::{proving, sectors, worker::Session};

/// What to do with what the sector manager knows.
#[derive(Subcommand, Debug)]
pub enum Sealer {
    /// See the sectors, and have something done with them
    #[command(subcommand)]
    Sectors(sectors::Verb),
    /// Proofs of sectors that are sealed
    #[command(subcommand)]
    Proving(proving::Verb),
}

/// Runs a verb.
pub async fn run(settings: NatsSettings, verb: Sealer) -> Result<(), CliError> {
    let session = Session::connect(settings).await?;
    match verb {
        Sealer::Sectors(verb) => sectors::run(&session, verb).await,
        Sealer::Proving(verb) => proving::run(&session, verb).await,
    }
}

impl Session {
    /// Asks a sector manager for something that changes nothing.
    pub(super) async fn read_sealer<R: SealerRequest>(
        &self,
        request: &R,
    ) -> Result<R::Reply, CliError> {
        let subject = self.settings.prefix.sealer(R::METHOD);
        let reply: Result<SealerReply<R::Reply>, _> =
            read(&self.client, &subject, Encoding::Msgpack, request, self.settings.timeout).await;
        Ok(reply.map_err(explain)?.result)
    }

    /// Asks a sector manager for a change.
    pub(super) async fn ask_sealer<R: SealerRequest>(
        &self,
        request: &R,
    ) -> Result<R::Reply, CliError> {
        let subject = self.settings.prefix.sealer(R::METHOD);
        let reply: Result<SealerReply<R::Reply>, _> =
            call(&self.client, &subject, Encoding::Msgpack, request, self.settings.timeout).await;
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
        CallError::BadReply(..) | CallError::NotSent(..) => (None, ""),
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

/// Goes from page to page; cursors rise, or this would never end.
pub(super) fn next_page<K: PartialOrd + std::fmt::Debug>(
    after: &Option<K>,
    next: Option<K>,
) -> Result<Option<K>, CliError> {
    match next {
        Some(next) if after.as_ref().is_some_and(|after| next <= *after) => Err(CliError::new(
            Exit::Failed,
            format!("the sector manager's list goes back to {next:?}"),
        )),
        next => Ok(next),
    }
}
