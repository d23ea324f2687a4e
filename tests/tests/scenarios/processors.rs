//! External processors, and what there is a limited amount of.

mod deaths;
mod external;
mod limits;
mod scarcity;
