//! Commands for one thread, and what becomes of a request.

mod by;
mod cordon;
mod drain;
mod dry_run;
mod giving_up;
mod named;
mod no_answer;
mod pause;
mod pause_now;
mod requests;
mod resume;
mod wait;
