//! Reaching damocles over NATS. A tour:
//!
//! - [`connect`]: the options, and the two ways to connect
//! - [`call`]: asking, and what an answer, a refusal and silence are; [`hedged`]: asking again
//! - [`jetstream`]: whether anything is kept; [`state_bucket`], [`lease`]: the buckets

pub mod call;
pub mod connect;
pub mod hedged;
pub mod jetstream;
pub mod lease;
pub mod state_bucket;
