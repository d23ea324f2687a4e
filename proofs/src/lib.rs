//! The Filecoin proofs library as the worker uses it: plain paths instead of generic ones, so that
//! the library is compiled here once and not again with every change of the worker. A tour:
//!
//! - [`replica`]: sealing, upgrading and unsealing replicas, and their vanilla proofs
//! - [`parents`]: the parents cache, made once on a machine
//! - [`parameters`]: Groth16 parameters for development
//!
//! What the library offers without type parameters is used directly, as [`api`].
//!
//! Decision 002 in `docs/decisions`.

pub mod parameters;
pub mod parents;
pub mod replica;

pub use filecoin_proofs_api as api;
