//! One command for many threads: one request that every worker hears, and a reply from each.
//!
//! ```text
//!  damocles_client::bulk  whom to expect, asking all at once, and who has answered what
//!  report   (pure) a line for each thread, a summary, the exit code
//! ```

mod report;

use std::collections::BTreeMap;

use damocles_client::{
    bulk::{Reports, ScatterError, fleet::Fleet},
    bus::Denial,
    worker_client::{Via, signed},
};
use damocles_terminal::{
    CliError, Exit, ReplyOutput, confirm, listed, note, selectors::usage, table::LookArgs,
    unanswered::NOT_HEARD, verbs::OrderArgs,
};
use shared_msgs::{
    command::{BulkReply, CommandRequest, Verb},
    duration::human_secs,
    id::Id,
    name::WorkerName,
    selector::Selector,
};

use self::report::Report;
use super::{
    selectors::ManyArgs,
    session::{Session, no_manager},
};

/// A command for many threads.
#[derive(Debug)]
pub(super) struct BulkOrder {
    pub(super) verb: Verb,
    /// Its selector names the threads.
    pub(super) request: CommandRequest,
    pub(super) selector: Selector,
    /// Whether the threads are cordoned to get empty.
    pub(super) drains: bool,
    /// Whether somebody waits for what each worker was told.
    pub(super) waits: bool,
    pub(super) force: bool,
    pub(super) output: ReplyOutput,
    pub(super) look: LookArgs,
}

impl BulkOrder {
    /// The command for what was selected; `None` if nothing was. An error where it would give
    /// sectors up, and nobody can be asked.
    pub(super) fn new(
        verb: Verb,
        many: &ManyArgs,
        request: CommandRequest,
        order: &OrderArgs,
    ) -> Result<Option<BulkOrder>, CliError> {
        let Some(selector) = many.fleet.selector()? else { return Ok(None) };
        confirm::is_needed_for(request.state.as_deref(), many.force, order.dry_run)?;
        let request = CommandRequest { selector: Some(selector.clone()), ..order.sign(request) };
        let (force, output) = (many.force.force, order.output);
        Ok(Some(BulkOrder {
            verb,
            request,
            selector,
            drains: false,
            waits: false,
            force,
            output,
            look: many.look,
        }))
    }

    /// Carries it out, prints what came of it, and returns what each worker did.
    pub(super) async fn run(self, session: &Session) -> Result<Vec<BulkReply>, CliError> {
        let expected = self.expected(session).await?;
        if !self.force && !self.request.dry_run && confirm::is_possible() {
            let preview = self.give(session, true, expected.clone()).await?;
            if preview.summary.changed() > 0 {
                self.agreed(&preview).await?;
            } else if !self.drains {
                return preview.finish(self.output, self.look);
            }
        }
        let report = self.give(session, self.request.dry_run, expected).await?;
        let known = if self.waits { report.names_all() } else { Ok(()) };
        let replies = report.finish(self.output, self.look)?;
        known.map(|()| replies)
    }

    // The workers that are to answer, if that is known.
    async fn expected(
        &self,
        session: &Session,
    ) -> Result<Option<BTreeMap<WorkerName, Id>>, CliError> {
        let selection = self.selector.compile().map_err(usage)?;
        if session.system.via == Via::Manager {
            return Ok(None);
        }
        let fleet = match session.system.reports().await {
            Ok(Reports { workers, trouble }) => {
                trouble.iter().for_each(|trouble| note(trouble));
                Fleet::of(workers, &selection)
            }
            Err(why) => {
                let patience = human_secs(session.settings.timeout);
                note(&format!(
                    "{why}: which workers there are is unknown, and so is who does not answer within {patience}"
                ));
                return Ok(None);
            }
        };
        if fleet.expected.is_empty() {
            return Err(CliError::new(Exit::NotFound, "no worker that runs fits")
                .hint("`damocles-manager util worker list` shows the workers there are"));
        }
        if !fleet.expired.is_empty() {
            note(&format!(
                "these have not reported for long, and may not answer: {}",
                listed(&fleet.expired)
            ));
        }
        Ok(Some(fleet.expected))
    }

    // Shows what would be done, and asks.
    async fn agreed(&self, preview: &Report) -> Result<(), CliError> {
        let name = if self.drains { "drain" } else { self.verb.name() };
        let sectors = preview.lost();
        if sectors.is_empty() {
            preview.show();
            return confirm::ask(&preview.summary.question(name)).await;
        }
        preview.knows_all()?;
        preview.show();
        confirm::ask_giving_up(&sectors).await
    }

    async fn give(
        &self,
        session: &Session,
        dry_run: bool,
        expected: Option<BTreeMap<WorkerName, Id>>,
    ) -> Result<Report, CliError> {
        let request = signed(CommandRequest { dry_run, ..self.request.clone() });
        if session.system.via == Via::Manager {
            let gathered = session.system.order_all_by_manager(self.verb, &request).await;
            return Ok(Report::new(self.verb, &request, gathered.map_err(no_manager)?));
        }
        let gathered = session.system.order_all(self.verb, &request, expected).await;
        let gathered = gathered.map_err(|error| match error {
            ScatterError::Denied(denial @ Denial::Publish(_)) => denial.into(),
            ScatterError::Denied(denial) => CliError::from(denial).hint(NOT_HEARD),
            ScatterError::Failed { .. } => CliError::new(Exit::Failed, error),
            ScatterError::NotSentInTime => CliError::new(Exit::NoAnswer, error),
        })?;
        Ok(Report::new(self.verb, &request, gathered))
    }
}
