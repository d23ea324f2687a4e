//! Managers own no state.

mod several;
