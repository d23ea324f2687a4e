//! A sector's way through its plan, and what may happen on it.

mod crash;
mod ends;
mod failures;
mod layers;
mod parents;
mod pieces;
mod plans;
mod real_proofs;
mod retry;
mod session;
mod shutdown;
