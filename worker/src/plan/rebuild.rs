//! Plan `rebuild`: seals a sector again that is known to the chain, with its own ticket and pieces,
//! so that the same replica comes out; one that was upgraded is upgraded again.

use super::input::Input;
use shared_msgs::plan::State;

/// What each state needs beyond what the states before it need. A sector that was not upgraded
/// leaves out what belongs to the upgrade.
pub(crate) const INPUTS: &[(State, &[Input])] = &[
    (State::Allocated, &[]),
    (State::PieceAdded, &[Input::Pieces]),
    (State::TreeDBuilt, &[Input::CommD]),
    (State::Pc1Done, &[Input::Pc1Out]),
    (State::Pc2Done, &[Input::CommR]),
    (State::SealedChecked, &[Input::CheckedReplica]),
    (State::SnapPieceAdded, &[Input::UpgradePieces]),
    (State::SnapTreeDBuilt, &[Input::UpgradeCommD]),
    (State::SnapEncoded, &[Input::UpgradeCommR]),
    (State::SnapDone, &[]),
    (State::Persisted, &[Input::PersistedFiles]),
    (State::Finished, &[]),
];
