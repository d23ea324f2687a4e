//! What an operator types, and reads.

mod check;
mod config_show;
mod configuration;
mod decode;
mod generator;
mod hidden;
mod log_format;
mod names;
mod nats_client;
mod readme;
mod screens;
mod watch;
