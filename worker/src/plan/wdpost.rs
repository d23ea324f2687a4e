//! Plan `wdpost`: proves that the sectors of a partition are still there.

use super::input::Input;
use shared_msgs::plan::State;

/// What each state needs beyond what the states before it need.
pub(crate) const INPUTS: &[(State, &[Input])] =
    &[(State::Allocated, &[]), (State::Generated, &[Input::WindowProofs]), (State::Finished, &[])];
