//! Plan `unseal`: gets a piece out of a sealed sector and brings it where it is wanted.

use super::input::Input;
use shared_msgs::plan::State;

/// What each state needs beyond what the states before it need.
pub(crate) const INPUTS: &[(State, &[Input])] =
    &[(State::Allocated, &[]), (State::Unsealed, &[Input::UnsealedPiece]), (State::Finished, &[])];
