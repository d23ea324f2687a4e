//! A command acts once, however often it is sent and whatever fails meanwhile.
//!
//! Every simulated world checks the same of the threads themselves (`e2e::simulation`), and unit
//! tests what a request id keeps (`store/results.rs`) and when the tools send again (`attempts.rs`).

mod cut;
mod late;
mod repeats;
mod tools;
mod under_fire;
