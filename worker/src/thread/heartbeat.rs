//! Telling the sector manager that a job is still in hand: one that a worker has died with can be
//! given to another.
//!
//! Decisions 027, 028 in `docs/decisions`.

use std::{sync::Arc, time::Duration};

use shared_msgs::{
    plan::Plan,
    sector_manager::{HEARTBEAT, ReportState, StateChange, WdpostHeartbeat, WorkerPlace},
    snapshot::PausedBy,
};
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use super::{
    mailbox::{Message, ThreadHandle},
    verdict::{self, Verdict},
    view::ThreadView,
};
use crate::{
    failpoint,
    sector_manager::{SectorManager, ask_once},
};

/// The longest time between two heartbeats of a job that can be given to another worker.
const MAX_INTERVAL: Duration = Duration::from_secs(10);
/// A sector that is sealed stays with its thread: each so many heartbeats will do, for the answer's
/// sake. Even a thread that an error has paused learns so that its sector was given up.
const SEALING_EVERY: u32 = 6;

enum Beat {
    Sector(ReportState),
    Wdpost(WdpostHeartbeat),
}

/// Sends heartbeats for ever, as often as the worker reports, and at least every 10 s.
pub(crate) async fn send_all(
    worker: String,
    ping_interval: Duration,
    sector_manager: Arc<dyn SectorManager>,
    threads: Vec<ThreadHandle>,
) {
    let mut ticks = interval(ping_interval.min(MAX_INTERVAL));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for count in 0_u32.. {
        ticks.tick().await;
        failpoint::reach("task", "heartbeats");
        for thread in &threads {
            let (beat, job) = {
                let view = thread.view.borrow();
                (
                    beat_of(&worker, &view, count.is_multiple_of(SEALING_EVERY)),
                    view.record.job_name(),
                )
            };
            let (Some(beat), Some(job)) = (beat, job) else { continue };
            let verdict = send(&sector_manager, &beat).await;
            let is_news = match &verdict {
                Verdict::Nothing => false,
                Verdict::InHand => thread.view.borrow().verdict.is_some(),
                Verdict::Stop(_) => true,
            };
            if is_news {
                // A thread that has ended needs no telling.
                thread.mailbox.send(Message::Verdict { job, verdict }).await.ok();
            }
        }
    }
}

fn beat_of(worker: &str, view: &ThreadView, sealing_too: bool) -> Option<Beat> {
    let record = &view.record;
    match record.plan {
        Plan::Sealer | Plan::Snapup | Plan::Niporep if !sealing_too => None,
        Plan::Sealer | Plan::Snapup | Plan::Niporep | Plan::Rebuild | Plan::Unseal => {
            let state = record.state.name().to_owned();
            Some(Beat::Sector(ReportState {
                sector: record.sector()?.allocated.id,
                worker: WorkerPlace {
                    instance: worker.to_owned(),
                    location: view.location.display().to_string(),
                },
                state_change: StateChange {
                    prev: state.clone(),
                    next: state,
                    event: HEARTBEAT.into(),
                },
                failure: None,
            }))
        }
        // A proof that an error holds up is wanted within minutes: another worker may be able to
        // make it.
        Plan::Wdpost if record.paused().is_some_and(|paused| paused.by == PausedBy::Error) => None,
        Plan::Wdpost => {
            let job = record.wdpost()?.job.id.clone();
            Some(Beat::Wdpost(WdpostHeartbeat { jobs: vec![job], worker: worker.to_owned() }))
        }
    }
}

async fn send(sector_manager: &Arc<dyn SectorManager>, beat: &Beat) -> Verdict {
    let verdict = match beat {
        Beat::Sector(request) => ask_once(sector_manager, request)
            .await
            .map(|answer| verdict::on_sector(request.sector, answer)),
        Beat::Wdpost(request) => ask_once(sector_manager, request).await.map(verdict::on_job),
    };
    verdict.unwrap_or_else(|error| {
        debug!(%error, "a heartbeat was not answered");
        Verdict::Nothing
    })
}
