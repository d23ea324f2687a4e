//! What happened, as it is kept and told.

mod history;
mod stream;
