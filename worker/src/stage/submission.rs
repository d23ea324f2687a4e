//! What the sector manager's answers to submissions mean.

use shared_msgs::sector_manager::{OnChainState, PollReply, SubmitReply, SubmitResult};

use crate::failure::Failure;

/// What to do about a message on chain.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OnChain {
    Landed,
    PollAgain,
    Resubmit,
}

/// A submission that was taken goes on; another is a failure.
pub(super) fn accepted(what: &str, reply: SubmitReply) -> Result<(), Failure> {
    let why = |result: &str| with_reason(format!("{what}: {result}"), reply.desc.as_deref());
    match reply.res {
        SubmitResult::Accepted | SubmitResult::DuplicateSubmit => Ok(()),
        SubmitResult::MismatchedSubmission => Err(Failure::permanent(why("mismatched submission"))),
        SubmitResult::FilesMissed => Err(Failure::permanent(why("files missed"))),
        SubmitResult::Rejected => Err(Failure::abort(why("rejected"))),
    }
}

/// What became of a message on chain.
pub(super) fn on_chain(what: &str, reply: PollReply) -> Result<OnChain, Failure> {
    let why = |state: &str| with_reason(format!("{what}: {state}"), reply.desc.as_deref());
    match reply.state {
        OnChainState::Landed => Ok(OnChain::Landed),
        OnChainState::Pending | OnChainState::Packed => Ok(OnChain::PollAgain),
        OnChainState::Failed => Ok(OnChain::Resubmit),
        OnChainState::NotFound => Err(Failure::permanent(why("not found on chain"))),
        OnChainState::PermFailed => Err(Failure::permanent(why("failed on chain for good"))),
        OnChainState::ShouldAbort => {
            Err(Failure::abort(why("the sector manager wants the sector given up")))
        }
    }
}

fn with_reason(text: String, reason: Option<&str>) -> String {
    match reason {
        Some(reason) if !reason.is_empty() => format!("{text}: {reason}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Level;

    #[test]
    fn submissions_lead_where_the_spec_says() {
        let level = |res| {
            accepted("pre-commit", SubmitReply { res, desc: None })
                .err()
                .map(|failure| failure.level)
        };
        assert_eq!(level(SubmitResult::Accepted), None);
        assert_eq!(level(SubmitResult::DuplicateSubmit), None);
        assert_eq!(level(SubmitResult::MismatchedSubmission), Some(Level::Permanent));
        assert_eq!(level(SubmitResult::FilesMissed), Some(Level::Permanent));
        assert_eq!(level(SubmitResult::Rejected), Some(Level::Abort));
    }

    #[test]
    fn messages_on_chain_lead_where_the_spec_says() {
        let outcome = |state| {
            on_chain("proof", PollReply { state, desc: Some("x".into()) })
                .map_err(|failure| failure.level)
        };
        assert_eq!(outcome(OnChainState::Landed), Ok(OnChain::Landed));
        assert_eq!(outcome(OnChainState::Pending), Ok(OnChain::PollAgain));
        assert_eq!(outcome(OnChainState::Packed), Ok(OnChain::PollAgain));
        assert_eq!(outcome(OnChainState::Failed), Ok(OnChain::Resubmit));
        assert_eq!(outcome(OnChainState::NotFound), Err(Level::Permanent));
        assert_eq!(outcome(OnChainState::PermFailed), Err(Level::Permanent));
        assert_eq!(outcome(OnChainState::ShouldAbort), Err(Level::Abort));
    }
}
