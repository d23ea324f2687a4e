//! The mock sector manager: answers `sealer.*` as one that has a chain behind it on which everything succeeds at once.
//!
//! ```text
//!  allocate_sector ──▶ [`allocation`]  numbers from JetStream, the same for every mock manager
//!  assign_ticket, wait_seed ──▶ [`chain`]  randomness that any of them would hand out
//!  everything else ──▶ [`methods`]  accepted, landed, nothing to do
//! ```
//! It keeps no state of its own, so any number of them can run, stop and answer for each other.

use async_nats::Client;
use shared_msgs::{
    error::ErrorKind,
    sealer::{SealProofType, SectorId},
    subject::Prefix,
};

pub mod allocation;
pub mod chain;
pub mod methods;

/// What the mock sector manager has to offer.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Actor ids of the miners that it allocates sectors for.
    pub miners: Vec<u64>,
    /// How all of their sectors are sealed.
    pub proof_type: SealProofType,
}

/// A mock sector manager.
pub struct Mock {
    client: Client,
    prefix: Prefix,
    offer: Offer,
}

impl Mock {
    /// Offers sectors.
    pub fn new(client: Client, prefix: Prefix, offer: Offer) -> Self {
        Mock { client, prefix, offer }
    }

    fn check(&self, sector: SectorId) -> Result<(), ErrorKind> {
        match self.offer.miners.contains(&sector.miner) {
            true => Ok(()),
            false => Err(ErrorKind::SectorNotFound { sector: sector.to_string() }),
        }
    }
}
