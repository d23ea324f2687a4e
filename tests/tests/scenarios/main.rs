//! Every scenario: real programs against a real nats-server, a folder a subject. tests/README.md
//! says which behaviour is where.

mod bulk;
mod bus;
mod cli;
mod client;
mod commands;
mod connect;
mod contract;
mod damocles;
mod events;
mod lease;
mod managers;
mod mock;
mod once;
mod processors;
mod repository;
mod sealing;
mod simulation;
mod stores;
