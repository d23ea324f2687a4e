//! What becomes of a fleet when NATS, or the way to it, fails.

mod cluster;
pub(crate) mod cut;
mod half_alive;
mod nats_outage;
mod state_bucket;
