//! SubmitProof and WaitProofLanded.

use shared_msgs::{
    plan::Event,
    sector_manager::{PollProofState, SubmitProof},
};

use super::{
    Done, Job, field,
    submission::{OnChain, accepted, on_chain},
};
use crate::failure::Failure;

pub(super) async fn submit(job: &Job<'_>) -> Result<Done, Failure> {
    let proof = field(&job.sector.proof, "proof")?.clone();
    let request = SubmitProof {
        request_id: job.request_id,
        sector: job.id(),
        proof,
        reset: job.sector.proof_sent,
    };
    accepted("proof", job.ask(&request).await?)?;
    job.done(Event::SubmitProof, |sector| sector.proof_sent = true)
}

pub(super) async fn wait_landed(job: &Job<'_>) -> Result<Done, Failure> {
    loop {
        let reply = job.ask(&PollProofState { sector: job.id() }).await?;
        match on_chain("proof", reply)? {
            OnChain::Landed => return job.done(Event::Finish, |_| {}),
            OnChain::Resubmit => return job.done(Event::ReSubmitProof, |_| {}),
            OnChain::PollAgain => job.poll_later("proof to land").await,
        }
    }
}
