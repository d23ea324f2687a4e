//! The mock sector manager: answers `sector_manager.*.*` and `sectors.*` as one that has a chain behind it on which
//! everything succeeds at once.
//!
//! ```text
//!  allocate_sector ──▶ [`allocation`]  numbers from JetStream, the same for every mock manager
//!  assign_ticket, wait_seed ──▶ [`chain`]  randomness that any of them would hand out
//!  reports, submissions ──▶ [`record`]  what is known of a sector, kept by [`records`]
//!  acquire_deals ──▶ [`deals`] ◀── [`pieces`]  files, by their commitments ([`commp`]); [`http`] serves their bytes
//!  jobs on finished sectors ──▶ [`jobs`] hands out, [`job`] says what becomes of them; [`wdpost`] has its own
//!  an operator's wishes ──▶ [`operator`]
//! ```
//! All of its state is in JetStream ([`kv`](crate::bus::kv)), so any number of them can run, stop and answer for
//! each other.
//!
//! What always holds:
//! - A request id has the same answer from all of them, however often it is asked.
//! - No sector number and no deal is given out twice, by one of them or by two.
//! - Every change is a compare-and-set of one key: of two at once, one is done again on what the
//!   other has left.
//! - What a worker says is checked before it is kept: it may be repeated, late, or another one's.
//!
//! Tests: `record_tests.rs`, `wdpost_tests.rs`, and the scenarios `mock::*` and `sealing::plans`.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use async_nats::Client;
use shared_msgs::{
    sector_manager::{SealProofType, SealVersion, SectorSize},
    subject::Prefix,
};

use self::pieces::PieceFiles;

pub(crate) mod allocation;
pub(crate) mod chain;
pub(crate) mod commp;
pub(crate) mod deals;
pub(crate) mod http;
pub(crate) mod job;
pub(crate) mod jobs;
pub(crate) mod methods;
pub(crate) mod operator;
pub(crate) mod pieces;
pub(crate) mod record;
pub(crate) mod records;
pub(crate) mod wdpost;

/// A worker that has been silent for so long has lost its job.
pub(crate) const JOB_EXPIRATION: Duration = Duration::from_secs(60);

/// What the mock sector manager has to offer.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// Actor ids of the miners that it allocates sectors for.
    pub miners: Vec<u64>,
    /// How their sectors can be sealed; a worker that takes any gets the first.
    pub proof_types: Vec<SealProofType>,
    /// The files that it offers as deals.
    pub pieces: Option<PiecesOffer>,
    /// After what silence a job is handed out again.
    pub job_expiration: Duration,
}

/// Files that are offered as deals.
#[derive(Clone, Debug)]
pub(crate) struct PiecesOffer {
    pub directory: PathBuf,
    /// Where they are served by HTTP.
    pub listen: SocketAddr,
    /// The URL that workers are told instead of that address.
    pub url: Option<String>,
}

impl Offer {
    /// An offer for no miner yet: every proof of a size that new sectors have.
    pub(crate) fn of_size(size: SectorSize, synthetic_first: bool) -> Offer {
        let of = |version: SealVersion| version.of(size);
        let (plain, synthetic, non_interactive) =
            (of(SealVersion::V1_1), of(SealVersion::Synthetic), of(SealVersion::NonInteractive));
        let proof_types = match synthetic_first {
            false => vec![plain, synthetic, non_interactive],
            true => vec![synthetic, plain, non_interactive],
        };
        Offer { miners: vec![], proof_types, pieces: None, job_expiration: JOB_EXPIRATION }
    }
}

/// A mock sector manager.
pub(crate) struct Mock {
    client: Client,
    prefix: Prefix,
    offer: Offer,
    pieces: Option<Arc<PieceFiles>>,
}

impl Mock {
    /// Offers sectors, and the files as deals.
    pub(crate) fn new(
        client: Client,
        prefix: Prefix,
        offer: Offer,
        pieces: Option<Arc<PieceFiles>>,
    ) -> Self {
        Mock { client, prefix, offer, pieces }
    }
}
