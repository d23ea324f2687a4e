//! AddPieces: writes the unsealed file. A sector without deals gets one pledge piece of zeros.

use shared_msgs::plan::Event;

use super::{Done, Job, on_disk};
use crate::{
    processor::task::{AddPieces, Piece, PieceFile},
    store::{location::remove_path, record::PieceCommitment},
    thread::failure::Failure,
};

pub(super) async fn run(job: &Job<'_>) -> Result<Done, Failure> {
    let path = job.files.unsealed.clone();
    on_disk({
        let path = path.clone();
        move || remove_path(&path)
    })
    .await?;
    // fr32 padding puts 2 bits after every 254 (Filecoin spec, Piece: data representation).
    let unpadded = job.sector_size()? / 128 * 127;
    let pledge = Piece { piece_file: PieceFile::Pledge, payload_size: 0, piece_size: unpadded };
    let task = AddPieces { seal_proof_type: job.proof_name()?, pieces: vec![pledge], staged_filepath: path };
    let written = job.shared.processors.run(task, job.activity).await?;
    let pieces = written.into_iter().map(|info| PieceCommitment { commitment: info.commitment, size: info.size });
    job.done(Event::AddPiece, |sector| sector.pieces = Some(pieces.collect()))
}
