//! How the programs reach NATS, log in, and say why they cannot.

mod login;
mod permitted;
mod refused;
mod replaced;
mod secrets;
