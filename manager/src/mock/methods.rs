//! Every method of the mock sector manager, one arm each.

use bytes::Bytes;
use shared_msgs::{error::ErrorKind, sealer::*};
use tracing::info;

use super::{Mock, chain};
use crate::bus::responder::answer;

impl Mock {
    /// Answers one request.
    pub async fn handle(&self, method: &str, payload: Bytes) -> Result<Vec<u8>, ErrorKind> {
        match method {
            AllocateSector::METHOD => {
                answer(&payload, async |request: AllocateSector, _| Ok(SealerReply { result: self.allocate(&request).await? })).await
            }
            // Every sector is a committed-capacity sector.
            AcquireDeals::METHOD => self.of_sector(&payload, |r: &AcquireDeals| r.sector, |_| None).await,
            AssignTicket::METHOD => self.of_sector(&payload, |r: &AssignTicket| r.sector, |r| chain::ticket(r.sector)).await,
            SubmitPreCommit::METHOD => self.of_sector(&payload, |r: &SubmitPreCommit| r.sector.id, |_| accepted()).await,
            PollPreCommitState::METHOD => self.of_sector(&payload, |r: &PollPreCommitState| r.sector, |_| landed()).await,
            SubmitPersisted::METHOD => self.of_sector(&payload, |r: &SubmitPersisted| r.sector, |_| true).await,
            WaitSeed::METHOD => {
                let seed = |r: WaitSeed| WaitSeedReply { should_wait: false, delay: 0, seed: Some(chain::seed(r.sector)) };
                self.of_sector(&payload, |r| r.sector, seed).await
            }
            SubmitProof::METHOD => self.of_sector(&payload, |r: &SubmitProof| r.sector, |_| accepted()).await,
            PollProofState::METHOD => self.of_sector(&payload, |r: &PollProofState| r.sector, |_| landed()).await,
            ReportState::METHOD => self.of_sector(&payload, |r: &ReportState| r.sector, reported).await,
            ReportFinalized::METHOD => {
                self.of_sector(&payload, |r: &ReportFinalized| r.sector, |r| info!(sector = %r.sector, "finalized")).await
            }
            ReportAborted::METHOD => {
                let said = |r: ReportAborted| info!(sector = %r.sector, reason = r.reason, "aborted");
                self.of_sector(&payload, |r| r.sector, said).await
            }
            // It has no old sectors, no pieces, no deadlines and no stores to offer.
            AllocateSnapupSector::METHOD => constant::<AllocateSnapupSector>(&payload, None).await,
            AllocateRebuildSector::METHOD => constant::<AllocateRebuildSector>(&payload, None).await,
            AllocateUnsealSector::METHOD => constant::<AllocateUnsealSector>(&payload, None).await,
            AllocateWdpostJob::METHOD => constant::<AllocateWdpostJob>(&payload, vec![]).await,
            StoreReserveSpace::METHOD => constant::<StoreReserveSpace>(&payload, None).await,
            GetStoreBasicInfo::METHOD => constant::<GetStoreBasicInfo>(&payload, None).await,
            known if METHODS.contains(&known) => Err(ErrorKind::bad_request(format!("the mock sector manager does not serve {known}"))),
            unknown => Err(ErrorKind::bad_request(format!("a sector manager has no method {unknown:?}"))),
        }
    }

    // A method about a sector, which must be one of our miners'.
    async fn of_sector<R: SealerRequest>(
        &self,
        payload: &[u8],
        sector: impl FnOnce(&R) -> SectorId,
        act: impl FnOnce(R) -> R::Reply,
    ) -> Result<Vec<u8>, ErrorKind> {
        let act = async |request: R, _| {
            self.check(sector(&request))?;
            Ok(SealerReply { result: act(request) })
        };
        answer(payload, act).await
    }
}

// A method that always answers the same.
async fn constant<R: SealerRequest>(payload: &[u8], result: R::Reply) -> Result<Vec<u8>, ErrorKind> {
    answer(payload, async |_: R, _| Ok(SealerReply { result })).await
}

fn accepted() -> SubmitReply {
    SubmitReply { res: SubmitResult::Accepted, desc: None }
}

fn landed() -> PollReply {
    PollReply { state: OnChainState::Landed, desc: None }
}

fn reported(report: ReportState) -> ReportStateReply {
    let StateChange { prev, next, event } = report.state_change;
    let failure = report.failure.map(|failure| format!("{}: {}", failure.level, failure.desc));
    info!(sector = %report.sector, worker = report.worker.instance, prev, next, event, failure, "state");
    ReportStateReply { id: report.sector, finalized: false, abort_reason: None }
}
