//! What both daemons share, and nobody else: neither a client's program nor the messages need it.
//!
//! - [`config`]: strict configuration files; [`log`]: what is logged
//! - [`tasks`]: tasks that must not end while their process runs; [`standstill`]: what should go on
//!   and does not
//! - [`answering`]: the answering side of a request

pub mod answering;
pub mod config;
pub mod log;
pub mod standstill;
pub mod tasks;
