//! Reaching damocles over NATS: whatever our own tools do, any program can. A tour:
//!
//! - [`connect`]: the options, and the two ways to connect
//! - [`system`]: a system's workers and managers; [`bulk`]: one command for many threads
//! - [`history`]: what happened
//! - [`worker_client`]: commanding one worker: orders and why they have no result, following it,
//!   waiting for what an order leads to
//! - [`bus`]: what all of this needs of a bus; [`nats`]: NATS as one
//! - [`call`]: asking, and what an answer, a refusal and silence are; [`hedged`],
//!   [`backoff`]: asking again; [`caller`]: who asks
//! - [`server_clock`]: until when a command may be carried out
//! - [`jetstream`]: whether anything is kept; [`state_bucket`]: the workers' last states;
//!   [`lease`]: who owns their names; [`entries`]: what a bucket holds

pub mod backoff;
pub mod bulk;
pub mod bus;
pub mod call;
pub mod caller;
pub mod connect;
mod denials;
pub mod entries;
pub mod hedged;
pub mod history;
pub mod jetstream;
pub mod lease;
pub mod nats;
pub mod server_clock;
pub mod state_bucket;
pub mod system;
pub mod worker_client;
