//! AddPieces: writes the unsealed file from the deals' pieces. What they leave free is filled with
//! zeros; a sector without deals is one piece of zeros.

use std::path::PathBuf;

use shared_msgs::{
    plan::{Plan, PlanEvent},
    sector_manager::{Commitment, SectorPiece, piece_cid, piece_commitment, unpadded},
};

use super::{Done, StageRun, on_disk};
use crate::{
    failure::Failure,
    processor::task::{AddPieces, Piece, PieceFile, PieceInfo},
    store::{files::remove_path, record::PieceCommitment},
};

// The smallest piece there is, padded.
const MIN_PIECE_BYTES: u64 = 128;
const MAX_URL_BYTES: usize = 2048;

pub(super) async fn run(run: &StageRun<'_>) -> Result<Done, Failure> {
    let upgrading = run.is_for_upgrade();
    let path =
        if upgrading { run.files.update_unsealed.clone() } else { run.files.unsealed.clone() };
    on_disk({
        let path = path.clone();
        move || remove_path(&path)
    })
    .await?;
    run.require_sectors(1).await?;
    let slots = layout(run.deals(), run.sector_size())
        .map_err(|error| Failure::permanent(format!("the deals of {}: {error}", run.id())))?;

    let mut pieces = Vec::with_capacity(slots.len());
    for slot in &slots {
        pieces.push(match slot.deal {
            Some(deal) => run.piece_of(deal, slot).await?,
            None => Piece {
                piece_file: PieceFile::Pledge,
                payload_size: 0,
                piece_size: unpadded(slot.size),
            },
        });
    }
    let sources: Vec<_> = pieces.iter().map(|piece| piece.piece_file.clone()).collect();
    let task = AddPieces {
        seal_proof_type: run.proof_name(),
        pieces,
        staged_filepath: path,
        piece_token: run.shared.piece_token.clone(),
    };
    let written = run.compute(task).await?;
    check_commitments(&slots, &sources, &written)?;
    let pieces = written
        .into_iter()
        .map(|info| PieceCommitment { commitment: info.commitment, size: info.size })
        .collect();
    run.done(PlanEvent::AddPiece, |sector| match &mut sector.upgrade {
        Some(upgrade) if upgrading => upgrade.pieces = Some(pieces),
        _ => sector.pieces = Some(pieces),
    })
}

/// A part of the sector.
#[derive(Debug, PartialEq)]
struct Slot<'a> {
    /// In padded bytes: a power of two.
    size: u64,
    /// What is to be there; zeros if nothing is.
    deal: Option<&'a SectorPiece>,
    /// The commitment that the deal promises.
    commitment: Option<Commitment>,
}

// Every piece lies at a multiple of its size (Filecoin spec, Piece: data structure). What lies
// between them is filled with the largest pieces of zeros that fit.
fn layout(deals: &[SectorPiece], sector_size: u64) -> Result<Vec<Slot<'_>>, String> {
    let mut slots = vec![];
    let mut offset: u64 = 0;
    let fill = |slots: &mut Vec<_>, offset: &mut u64, end: u64| {
        while *offset < end {
            let size = if *offset == 0 { end } else { 1 << offset.trailing_zeros() };
            slots.push(Slot { size, deal: None, commitment: None });
            *offset += size;
        }
    };
    for piece in deals {
        let (cid, size) = (&piece.piece.piece_cid, piece.piece.size);
        if !size.is_power_of_two() || size < MIN_PIECE_BYTES || size > sector_size {
            return Err(format!(
                "piece {cid:.100} has {size} bytes, which no piece of a sector of {sector_size} bytes has"
            ));
        }
        let commitment = piece_commitment(cid).map_err(|error| error.to_string())?;
        let aligned = offset.next_multiple_of(size);
        if aligned.checked_add(size).is_none_or(|end| end > sector_size) {
            return Err(format!(
                "the pieces have more room than a sector of {sector_size} bytes, {cid} does not fit"
            ));
        }
        // Nothing is to be filled before the first one: zero is a multiple of everything.
        fill(&mut slots, &mut offset, aligned);
        let deal = piece.has_data().then_some(piece);
        slots.push(Slot { size, deal, commitment: Some(commitment) });
        offset += size;
    }
    fill(&mut slots, &mut offset, sector_size);
    Ok(slots)
}

// The library makes the commitments from what it has really written.
fn check_commitments(
    slots: &[Slot<'_>],
    sources: &[PieceFile],
    written: &[PieceInfo],
) -> Result<(), Failure> {
    if written.len() != slots.len() {
        return Err(Failure::temporary(format!(
            "{} pieces were written of {}",
            written.len(),
            slots.len()
        )));
    }
    for ((slot, source), info) in slots.iter().zip(sources).zip(written) {
        if let Some(expected) = slot.commitment.filter(|expected| *expected != info.commitment) {
            let source = match source {
                PieceFile::Url(url) => url.clone(),
                PieceFile::Local(path) => path.display().to_string(),
                PieceFile::Pledge => "zeros".into(),
            };
            let (expected, found) = (piece_cid(&expected), piece_cid(&info.commitment));
            return Err(Failure::permanent(format!(
                "piece {expected} is corrupt: the bytes of {source} are piece {found}"
            )));
        }
    }
    Ok(())
}

impl StageRun<'_> {
    /// The deals of the data that the stage is about. A sector that was upgraded was sealed without
    /// any.
    pub(super) fn deals(&self) -> &[SectorPiece] {
        let sealed_without =
            self.plan == Plan::Rebuild && self.sector.upgrade.is_some() && !self.is_for_upgrade();
        if sealed_without { &[] } else { self.sector.deals.as_deref().unwrap_or_default() }
    }

    // Where a deal's bytes are: in a directory of ours, or where the sector manager says.
    async fn piece_of(&self, deal: &SectorPiece, slot: &Slot<'_>) -> Result<Piece, Failure> {
        let cid = deal.piece.piece_cid.clone();
        let candidates = local_files(&self.shared.local_pieces_dirs, &cid);
        let local = on_disk(move || Ok(candidates.into_iter().find(|path| path.is_file()))).await?;
        let piece_file = match (local, &deal.url) {
            (Some(path), _) => PieceFile::Local(path),
            (None, Some(url)) if is_http(url) => PieceFile::Url(url.clone()),
            (None, url) => {
                let directories: Vec<_> = self
                    .shared
                    .local_pieces_dirs
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                let directories =
                    if directories.is_empty() { "none".into() } else { directories.join(", ") };
                let offer = if url.is_some() {
                    "names no HTTP address for it"
                } else {
                    "does not offer it by HTTP"
                };
                let piece = &deal.piece.piece_cid;
                return Err(Failure::temporary(format!(
                    "piece {piece} is missing: it is in no directory of worker.local_pieces_dirs ({directories}), and the sector manager {offer}"
                )));
            }
        };
        let payload_size = deal.deal_info.as_ref().map_or(0, |info| info.payload_size);
        Ok(Piece { piece_file, payload_size, piece_size: unpadded(slot.size) })
    }
}

// A piece is called by its CID; the market writes it as a CAR file.
fn local_files(directories: &[PathBuf], cid: &str) -> Vec<PathBuf> {
    let names = [cid.to_owned(), format!("{cid}.car")];
    directories
        .iter()
        .flat_map(|directory| names.each_ref().map(|name| directory.join(name)))
        .collect()
}

fn is_http(url: &str) -> bool {
    url.len() <= MAX_URL_BYTES && (url.starts_with("http://") || url.starts_with("https://"))
}

#[cfg(test)]
mod tests {
    use shared_msgs::sector_manager::{DealInfo, PieceInfo as WirePiece};

    use super::*;

    fn deal(size: u64) -> SectorPiece {
        SectorPiece {
            piece: WirePiece { size, piece_cid: piece_cid(&[1; 32]) },
            deal_info: Some(DealInfo { allocation_id: 1, ..DealInfo::default() }),
            url: None,
        }
    }

    fn sizes(deals: &[u64]) -> Result<Vec<(u64, bool)>, String> {
        let deals: Vec<_> = deals.iter().copied().map(deal).collect();
        Ok(layout(&deals, 2048)?.iter().map(|slot| (slot.size, slot.deal.is_some())).collect())
    }

    #[test]
    fn a_sector_without_deals_is_one_piece_of_zeros() {
        assert_eq!(sizes(&[]).unwrap(), [(2048, false)]);
    }

    #[test]
    fn pieces_are_aligned_and_the_rest_is_filled() {
        assert_eq!(sizes(&[2048]).unwrap(), [(2048, true)]);
        assert_eq!(sizes(&[1024]).unwrap(), [(1024, true), (1024, false)]);
        assert_eq!(
            sizes(&[256, 1024]).unwrap(),
            [(256, true), (256, false), (512, false), (1024, true)]
        );
        assert_eq!(
            sizes(&[128, 128, 512]).unwrap(),
            [(128, true), (128, true), (256, false), (512, true), (1024, false)]
        );
    }

    #[test]
    fn pieces_that_no_sector_holds_are_refused() {
        for wrong in [&[1000][..], &[64], &[4096], &[1024, 1024, 128], &[128, 2048], &[0]] {
            assert!(sizes(wrong).is_err(), "{wrong:?}");
        }
        let mut piece = deal(1024);
        piece.piece.piece_cid = "../../etc/passwd".into();
        assert!(layout(&[piece], 2048).is_err());
    }

    #[test]
    fn a_piece_in_a_directory_of_ours_may_be_called_a_car_file() {
        let names = local_files(&["/a".into(), "/b".into()], "baga");
        assert_eq!(names, ["/a/baga", "/a/baga.car", "/b/baga", "/b/baga.car"].map(PathBuf::from));
    }

    #[test]
    fn a_corrupt_piece_is_named_with_where_it_came_from() {
        let deals = [deal(2048)];
        let slots = layout(&deals, 2048).unwrap();
        let written = |commitment| [PieceInfo { commitment, size: 2032 }];
        let source = [PieceFile::Local("/pieces/x".into())];
        check_commitments(&slots, &source, &written([1; 32])).unwrap();
        let message =
            check_commitments(&slots, &source, &written([2; 32])).unwrap_err().to_string();
        assert!(
            message.starts_with("permanent: piece baga") && message.contains("/pieces/x"),
            "{message}"
        );
    }
}
