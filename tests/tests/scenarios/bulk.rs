//! Commands for many threads.

mod gathering;
mod selectors;
