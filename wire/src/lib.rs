//! What a running damocles speaks, for a relay to its sector manager and a sidecar of its worker:
//! JSON-RPC 2.0 by HTTP, in the shapes of every release that is met.
//!
//! ```text
//!  address         a URL or a multiaddr, as damocles's configuration files have it
//!  json_rpc        one server: calls side by side, each with its time; why there is no result
//!  sector_manager  `Venus.*`, a damocles sector manager
//!  worker          `VenusWorker.*`, the socket of a damocles-worker
//! ```
//! Read in the public source of ipfs-force-community/damocles (v0.1.0 to v0.13.1), and compared with
//! exchanges that were recorded from the programs (`tests/fixtures/damocles`).

pub mod address;
pub mod json_rpc;
pub mod sector_manager;
pub mod worker;
