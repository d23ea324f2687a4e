//! Programs of damocles, played by real HTTP servers that are faithful to what was recorded from the
//! real ones (`tests/fixtures/damocles`).

pub mod sector_manager;
