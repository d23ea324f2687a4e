//! One command for many threads: one request that every worker hears, and a reply from each.
//!
//! ```text
//!  damocles_client::bulk  whom to expect, asking all at once, and who has answered what
//!  report   (pure) a line for each thread, a summary, the exit code
//!  confirm  on a terminal: shows what would be done, and asks
//! ```

mod confirm;
mod report;

use std::io::IsTerminal;

use damocles_client::{
    bulk::{Reports, ScatterError, fleet::Fleet},
    worker_client::signed,
};
use damocles_terminal::{CliError, Exit, ReplyOutput, note};
use shared_msgs::{
    command::{CommandRequest, Verb},
    duration::human_secs,
    name::WorkerName,
    selector::Selector,
};

use self::report::{Report, listed};
use super::{
    selectors::{ManyArgs, usage},
    session::Session,
};

/// A command for many threads.
#[derive(Debug)]
pub(super) struct BulkOrder {
    pub(super) verb: Verb,
    /// Its selector names the threads.
    pub(super) request: CommandRequest,
    pub(super) selector: Selector,
    pub(super) force: bool,
    pub(super) output: ReplyOutput,
}

impl BulkOrder {
    /// The command for what was selected; `None` if nothing was.
    pub(super) fn new(
        verb: Verb,
        many: &ManyArgs,
        request: CommandRequest,
        output: ReplyOutput,
    ) -> Result<Option<BulkOrder>, CliError> {
        let Some(selector) = many.selectors.selector()? else { return Ok(None) };
        let request =
            CommandRequest { selector: Some(selector.clone()), dry_run: many.dry_run, ..request };
        Ok(Some(BulkOrder { verb, request, selector, force: many.force, output }))
    }

    /// Carries it out, and prints what came of it.
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let selection = self.selector.compile().map_err(usage)?;
        let fleet = match session.system.reports().await {
            Ok(Reports { workers, trouble }) => {
                trouble.iter().for_each(|trouble| note(trouble));
                Some(Fleet::of(workers, &selection))
            }
            Err(why) => {
                let patience = human_secs(session.settings.timeout);
                note(&format!(
                    "{why}: which workers there are is unknown, and so is who does not answer within {patience}"
                ));
                None
            }
        };
        if let Some(fleet) = &fleet {
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
        }
        let expected = fleet.map(|fleet| fleet.expected);
        let (stdin, stderr) = (std::io::stdin().is_terminal(), std::io::stderr().is_terminal());
        if confirm::is_wanted(self.force, self.request.dry_run, stdin, stderr) {
            let preview = self.give(session, true, expected.clone()).await?;
            if preview.summary.changed() == 0 {
                return preview.finish(self.output);
            }
            if !confirm::ask(&preview).await? {
                return Err(CliError::new(Exit::Failed, "not confirmed: nothing was done"));
            }
        }
        self.give(session, self.request.dry_run, expected).await?.finish(self.output)
    }

    async fn give(
        &self,
        session: &Session,
        dry_run: bool,
        expected: Option<Vec<WorkerName>>,
    ) -> Result<Report, CliError> {
        let request = signed(CommandRequest { dry_run, ..self.request.clone() });
        let gathered = session.system.order_all(self.verb, &request, expected).await;
        let gathered = gathered.map_err(|error| match error {
            ScatterError::Failed { .. } => CliError::new(Exit::Failed, error),
            ScatterError::NotSentInTime => CliError::new(Exit::NoAnswer, error),
        })?;
        Ok(Report::new(self.verb, &request, gathered))
    }
}
