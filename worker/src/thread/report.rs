//! Telling the sector manager what a thread did. Best effort: the thread never waits for it, and
//! what cannot be told now is told by the next report. When the answer says that the sector manager
//! has ended the sector, its thread is told (damocles issue 737).

use std::sync::Arc;

use damocles_daemon::tasks::Tasks;
use shared_msgs::{
    plan::State,
    sector_manager::{ReportState, ReportedFailure, SectorId, StateChange, WorkerPlace},
};
use tokio::sync::mpsc;
use tracing::debug;

use super::{
    mailbox::Message,
    verdict::{self, Verdict},
};
use crate::{
    failpoint,
    failure::Failure,
    sector_manager::{SectorManager, ask_once},
};

const BACKLOG: usize = 256;

/// What a thread did.
#[derive(Debug)]
pub struct Report {
    /// Which one, as `{miner, number}`.
    pub sector: SectorId,
    /// The directory that the thread works in, as the snapshots name it.
    pub location: String,
    /// The state that the step began in.
    pub from: State,
    /// The state that is committed now; the same after a failure.
    pub to: State,
    /// What led from one to the other.
    pub event: String,
    /// The failure, if it is one.
    pub failure: Option<Failure>,
    /// Gets what the sector manager answers.
    pub thread: mpsc::Sender<Message>,
}

/// Where threads put their reports.
#[derive(Clone)]
pub struct Reports(mpsc::Sender<Report>);

impl Reports {
    /// Starts the task that sends them.
    pub fn start(tasks: &Tasks, worker: String, sector_manager: Arc<dyn SectorManager>) -> Self {
        let (sender, inbox) = mpsc::channel(BACKLOG);
        tasks.spawn("reports state changes", send_all(worker, sector_manager, inbox));
        Reports(sender)
    }

    /// Sends a report when the sector manager can be asked; drops it when too many wait already.
    pub fn send(&self, report: Report) {
        if let Err(error) = self.0.try_send(report) {
            debug!(%error, "a state report was dropped");
        }
    }
}

async fn send_all(
    worker: String,
    sector_manager: Arc<dyn SectorManager>,
    mut inbox: mpsc::Receiver<Report>,
) {
    while let Some(report) = inbox.recv().await {
        failpoint::reach("task", "reports");
        let request = ReportState {
            sector: report.sector,
            worker: WorkerPlace { instance: worker.clone(), location: report.location },
            state_change: StateChange {
                prev: report.from.name().into(),
                next: report.to.name().into(),
                event: report.event,
            },
            failure: report.failure.map(|failure| ReportedFailure {
                level: failure.level.name().into(),
                desc: failure.message,
            }),
        };
        let verdict = match ask_once(&sector_manager, &request).await {
            Ok(Ok(reply)) => verdict::on_sector(report.sector, Ok(reply)),
            // What that means, the next heartbeat hears: a pause is reported too, and must not lead
            // to another one.
            Ok(Err(failure)) => {
                debug!(%failure, "a state report was refused");
                continue;
            }
            Err(error) => {
                debug!(%error, "a state report was not answered");
                continue;
            }
        };
        if matches!(verdict, Verdict::Stop(_)) {
            // A thread that has ended needs no telling.
            report
                .thread
                .send(Message::Verdict { job: report.sector.to_string(), verdict })
                .await
                .ok();
        }
    }
}
