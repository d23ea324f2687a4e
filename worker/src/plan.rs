//! What moves a sector through its plan. The tables are in [`shared_msgs::plan`]; here is what they mean for a sector's
//! record.
//!
//! - [`inputs`]: what each state needs, so that a thread is resumed only where it can go on
//! - [`driver`]: one step of a plan: runs the stage, or asks for a sector, or ends one

pub mod driver;
pub mod inputs;
