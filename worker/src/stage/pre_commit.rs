//! The stages SubmitPreCommit and WaitPCLanded: the pre-commit is handed in, and polled for until
//! the chain has it.

use shared_msgs::{
    plan::PlanEvent,
    sector_manager::{PollPreCommitState, PreCommitOnChainInfo, SubmitPreCommit},
};

use super::{
    Done, StageRun, field,
    submission::{OnChain, accepted, on_chain},
};
use crate::failure::Failure;

pub(super) async fn submit(run: &StageRun<'_>) -> Result<Done, Failure> {
    let info = PreCommitOnChainInfo {
        comm_r: *field(&run.sector.comm_r, "commR")?,
        comm_d: *field(&run.sector.comm_d, "commD")?,
        ticket: *field(&run.sector.ticket, "ticket")?,
    };
    // Anything but what was handed in before is refused, unless the chain has refused that.
    let reset = run.sector.pre_commit_failed;
    let request =
        SubmitPreCommit { request_id: run.request_id, sector: run.sector.allocated, info, reset };
    accepted("pre-commit", run.ask(&request).await?)?;
    run.done(PlanEvent::SubmitPc, |sector| {
        (sector.pre_commit_sent, sector.pre_commit_failed) = (true, false);
    })
}

pub(super) async fn wait_landed(run: &StageRun<'_>) -> Result<Done, Failure> {
    loop {
        let reply = run.ask(&PollPreCommitState { sector: run.id() }).await?;
        match on_chain("pre-commit", reply)? {
            OnChain::Landed => return run.done(PlanEvent::CheckPc, |_| {}),
            OnChain::Resubmit => {
                return run.done(PlanEvent::ReSubmitPc, |sector| sector.pre_commit_failed = true);
            }
            OnChain::PollAgain => run.poll_later("pre-commit to land").await,
        }
    }
}
