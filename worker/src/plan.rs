//! What moves a job through its plan. The tables of states are in [`shared_msgs::plan`]; here is
//! what they mean for a thread's record.
//!
//! - one module for each plan: what its states need
//! - [`input`]: what stages yield; [`inputs`]: what that means: where a thread can be resumed, and
//!   what is forgotten on the way back; [`tidy`]: what is removed on it
//! - [`allocate`]: asking for a job; [`end`]: reporting one that has ended
//! - [`driver`]: one step of a plan: asks for a job, runs a stage, or ends one; [`step`]: what that
//!   works with, and what it yields

pub mod allocate;
pub mod driver;
pub mod end;
pub mod input;
pub mod inputs;
pub mod niporep;
pub mod rebuild;
pub mod sealer;
pub mod snapup;
pub mod step;
mod tidy;
pub mod unseal;
pub mod wdpost;
