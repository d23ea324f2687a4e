//! The library's functions on replicas. They block, and compute for minutes to hours on real
//! sectors.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use filecoin_proofs::{DefaultPieceHasher, StoreConfig};
use filecoin_proofs_api::{
    Commitment, PartitionProofBytes, PieceInfo, ProverId, RegisteredSealProof,
    RegisteredUpdateProof, SectorId, Ticket, UnpaddedByteIndex, UnpaddedBytesAmount,
    seal::{self, SealCommitPhase1Output, SealPreCommitPhase1Output, SealPreCommitPhase2Output},
    update,
};
use storage_proofs_core::{cache_key::CacheKey, merkle::BinaryMerkleTree, util::NODE_SIZE};

/// What the library says went wrong.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Where a replica is.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// The sealed file, of the sector's size.
    pub replica: &'a Path,
    /// The directory of its layers, trees and auxiliary files.
    pub cache: &'a Path,
}

/// Whose a replica is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The miner's address as 32 bytes.
    pub prover: ProverId,
    /// Unique for its miner.
    pub sector: u64,
    /// The ticket that the replica is made with.
    pub ticket: Ticket,
}

/// Builds the Merkle tree of a file of fr32-padded data into a directory. The file is read as a
/// stream: a sector may be larger than the memory.
pub fn build_tree_d(data: &Path, directory: &Path) -> Result<(), Error> {
    let file = File::open(data)?;
    let nodes = file.metadata()?.len() / NODE_SIZE as u64;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let leaves = (0..usize::try_from(nodes)?).map(|_| {
        let mut node = [0; NODE_SIZE];
        reader.read_exact(&mut node)?;
        Ok(node.into())
    });
    let config = StoreConfig::new(directory, CacheKey::CommDTree.to_string(), 0);
    BinaryMerkleTree::<DefaultPieceHasher>::try_from_iter_with_config(leaves, config)?;
    Ok(())
}

/// Appends a piece to the staged file behind others of those lengths; yields its commitment.
pub fn add_piece(
    proof: RegisteredSealProof,
    source: &mut dyn Read,
    staged: &mut File,
    size: UnpaddedBytesAmount,
    lengths: &[UnpaddedBytesAmount],
) -> Result<PieceInfo, Error> {
    Ok(seal::add_piece(proof, source, staged, size, lengths)?.0)
}

/// The commitment of so many unpadded bytes.
pub fn piece_commitment(
    proof: RegisteredSealProof,
    source: &mut dyn Read,
    size: UnpaddedBytesAmount,
) -> Result<Commitment, Error> {
    Ok(seal::generate_piece_commitment(proof, source, size)?.commitment)
}

/// Pre-commit phase 1: copies `staged` to the replica, and makes tree-d and the layers in the
/// cache.
pub fn pre_commit_phase1(
    proof: RegisteredSealProof,
    staged: &Path,
    files: Files<'_>,
    identity: &Identity,
    pieces: &[PieceInfo],
) -> Result<SealPreCommitPhase1Output, Error> {
    let Identity { prover, sector, ticket } = *identity;
    Ok(seal::seal_pre_commit_phase1(
        proof,
        files.cache,
        staged,
        files.replica,
        prover,
        SectorId::from(sector),
        ticket,
        pieces,
    )?)
}

/// Pre-commit phase 2: makes the other trees in the cache, and encodes the replica in place.
pub fn pre_commit_phase2(
    phase1: SealPreCommitPhase1Output,
    files: Files<'_>,
) -> Result<SealPreCommitPhase2Output, Error> {
    Ok(seal::seal_pre_commit_phase2(phase1, files.cache, files.replica)?)
}

/// The proofs of all synthetic challenges (FIP-0059).
pub fn synthetic_proofs(
    files: Files<'_>,
    identity: &Identity,
    pre_commit: SealPreCommitPhase2Output,
    pieces: &[PieceInfo],
) -> Result<(), Error> {
    let Identity { prover, sector, ticket } = *identity;
    Ok(seal::generate_synth_proofs(
        files.cache,
        files.replica,
        prover,
        SectorId::from(sector),
        ticket,
        pre_commit,
        pieces,
    )?)
}

/// Commit phase 1: makes the vanilla proofs of the challenges that `seed` selects.
pub fn commit_phase1(
    files: Files<'_>,
    identity: &Identity,
    seed: Ticket,
    pre_commit: SealPreCommitPhase2Output,
    pieces: &[PieceInfo],
) -> Result<SealCommitPhase1Output, Error> {
    let Identity { prover, sector, ticket } = *identity;
    let sector = SectorId::from(sector);
    Ok(seal::seal_commit_phase1(
        files.cache,
        files.replica,
        prover,
        sector,
        ticket,
        seed,
        pre_commit,
        pieces,
    )?)
}

/// Decodes a range of a replica into a file; the cache is where layers are made again.
pub fn unseal(
    proof: RegisteredSealProof,
    files: Files<'_>,
    output: &Path,
    identity: &Identity,
    comm_d: Commitment,
    offset: UnpaddedByteIndex,
    size: UnpaddedBytesAmount,
) -> Result<UnpaddedBytesAmount, Error> {
    let Identity { prover, sector, ticket } = *identity;
    let sector = SectorId::from(sector);
    Ok(seal::get_unsealed_range(
        proof,
        files.cache,
        files.replica,
        output,
        prover,
        sector,
        comm_d,
        ticket,
        offset,
        size,
    )?)
}

/// Encodes new data into a replica; yields the commitments of the new replica, its tree-r-last and
/// the new data.
pub fn encode_update(
    proof: RegisteredUpdateProof,
    old: Files<'_>,
    new: Files<'_>,
    data: &Path,
    pieces: &[PieceInfo],
) -> Result<[Commitment; 3], Error> {
    let encoded = update::empty_sector_update_encode_into(
        proof,
        new.replica,
        new.cache,
        old.replica,
        old.cache,
        data,
        pieces,
    )?;
    Ok([encoded.comm_r_new, encoded.comm_r_last_new, encoded.comm_d_new])
}

/// The data of an updated replica, fr32-padded, into a file that has the sector's size.
pub fn decode_update(
    proof: RegisteredUpdateProof,
    old: Files<'_>,
    new: &Path,
    comm_d: Commitment,
    output: &Path,
) -> Result<(), Error> {
    Ok(update::empty_sector_update_decode_from(proof, output, new, old.replica, old.cache, comm_d)?)
}

/// The vanilla proofs of an update, one for each partition. The commitments are those of the old
/// replica, the new one, and the new data.
pub fn update_vanilla_proofs(
    proof: RegisteredUpdateProof,
    commitments: [Commitment; 3],
    old: Files<'_>,
    new: Files<'_>,
) -> Result<Vec<PartitionProofBytes>, Error> {
    let [comm_r_old, comm_r_new, comm_d_new] = commitments;
    let made = update::generate_partition_proofs(
        proof,
        comm_r_old,
        comm_r_new,
        comm_d_new,
        old.replica,
        old.cache,
        new.replica,
        new.cache,
    );
    Ok(made?)
}

/// Takes the fr32 padding out of one 128-byte unit.
pub fn unpad_unit(unit: &[u8; 128], target: &mut dyn io::Write) -> io::Result<()> {
    struct Plain<'a>(&'a mut dyn io::Write);
    impl io::Write for Plain<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    filecoin_proofs_api::fr32::write_unpadded(unit, &mut Plain(target), 0, 127).map(drop)
}
