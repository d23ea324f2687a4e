//! SubmitPreCommit and WaitPCLanded.

use shared_msgs::{
    plan::Event,
    sector_manager::{PollPreCommitState, PreCommitOnChainInfo, SubmitPreCommit},
};

use super::{
    Done, Job, field,
    submission::{OnChain, accepted, on_chain},
};
use crate::failure::Failure;

pub(super) async fn submit(job: &Job<'_>) -> Result<Done, Failure> {
    let info = PreCommitOnChainInfo {
        comm_r: *field(&job.sector.comm_r, "commR")?,
        comm_d: *field(&job.sector.comm_d, "commD")?,
        ticket: *field(&job.sector.ticket, "ticket")?,
    };
    let reset = job.sector.pre_commit_sent;
    let request =
        SubmitPreCommit { request_id: job.request_id, sector: job.sector.allocated, info, reset };
    accepted("pre-commit", job.ask(&request).await?)?;
    job.done(Event::SubmitPc, |sector| sector.pre_commit_sent = true)
}

pub(super) async fn wait_landed(job: &Job<'_>) -> Result<Done, Failure> {
    loop {
        let reply = job.ask(&PollPreCommitState { sector: job.id() }).await?;
        match on_chain("pre-commit", reply)? {
            OnChain::Landed => return job.done(Event::CheckPc, |_| {}),
            OnChain::Resubmit => return job.done(Event::ReSubmitPc, |_| {}),
            OnChain::PollAgain => job.poll_later("pre-commit to land").await,
        }
    }
}
