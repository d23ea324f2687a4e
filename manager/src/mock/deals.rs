//! Deals: each piece is offered once.
//!
//! ```text
//!  <P>_DEALS    piece CID -> sector     its revision is the deal's number
//! ```
//! `create` gives a piece to one sector, whichever mock manager does it. Two files with the same
//! bytes are one piece and one deal. The deals of a sector that was given up are removed, and
//! offered again.

use serde::{Deserialize, Serialize};
use shared_msgs::{
    error::ErrorKind,
    sector_manager::{
        AcquireDeals, AcquireDealsSpec, DealInfo, PieceInfo, SectorId, SectorPiece, piece_cid,
    },
};
use tracing::info;

use super::{
    Mock,
    commp::{MIN_PIECE_SIZE, zero_commitment},
    pieces::Piece,
    record::SectorRecord,
};
use crate::bus::kv::{Bucket, Created, MAX_TRIES, contended};

// So that an answer fits into a message.
const MAX_DEALS: usize = 256;

// What the bucket keeps of a deal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Deal {
    sector: SectorId,
    size: u64,
    payload_size: u64,
}

impl Mock {
    /// The pieces of a sector that is being sealed; `None` if it gets no deals.
    pub(super) async fn acquire_deals(
        &self,
        request: &AcquireDeals,
    ) -> Result<Option<Vec<SectorPiece>>, ErrorKind> {
        let record = self.sector(request.sector).await?;
        if !record.pieces.is_empty() {
            return Ok(Some(self.with_urls(&record.pieces)));
        }
        if record.finalized || record.aborted.is_some() {
            return Err(ErrorKind::SectorEnded {
                sector: record.id.to_string(),
                state: record.shown_state().into(),
            });
        }
        let Some(pieces) = self.assign_deals(&record, &request.spec).await? else {
            return Ok(None);
        };
        let (record, kept) =
            self.update_sector(request.sector, |record| Ok(record.keep_pieces(&pieces))).await?;
        if kept != pieces {
            self.free_deals(&record).await?;
        }
        Ok(Some(self.with_urls(&kept)))
    }

    /// Gives deals that fit to a sector; `None` if there are not enough.
    pub(super) async fn assign_deals(
        &self,
        record: &SectorRecord,
        spec: &AcquireDealsSpec,
    ) -> Result<Option<Vec<SectorPiece>>, ErrorKind> {
        let Some(files) = &self.pieces else { return Ok(None) };
        let sector_size = record.proof_type.size.bytes();
        let offered = files.scan().await;
        let deals = Bucket::open(&self.client, self.prefix.deals_bucket()).await?;
        for _ in 0..MAX_TRIES {
            let taken = deals.scan::<Deal>().await?;
            // One that is this sector's already was given to it by somebody who did not come to say
            // so.
            let is_free = |piece: &&Piece| {
                !taken.iter().any(|deal| deal.key == piece.cid && deal.value.sector != record.id)
            };
            let chosen = choose(offered.iter().filter(is_free), sector_size, spec);
            if chosen.is_empty() {
                return Ok(None);
            }
            if let Some(pieces) = self.take_deals(&deals, record.id, &chosen).await? {
                let pieces = fill_up(pieces, sector_size);
                info!(sector = %record.id, deals = chosen.len(), "deals assigned");
                return Ok(Some(pieces));
            }
        }
        Err(contended())
    }

    // `None` if another sector got one of them meanwhile.
    async fn take_deals(
        &self,
        deals: &Bucket,
        sector: SectorId,
        chosen: &[&Piece],
    ) -> Result<Option<Vec<SectorPiece>>, ErrorKind> {
        let (mut pieces, mut new) = (Vec::new(), Vec::new());
        for piece in chosen {
            let deal = Deal { sector, size: piece.size, payload_size: piece.payload_size };
            let deal_id = match deals.create(&piece.cid, &deal).await? {
                Created::New(revision) => {
                    new.push((&piece.cid, revision));
                    revision
                }
                Created::Exists(stored) if stored.value.sector == sector => stored.revision,
                Created::Exists(_) => {
                    for (cid, revision) in new {
                        deals.remove(cid, revision).await?;
                    }
                    return Ok(None);
                }
            };
            let deal_info = DealInfo {
                deal_id,
                payload_size: piece.payload_size,
                is_builtin_market: true,
                ..DealInfo::default()
            };
            let piece_info = PieceInfo { size: piece.size, piece_cid: piece.cid.clone() };
            let url = self.pieces.as_ref().map(|files| files.url(&piece.cid));
            pieces.push(SectorPiece { piece: piece_info, deal_info: Some(deal_info), url });
        }
        Ok(Some(pieces))
    }

    /// Offers the deals again that a sector does not hold any more.
    pub(super) async fn free_deals(&self, record: &SectorRecord) -> Result<(), ErrorKind> {
        let deals = Bucket::open(&self.client, self.prefix.deals_bucket()).await?;
        for deal in deals.scan::<Deal>().await? {
            let held = record.held_deals().any(|piece| piece.piece.piece_cid == deal.key);
            if deal.value.sector == record.id && !held {
                deals.remove(&deal.key, deal.revision).await?;
                info!(sector = %record.id, piece = deal.key, "a deal is offered again");
            }
        }
        Ok(())
    }

    /// The pieces with the addresses of today: this manager's, where it has the bytes.
    pub(super) fn with_urls(&self, pieces: &[SectorPiece]) -> Vec<SectorPiece> {
        let mut pieces = pieces.to_vec();
        for piece in pieces.iter_mut().filter(|piece| piece.deal_info.is_some()) {
            if let Some(files) =
                self.pieces.as_ref().filter(|files| files.has(&piece.piece.piece_cid))
            {
                piece.url = Some(files.url(&piece.piece.piece_cid));
            }
        }
        pieces
    }
}

// The largest first: as sizes are powers of two, nothing else fills a sector better.
fn choose<'a>(
    free: impl Iterator<Item = &'a Piece>,
    sector_size: u64,
    spec: &AcquireDealsSpec,
) -> Vec<&'a Piece> {
    let mut free: Vec<_> = free.collect();
    free.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.cid.cmp(&b.cid)));
    let count = spec.max_deals.map_or(MAX_DEALS, |most| MAX_DEALS.min(most as usize));
    let mut used = 0;
    let mut chosen = Vec::new();
    for piece in free {
        if chosen.len() < count && piece.size <= sector_size - used {
            used += piece.size;
            chosen.push(piece);
        }
    }
    if used < spec.min_used_space.unwrap_or(0) { vec![] } else { chosen }
}

// Filler behind the pieces, which come largest first: every piece begins at a multiple of its size.
fn fill_up(mut pieces: Vec<SectorPiece>, sector_size: u64) -> Vec<SectorPiece> {
    let used: u64 = pieces.iter().map(|piece| piece.piece.size).sum();
    let gap = sector_size.saturating_sub(used);
    for size in
        (0..64).map(|bit| 1 << bit).filter(|size| *size >= MIN_PIECE_SIZE && gap & size != 0)
    {
        let piece = PieceInfo { size, piece_cid: piece_cid(&zero_commitment(size)) };
        pieces.push(SectorPiece { piece, deal_info: None, url: None });
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offered(sizes: &[u64]) -> Vec<Piece> {
        let piece = |(index, size): (usize, &u64)| Piece {
            cid: format!("p{index}"),
            size: *size,
            payload_size: size / 2,
        };
        sizes.iter().enumerate().map(piece).collect()
    }

    fn sizes(offered: &[Piece], spec: &AcquireDealsSpec) -> Vec<u64> {
        choose(offered.iter(), 2048, spec).iter().map(|piece| piece.size).collect()
    }

    fn laid_out(chosen: &[&Piece]) -> Vec<u64> {
        let piece = |piece: &&Piece| SectorPiece {
            piece: PieceInfo { size: piece.size, piece_cid: piece.cid.clone() },
            deal_info: Some(DealInfo::default()),
            url: None,
        };
        fill_up(chosen.iter().map(piece).collect(), 2048)
            .iter()
            .map(|piece| piece.piece.size)
            .collect()
    }

    #[test]
    fn a_sector_is_filled_as_well_as_possible() {
        let offered = offered(&[128, 1024, 4096, 512, 512, 256]);
        let any = AcquireDealsSpec::default();
        assert_eq!(sizes(&offered, &any), [1024, 512, 512]);
        assert_eq!(
            sizes(&offered, &AcquireDealsSpec { max_deals: Some(1), min_used_space: None }),
            [1024]
        );
        assert_eq!(
            sizes(&offered, &AcquireDealsSpec { max_deals: Some(0), min_used_space: None }),
            [0; 0]
        );
        let at_least = |bytes, max_deals| {
            sizes(&offered, &AcquireDealsSpec { max_deals, min_used_space: Some(bytes) }).len()
        };
        assert_eq!(
            (
                at_least(2048, None),
                at_least(2048, Some(2)),
                at_least(1536, Some(2)),
                at_least(2049, None)
            ),
            (3, 0, 2, 0)
        );
    }

    #[test]
    fn filler_rises_behind_the_deals() {
        let offered = offered(&[512, 128]);
        let chosen: Vec<_> = offered.iter().collect();
        assert_eq!(laid_out(&chosen), [512, 128, 128, 256, 1024]);
    }

    proptest! {
        #[test]
        fn pieces_are_aligned_and_fill_the_sector(exponents in prop::collection::vec(7u32..13, 1..40)) {
            let offered = offered(&exponents.iter().map(|exponent| 1 << exponent).collect::<Vec<_>>());
            let chosen = choose(offered.iter(), 2048, &AcquireDealsSpec::default());
            let mut offset = 0;
            for size in laid_out(&chosen) {
                prop_assert_eq!(offset % size, 0);
                offset += size;
            }
            prop_assert_eq!(offset, 2048);
            let left = offered.iter().filter(|piece| !chosen.contains(piece)).map(|piece| piece.size).min();
            let used: u64 = chosen.iter().map(|piece| piece.size).sum();
            prop_assert!(left.is_none_or(|left| left > 2048 - used), "one more would have fitted");
        }
    }
}
