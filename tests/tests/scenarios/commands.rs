//! Commands for one thread, and what becomes of a request.

mod cordon;
mod drain;
mod no_answer;
mod pause;
mod pause_now;
mod requests;
mod resume;
mod wait;
