//! What an operator types, and reads.

mod configuration;
mod decode;
mod generator;
mod hidden;
mod log_format;
mod names;
mod nats_client;
mod readme;
mod watch;
