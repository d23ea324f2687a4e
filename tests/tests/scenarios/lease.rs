//! Who owns a worker's name.

mod lost;
mod owning;
mod same_name;
