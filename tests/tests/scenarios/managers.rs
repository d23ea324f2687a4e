//! Managers own no state.

mod orders;
mod several;
