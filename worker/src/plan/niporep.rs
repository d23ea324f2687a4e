//! Plan `niporep`: seals new sectors with the non-interactive PoRep (FIP-0092): without deals, and
//! without a pre-commit.

use super::input::Input;
use shared_msgs::plan::State;

/// What each state needs beyond what the states before it need.
pub(crate) const INPUTS: &[(State, &[Input])] = &[
    (State::Allocated, &[]),
    (State::DealsAcquired, &[Input::Deals]),
    (State::PieceAdded, &[Input::Pieces]),
    (State::TreeDBuilt, &[Input::CommD]),
    (State::TicketAssigned, &[Input::Ticket]),
    (State::Pc1Done, &[Input::Pc1Out]),
    (State::Pc2Done, &[Input::CommR]),
    (State::Persisted, &[Input::PersistedFiles]),
    (State::PersistanceSubmitted, &[]),
    (State::SeedAssigned, &[Input::Seed]),
    (State::C1Done, &[Input::C1Out]),
    (State::C2Done, &[Input::Proof]),
    (State::ProofSubmitted, &[Input::SubmittedProof]),
    (State::Finished, &[]),
];
