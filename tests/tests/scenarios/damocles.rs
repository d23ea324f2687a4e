//! Programs of damocles that already run, and ours beside them.

mod plans;
mod relay;
mod sidecar;
