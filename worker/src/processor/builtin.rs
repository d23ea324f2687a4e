//! The real Filecoin proofs (`filecoin-proofs-api`). Blocking and heavy: called on blocking threads only. Errors are the
//! library's own words.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    path::Path,
};

use filecoin_proofs::{DefaultPieceHasher, StoreConfig};
use filecoin_proofs_api::{
    PieceInfo as ProofsPieceInfo, RegisteredSealProof, SectorId, UnpaddedBytesAmount,
    seal::{self, SealCommitPhase1Output, SealPreCommitPhase1Output, SealPreCommitPhase2Output},
};
use serde::{Serialize, de::DeserializeOwned};
use storage_proofs_core::{cache_key::CacheKey, merkle::BinaryMerkleTree, util::NODE_SIZE};

use super::task::{AddPieces, C1, C2, C2Output, Opaque, Pc1, Pc2, Pc2Output, PieceFile, PieceInfo, Replica, SynthProof, TreeD};

type Result<T> = std::result::Result<T, String>;

/// Writes the pieces into a fresh unsealed file.
pub fn add_pieces(task: AddPieces) -> Result<Vec<PieceInfo>> {
    let proof = proof_named(&task.seal_proof_type)?;
    let path = &task.staged_filepath;
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
    let mut staged = opened.map_err(|error| at(path, error))?;
    let mut lengths: Vec<UnpaddedBytesAmount> = Vec::with_capacity(task.pieces.len());
    let mut infos = Vec::with_capacity(task.pieces.len());
    for piece in &task.pieces {
        let size = UnpaddedBytesAmount(piece.piece_size);
        let PieceFile::Pledge = piece.piece_file;
        let source = std::io::repeat(0).take(piece.piece_size);
        let (info, _) = seal::add_piece(proof, source, &mut staged, size, &lengths).map_err(words)?;
        lengths.push(size);
        infos.push(PieceInfo { commitment: info.commitment, size: info.size.0 });
    }
    staged.sync_all().map_err(|error| at(path, error))?;
    Ok(infos)
}

/// Builds the tree of the unsealed file, which is read as a stream: a sector may be larger than the memory.
pub fn tree_d(task: TreeD) -> Result<bool> {
    let path = &task.staged_file;
    let file = File::open(path).map_err(|error| at(path, error))?;
    let size = file.metadata().map_err(|error| at(path, error))?.len();
    let sector_size = u64::from(proof_named(&task.registered_proof)?.sector_size());
    if size != sector_size {
        return Err(format!("{}: {size} bytes, a sector has {sector_size}", path.display()));
    }
    let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
    let leaves = (0..size as usize / NODE_SIZE).map(|_| {
        let mut node = [0; NODE_SIZE];
        reader.read_exact(&mut node)?;
        Ok(node.into())
    });
    let config = StoreConfig::new(&task.cache_dir, CacheKey::CommDTree.to_string(), 0);
    BinaryMerkleTree::<DefaultPieceHasher>::try_from_iter_with_config(leaves, config).map_err(words)?;
    Ok(true)
}

/// The data's commitment that follows from the pieces.
pub fn comm_d_of(proof: &str, pieces: &[PieceInfo]) -> Result<[u8; 32]> {
    seal::compute_comm_d(proof_named(proof)?, &piece_infos(pieces)?).map_err(words)
}

/// Makes the layers.
pub fn pc1(task: Pc1) -> Result<Opaque> {
    File::create(&task.out_path).map_err(|error| at(&task.out_path, error))?;
    let output = seal::seal_pre_commit_phase1(
        proof_named(&task.registered_proof)?,
        &task.cache_path,
        &task.in_path,
        &task.out_path,
        task.prover_id,
        SectorId::from(task.sector_id),
        task.ticket,
        &piece_infos(&task.piece_infos)?,
    );
    opaque(&output.map_err(words)?)
}

/// Makes the trees and the replica.
pub fn pc2(task: Pc2) -> Result<Pc2Output> {
    let phase1: SealPreCommitPhase1Output = transparent(&task.pc1out)?;
    let output = seal::seal_pre_commit_phase2(phase1, &task.cache_dir, &task.sealed_file).map_err(words)?;
    Ok(Pc2Output { registered_proof: name_of(output.registered_proof)?, comm_r: output.comm_r, comm_d: output.comm_d })
}

/// Makes the synthetic proofs.
pub fn synth_proof(task: SynthProof) -> Result<bool> {
    let replica = task.replica;
    let (pre_commit, pieces) = proofs_view(&replica)?;
    let (cache, sealed) = (&replica.cache_path, &replica.replica_path);
    let sector = SectorId::from(replica.sector_id);
    seal::generate_synth_proofs(cache, sealed, replica.prover_id, sector, replica.ticket, pre_commit, &pieces).map_err(words)?;
    Ok(true)
}

/// Makes the vanilla proofs.
pub fn c1(task: C1) -> Result<Opaque> {
    let replica = task.replica;
    let (pre_commit, pieces) = proofs_view(&replica)?;
    let output = seal::seal_commit_phase1(
        &replica.cache_path,
        &replica.replica_path,
        replica.prover_id,
        SectorId::from(replica.sector_id),
        replica.ticket,
        task.seed,
        pre_commit,
        &pieces,
    );
    opaque(&output.map_err(words)?)
}

/// Makes the proof.
pub fn c2(task: C2) -> Result<C2Output> {
    let phase1: SealCommitPhase1Output = transparent(&task.c1out)?;
    let output = seal::seal_commit_phase2(phase1, task.prover_id, SectorId::from(task.sector_id)).map_err(words)?;
    Ok(C2Output { proof: output.proof })
}

/// Whether the proof is one of this replica.
pub fn verify(replica: &Replica, seed: [u8; 32], proof: &[u8]) -> Result<bool> {
    let pre_commit = &replica.pre_commit;
    let sector = SectorId::from(replica.sector_id);
    let registered = proof_named(&pre_commit.registered_proof)?;
    seal::verify_seal(registered, pre_commit.comm_r, pre_commit.comm_d, replica.prover_id, sector, replica.ticket, seed, proof)
        .map_err(words)
}

fn proofs_view(replica: &Replica) -> Result<(SealPreCommitPhase2Output, Vec<ProofsPieceInfo>)> {
    let pre_commit = &replica.pre_commit;
    let registered_proof = proof_named(&pre_commit.registered_proof)?;
    let output = SealPreCommitPhase2Output { registered_proof, comm_r: pre_commit.comm_r, comm_d: pre_commit.comm_d };
    Ok((output, piece_infos(&replica.piece_infos)?))
}

fn piece_infos(pieces: &[PieceInfo]) -> Result<Vec<ProofsPieceInfo>> {
    pieces.iter().map(|piece| ProofsPieceInfo::new(piece.commitment, UnpaddedBytesAmount(piece.size)).map_err(words)).collect()
}

fn proof_named(name: &str) -> Result<RegisteredSealProof> {
    serde_json::from_value(serde_json::Value::from(name)).map_err(|error| format!("proof type {name}: {error}"))
}

fn name_of(proof: RegisteredSealProof) -> Result<String> {
    serde_json::to_value(proof).and_then(serde_json::from_value).map_err(|error| error.to_string())
}

fn opaque<T: Serialize>(output: &T) -> Result<Opaque> {
    serde_json::value::to_raw_value(output).map_err(|error| error.to_string())
}

fn transparent<T: DeserializeOwned>(json: &Opaque) -> Result<T> {
    serde_json::from_str(json.get()).map_err(|error| error.to_string())
}

fn at(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

// The whole chain of causes on one line.
fn words(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> String {
    let error = error.into();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
