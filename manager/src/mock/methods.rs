//! Every method of the mock sector manager, one arm each.

use std::time::Duration;

use bytes::Bytes;
use shared_msgs::{
    codec::Encoding,
    error::ErrorKind,
    name::{MAX_NAME_BYTES, WorkerName},
    sector_manager::*,
    sectors::*,
    text::cut_text,
};
use tracing::{debug, info};

use super::{Mock, chain, jobs::check_store, record::SectorRecord};
use crate::bus::kv::failed;
use crate::bus::responder::answer;

// For JetStream to answer all of it, and for a look at the files.
const PATIENCE: Duration = Duration::from_secs(6);

impl Mock {
    /// Answers one request of the worker that the subject names.
    pub(crate) async fn handle_worker(
        &self,
        subject: &str,
        body: Bytes,
    ) -> Result<Vec<u8>, ErrorKind> {
        let (worker, method) = self
            .prefix
            .asked_of_sector_manager(subject)
            .ok_or_else(|| ErrorKind::bad_request(format!("{subject:?} names no worker")))?;
        in_time(self.answer_worker(Asked { worker: &worker, body: &body }, method)).await
    }

    /// Answers one request of an operator.
    pub(crate) async fn handle_operator(
        &self,
        method: &str,
        body: Bytes,
    ) -> Result<Vec<u8>, ErrorKind> {
        in_time(self.answer_operator(method, &body)).await
    }

    async fn answer_worker(&self, asked: Asked<'_>, method: &str) -> Result<Vec<u8>, ErrorKind> {
        match method {
            AllocateSector::METHOD => {
                reply(asked, async |r: AllocateSector| self.allocate(&r).await).await
            }
            AcquireDeals::METHOD => {
                reply(asked, async |r: AcquireDeals| self.acquire_deals(&r).await).await
            }
            AssignTicket::METHOD => {
                reply(asked, async |r: AssignTicket| {
                    Ok(chain::ticket(self.sector(r.sector).await?.id))
                })
                .await
            }
            SubmitPreCommit::METHOD => {
                let submit = async |r: SubmitPreCommit| {
                    Ok(self.update_sector(r.sector.id, |s| Ok(s.pre_commit(&r.info))).await?.1)
                };
                reply(asked, submit).await
            }
            PollPreCommitState::METHOD => {
                reply(asked, async |r: PollPreCommitState| {
                    self.sector(r.sector).await.map(|_| landed())
                })
                .await
            }
            SubmitPersisted::METHOD => {
                reply(asked, async |r: SubmitPersisted| self.persisted(&r).await).await
            }
            WaitSeed::METHOD => {
                let seed = async |r: WaitSeed| {
                    let seed = chain::seed(self.sector(r.sector).await?.id);
                    Ok(WaitSeedReply { should_wait: false, delay: 0, seed: Some(seed) })
                };
                reply(asked, seed).await
            }
            SubmitProof::METHOD => {
                reply(asked, async |r: SubmitProof| self.sector(r.sector).await.map(|_| accepted()))
                    .await
            }
            PollProofState::METHOD => {
                reply(asked, async |r: PollProofState| {
                    self.sector(r.sector).await.map(|_| landed())
                })
                .await
            }
            ReportState::METHOD => {
                reply(asked, async |r: ReportState| self.reported(r).await).await
            }
            ReportFinalized::METHOD => {
                reply(asked, async |r: ReportFinalized| self.finalized(r).await).await
            }
            ReportAborted::METHOD => {
                reply(asked, async |r: ReportAborted| self.given_up(r).await).await
            }
            AllocateSnapupSector::METHOD => {
                reply(asked, async |r: AllocateSnapupSector| self.allocate_snapup(&r).await).await
            }
            SubmitSnapupProof::METHOD => {
                reply(asked, async |r: SubmitSnapupProof| self.submit_snapup(r).await).await
            }
            AllocateRebuildSector::METHOD => {
                reply(asked, async |r: AllocateRebuildSector| self.allocate_rebuild(&r).await).await
            }
            AllocateUnsealSector::METHOD => {
                reply(asked, async |r: AllocateUnsealSector| self.allocate_unseal(&r).await).await
            }
            AchieveUnsealSector::METHOD => {
                reply(asked, async |r: AchieveUnsealSector| self.unsealed(r).await).await
            }
            AcquireUnsealDest::METHOD => {
                reply(asked, async |r: AcquireUnsealDest| self.unseal_dest(&r).await).await
            }
            AllocateWdpostJob::METHOD => {
                reply(asked, async |r: AllocateWdpostJob| {
                    self.allocate_wdpost(asked.worker, &r).await
                })
                .await
            }
            WdpostHeartbeat::METHOD => {
                reply(asked, async |r: WdpostHeartbeat| {
                    self.wdpost_heartbeat(asked.worker, &r).await
                })
                .await
            }
            WdpostFinish::METHOD => {
                reply(asked, async |r: WdpostFinish| self.finish_wdpost(asked.worker, &r).await)
                    .await
            }
            StoreReserveSpace::METHOD => {
                reply(asked, async |r: StoreReserveSpace| reserve(r)).await
            }
            GetStoreBasicInfo::METHOD => {
                reply(asked, async |r: GetStoreBasicInfo| self.store_info(r).await).await
            }
            unknown => Err(no_method(unknown)),
        }
    }

    async fn answer_operator(&self, method: &str, payload: &[u8]) -> Result<Vec<u8>, ErrorKind> {
        match method {
            ListSectors::METHOD => {
                list(payload, async |r: ListSectors, encoding| {
                    self.list_sectors(&r, encoding).await
                })
                .await
            }
            RebuildSector::METHOD => {
                list(payload, async |r: RebuildSector, _| self.rebuild_sector(&r).await).await
            }
            UnsealPiece::METHOD => {
                list(payload, async |r: UnsealPiece, _| self.unseal_piece(&r).await).await
            }
            AbortSector::METHOD => {
                list(payload, async |r: AbortSector, _| self.abort_sector(&r).await).await
            }
            RestoreSector::METHOD => {
                list(payload, async |r: RestoreSector, _| self.restore_sector(&r).await).await
            }
            FinalizeSector::METHOD => {
                list(payload, async |r: FinalizeSector, _| self.finalize_sector(&r).await).await
            }
            SimulateWdpost::METHOD => {
                list(payload, async |r: SimulateWdpost, _| self.simulate_wdpost(&r).await).await
            }
            ListWdpostJobs::METHOD => {
                list(payload, async |r: ListWdpostJobs, encoding| {
                    self.list_wdpost(&r, encoding).await
                })
                .await
            }
            ResetWdpostJobs::METHOD => {
                list(payload, async |r: ResetWdpostJobs, _| self.reset_wdpost(&r).await).await
            }
            RemoveWdpostJobs::METHOD => {
                list(payload, async |r: RemoveWdpostJobs, _| self.remove_wdpost(&r).await).await
            }
            unknown => Err(no_method(unknown)),
        }
    }

    async fn persisted(&self, request: &SubmitPersisted) -> Result<bool, ErrorKind> {
        check_store(&request.store)?;
        let persisted = |record: &mut SectorRecord| {
            record.persisted(&request.store, request.is_upgrade);
            Ok(())
        };
        self.update_sector(request.sector, persisted).await?;
        Ok(true)
    }

    async fn reported(&self, report: ReportState) -> Result<ReportStateReply, ErrorKind> {
        let (_, abort_reason) =
            self.update_sector(report.sector, |record| Ok(record.reported(&report))).await?;
        let StateChange { prev, next, event } = report.state_change;
        let failure = report.failure.map(|failure| format!("{}: {}", failure.level, failure.desc));
        if event == HEARTBEAT && abort_reason.is_none() {
            debug!(sector = %report.sector, worker = report.worker.instance, state = next, "heartbeat");
        } else {
            info!(sector = %report.sector, worker = report.worker.instance, prev, next, event, failure, abort_reason, "state");
        }
        Ok(ReportStateReply { id: report.sector, finalized: false, abort_reason })
    }

    async fn finalized(&self, request: ReportFinalized) -> Result<(), ErrorKind> {
        let finish = |record: &mut SectorRecord| {
            record.finish();
            Ok(())
        };
        self.update_sector(request.sector, finish).await?;
        info!(sector = %request.sector, "finalized");
        Ok(())
    }

    async fn given_up(&self, request: ReportAborted) -> Result<(), ErrorKind> {
        let (record, frees) = self
            .update_sector(request.sector, |record| Ok(record.give_up(&request.reason)))
            .await?;
        info!(sector = %request.sector, reason = request.reason, "aborted");
        if frees { self.free_deals(&record).await } else { Ok(()) }
    }

    async fn unsealed(&self, request: AchieveUnsealSector) -> Result<(), ErrorKind> {
        let AchieveUnsealSector { sector, piece_cid, error } = request;
        let unsealed = |record: &mut SectorRecord| {
            record.unsealed(&piece_cid, &error);
            Ok(())
        };
        self.update_sector(sector, unsealed).await?;
        info!(%sector, piece = piece_cid, error, "unsealed");
        Ok(())
    }

    // It knows stores by the names that workers told, and no paths.
    async fn store_info(
        &self,
        request: GetStoreBasicInfo,
    ) -> Result<Option<StoreBasicInfo>, ErrorKind> {
        let all = self.all_sectors(&self.records().await?).await?;
        let name = Some(request.name.as_str());
        let known = all.iter().any(|stored| {
            stored.value.store.as_deref() == name || stored.value.newest_store() == name
        });
        Ok(known.then(|| store(request.name)))
    }
}

// A worker's request: who asks is said by the subject, and by the body at most as well.
#[derive(Clone, Copy)]
struct Asked<'a> {
    worker: &'a WorkerName,
    body: &'a [u8],
}

async fn in_time(
    answering: impl Future<Output = Result<Vec<u8>, ErrorKind>>,
) -> Result<Vec<u8>, ErrorKind> {
    let answered = tokio::time::timeout(PATIENCE, answering).await;
    answered.unwrap_or_else(|_| Err(failed("it does not answer")))
}

async fn reply<R: WorkerRequest>(
    asked: Asked<'_>,
    act: impl AsyncFnOnce(R) -> Result<R::Reply, ErrorKind>,
) -> Result<Vec<u8>, ErrorKind> {
    list(asked.body, async |request: R, _| {
        match request.worker().filter(|named| *named != asked.worker.as_str()) {
            Some(other) => Err(ErrorKind::bad_request(format!(
                "worker {} asks as worker {:?}",
                asked.worker,
                cut_text(other, MAX_NAME_BYTES)
            ))),
            None => act(request).await,
        }
    })
    .await
}

// A method whose answer must fit into a message, which depends on the encoding.
async fn list<R: SectorManagerRequest>(
    payload: &[u8],
    act: impl AsyncFnOnce(R, Encoding) -> Result<R::Reply, ErrorKind>,
) -> Result<Vec<u8>, ErrorKind> {
    answer(payload, async |request: R, encoding| {
        Ok(SectorManagerReply { result: act(request, encoding).await? })
    })
    .await
}

fn no_method(unknown: &str) -> ErrorKind {
    ErrorKind::bad_request(format!("a sector manager has no method {unknown:?}"))
}

fn accepted() -> SubmitReply {
    SubmitReply { res: SubmitResult::Accepted, desc: None }
}

fn landed() -> PollReply {
    PollReply { state: OnChainState::Landed, desc: None }
}

// Any of the worker's candidates has room.
fn reserve(request: StoreReserveSpace) -> Result<Option<StoreBasicInfo>, ErrorKind> {
    Ok(request.candidates.into_iter().next().map(store))
}

fn store(name: String) -> StoreBasicInfo {
    StoreBasicInfo { name, path: String::new(), meta: None }
}
