//! The stages SubmitProof and WaitProofLanded: the proof is handed in, and polled for until the
//! chain has it.

use shared_msgs::{
    plan::PlanEvent,
    sector_manager::{PollProofState, SubmitProof},
};

use super::{
    Done, StageRun, field,
    submission::{OnChain, accepted, on_chain},
};
use crate::failure::Failure;

pub(super) async fn submit(run: &StageRun<'_>) -> Result<Done, Failure> {
    let proof = field(&run.sector.proof, "proof")?.clone();
    let request = SubmitProof {
        request_id: run.request_id,
        sector: run.id(),
        proof,
        // Anything but what was handed in before is refused, unless the chain has refused that.
        reset: run.sector.proof_failed,
    };
    accepted("proof", run.ask(&request).await?)?;
    run.done(PlanEvent::SubmitProof, |sector| {
        (sector.proof_sent, sector.proof_failed) = (true, false);
    })
}

pub(super) async fn wait_landed(run: &StageRun<'_>) -> Result<Done, Failure> {
    loop {
        let reply = run.ask(&PollProofState { sector: run.id() }).await?;
        match on_chain("proof", reply)? {
            OnChain::Landed => return run.done(PlanEvent::Finish, |_| {}),
            OnChain::Resubmit => {
                return run.done(PlanEvent::ReSubmitProof, |sector| sector.proof_failed = true);
            }
            OnChain::PollAgain => run.poll_later("proof to land").await,
        }
    }
}
