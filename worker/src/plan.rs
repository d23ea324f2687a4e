//! What moves a job through its plan. The tables of states are in [`shared_msgs::plan`]; here is
//! what they mean for a thread's record.
//!
//! - one module for each plan: what its states need
//! - [`input`]: what stages yield; [`inputs`]: what that means: where a thread can be resumed, and
//!   what is forgotten on the way back; [`tidy`]: what is removed on it
//! - [`allocate`]: asking for a job; [`end`]: reporting one that has ended
//! - [`driver`]: one step of a plan: asks for a job, runs a stage, or ends one; [`step`]: what that
//!   works with, and what it yields

pub(crate) mod allocate;
pub(crate) mod driver;
pub(crate) mod end;
pub(crate) mod input;
pub(crate) mod inputs;
pub(crate) mod niporep;
pub(crate) mod rebuild;
pub(crate) mod sealer;
pub(crate) mod snapup;
pub mod step;
mod tidy;
pub(crate) mod unseal;
pub(crate) mod wdpost;
