//! Plan `snapup`: puts deals into a sealed sector without any (FIP-0019). The old replica stays in
//! its store, and is what the new one is made from and decoded with.

use super::input::Input;
use shared_msgs::plan::State;

/// What each state needs beyond what the states before it need.
pub(crate) const INPUTS: &[(State, &[Input])] = &[
    (State::Allocated, &[]),
    (State::PieceAdded, &[Input::UpgradePieces]),
    (State::TreeDBuilt, &[Input::UpgradeCommD]),
    (State::SnapEncoded, &[Input::UpgradeCommR]),
    (State::SnapProved, &[Input::UpgradeProof]),
    (State::Persisted, &[Input::PersistedFiles]),
    (State::Finished, &[]),
];
