//! What each kind of heavy work takes and yields, in the field names of damocles's `vc-processors`.
//! What the proofs library makes and takes back (the outputs of PC1 and C1) passes through as JSON
//! text: nobody else looks inside.

use std::{collections::BTreeMap, path::PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use shared_msgs::sector_manager::{Base64Bytes, Commitment};

use crate::failure::Failure;

/// JSON that is passed on as it is.
pub type Opaque = Box<RawValue>;

/// One kind of heavy work.
pub trait Task: Serialize + DeserializeOwned + Send + 'static {
    /// Its name in the configuration and in the line protocol.
    const STAGE: &'static str;
    /// What it yields, as a processor prints it.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Runs it inside the worker.
    fn run_builtin(self) -> Result<Self::Output, Failure>;
}

/// Writes pieces into the unsealed file, fr32-padded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddPieces {
    /// The proof type's name.
    pub seal_proof_type: String,
    /// The pieces, in order.
    pub pieces: Vec<Piece>,
    /// The unsealed file, which grows to the sector's size.
    pub staged_filepath: PathBuf,
    /// What is shown to piece servers that a sector manager redirects to. A processor gets it in its
    /// environment.
    #[serde(skip)]
    pub piece_token: Option<SecretString>,
}

/// One piece to write.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Piece {
    /// Where its bytes come from.
    pub piece_file: PieceFile,
    /// Bytes of data; the rest of the piece is zeros.
    pub payload_size: u64,
    /// Unpadded bytes of the piece.
    pub piece_size: u64,
}

/// Where a piece's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PieceFile {
    /// A server, by HTTP.
    Url(String),
    /// A file on this machine.
    Local(PathBuf),
    /// Nowhere: the whole piece is zeros.
    Pledge,
}

/// A piece as it lies in the unsealed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceInfo {
    /// The root of the tree over its padded bytes.
    pub commitment: Commitment,
    /// Its size, in unpadded bytes.
    pub size: u64,
}

/// Builds the data's Merkle tree. What it yields differs between versions of `vc-processors`; the
/// tree itself counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TreeD {
    /// The proof type's name.
    pub registered_proof: String,
    /// The unsealed file, of the sector's size.
    pub staged_file: PathBuf,
    /// The directory for the tree.
    pub cache_dir: PathBuf,
}

/// The data's commitment that follows from the pieces in it; yields it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommD {
    /// The proof type's name.
    pub registered_proof: String,
    /// The pieces in the unsealed file.
    pub piece_infos: Vec<PieceInfo>,
}

/// Pre-commit phase 1: the layers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pc1 {
    /// The proof type's name.
    pub registered_proof: String,
    /// The directory for layers and trees.
    pub cache_path: PathBuf,
    /// The unsealed file, which is copied to the replica.
    pub in_path: PathBuf,
    /// The replica, which [`Pc2`] encodes in place.
    pub out_path: PathBuf,
    /// The miner's address as 32 bytes.
    pub prover_id: [u8; 32],
    /// The sector's number, unique for its miner.
    pub sector_id: u64,
    /// Randomness of the chain that the sector is sealed with.
    pub ticket: [u8; 32],
    /// The pieces in the unsealed file.
    pub piece_infos: Vec<PieceInfo>,
}

/// Pre-commit phase 2: the trees and the replica.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pc2 {
    /// What [`Pc1`] yielded, as it is.
    pub pc1out: Opaque,
    /// The directory for layers and trees.
    pub cache_dir: PathBuf,
    /// The replica, which has the data so far and is encoded in place.
    pub sealed_file: PathBuf,
}

/// The commitments of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pc2Output {
    /// The proof type's name.
    pub registered_proof: String,
    /// Of the replica: the hash of comm_c and comm_r_last (Filecoin spec, SDR).
    pub comm_r: Commitment,
    /// Of the data: the root of tree-d.
    pub comm_d: Commitment,
}

/// Where a replica is and what it was made with: what synthetic proofs and commit phase 1 need.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Replica {
    /// The directory with layers and trees.
    pub cache_path: PathBuf,
    /// Path of the sealed file.
    pub replica_path: PathBuf,
    /// The miner's address as 32 bytes.
    pub prover_id: [u8; 32],
    /// The sector's number, unique for its miner.
    pub sector_id: u64,
    /// Randomness of the chain that the sector is sealed with.
    pub ticket: [u8; 32],
    /// The commitments that [`Pc2`] yielded.
    pub pre_commit: Pc2Output,
    /// The pieces in the unsealed file.
    pub piece_infos: Vec<PieceInfo>,
}

/// Generates the vanilla proofs of all synthetic challenges (FIP-0059).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SynthProof {
    /// The files and commitments of a sealed sector.
    #[serde(flatten)]
    pub replica: Replica,
}

/// Commit phase 1: the vanilla proofs of the challenges that the seed selects.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct C1 {
    /// The files and commitments of a sealed sector.
    #[serde(flatten)]
    pub replica: Replica,
    /// Randomness of the chain that the proof answers.
    pub seed: [u8; 32],
}

/// Commit phase 2: the proof.
#[derive(Debug, Serialize, Deserialize)]
pub struct C2 {
    /// What [`C1`] yielded, as it is.
    pub c1out: Opaque,
    /// The miner's address as 32 bytes.
    pub prover_id: [u8; 32],
    /// The sector's number, unique for its miner.
    pub sector_id: u64,
    /// The miner's actor id.
    pub miner_id: u64,
}

/// The proof that a sector was sealed (Groth16).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct C2Output {
    /// The proof's bytes, as they go on chain.
    pub proof: Vec<u8>,
}

/// Verifies the proof that [`C2`] yielded; yields whether it is one of this replica.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifySeal {
    /// The replica's commitments, and its proof type.
    pub pre_commit: Pc2Output,
    /// The miner's address as 32 bytes.
    pub prover_id: [u8; 32],
    /// The sector's number, unique for its miner.
    pub sector_id: u64,
    /// Randomness of the chain that the sector is sealed with.
    pub ticket: [u8; 32],
    /// Randomness of the chain that the proof answers.
    pub seed: [u8; 32],
    /// The bytes that [`C2`] yielded.
    pub proof: Vec<u8>,
}

/// Encodes new data into a replica without deals (FIP-0019).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapEncode {
    /// The update proof type's name.
    pub registered_proof: String,
    /// The new replica; a file of the sector's size.
    pub new_replica_path: PathBuf,
    /// The directory for the new replica's trees; has tree-d already.
    pub new_cache_path: PathBuf,
    /// The sealed file before the update.
    pub sector_path: PathBuf,
    /// The old replica's `p_aux` and `t_aux`.
    pub sector_cache_path: PathBuf,
    /// The new data, fr32-padded.
    pub staged_data_path: PathBuf,
    /// The pieces in it.
    pub piece_infos: Vec<PieceInfo>,
}

/// The commitments of an updated replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapEncodeOutput {
    /// The new replica's commitment.
    pub comm_r_new: Commitment,
    /// Root of the new replica's tree-r-last.
    pub comm_r_last_new: Commitment,
    /// The new data's commitment.
    pub comm_d_new: Commitment,
}

/// Makes and checks the vanilla proofs of an update; yields one for each partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapVanilla {
    /// The update proof type's name.
    pub registered_proof: String,
    /// The commitments of the update.
    #[serde(flatten)]
    pub commitments: SnapCommitments,
    /// The replicas before and after the update.
    #[serde(flatten)]
    pub files: SnapFiles,
}

/// The commitments that an update is proven for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapCommitments {
    /// The old replica's commitment.
    pub comm_r_old: Commitment,
    /// The new replica's commitment.
    pub comm_r_new: Commitment,
    /// The new data's commitment.
    pub comm_d_new: Commitment,
}

/// The replicas before and after an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapFiles {
    /// The sealed file before the update.
    pub sector_path: PathBuf,
    /// The old replica's `p_aux`, `t_aux` and trees.
    pub sector_cache_path: PathBuf,
    /// The sealed file after the update.
    pub new_replica_path: PathBuf,
    /// The new replica's `p_aux`, `t_aux` and trees.
    pub new_cache_path: PathBuf,
}

/// Proves an update; yields the proof's bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapProve {
    /// The update proof type's name.
    pub registered_proof: String,
    /// The partitions' vanilla proofs (the spelling is damocles's).
    pub vannilla_proofs: Vec<Vec<u8>>,
    /// The commitments of the update.
    #[serde(flatten)]
    pub commitments: SnapCommitments,
}

/// Verifies the proof that [`SnapProve`] yielded; yields whether it is one of this update.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifySnap {
    /// The update proof type's name.
    pub registered_proof: String,
    /// The commitments of the update.
    #[serde(flatten)]
    pub commitments: SnapCommitments,
    /// The bytes that [`SnapProve`] yielded.
    pub proof: Vec<u8>,
}

/// Decodes a range of an updated replica; yields how many bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapDecode {
    /// The update proof type's name.
    pub registered_proof: String,
    /// The new data's commitment.
    pub comm_d: Commitment,
    /// The replicas before and after the update.
    #[serde(flatten)]
    pub files: SnapFiles,
    /// A file for the whole data, fr32-padded.
    pub data_path: PathBuf,
    /// Where the bytes go.
    pub unsealed_output: PathBuf,
    /// Where the range begins, in unpadded bytes.
    pub offset: u64,
    /// Its size, in unpadded bytes.
    pub num_bytes: u64,
}

/// Decodes a range of a replica; yields how many bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unseal {
    /// The proof type's name.
    pub registered_proof: String,
    /// The miner's address as 32 bytes.
    pub prover_id: [u8; 32],
    /// The sector's number, unique for its miner.
    pub sector_id: u64,
    /// Of the data: the root of tree-d.
    pub comm_d: Commitment,
    /// The ticket that the replica was made with.
    pub ticket: [u8; 32],
    /// The replica's `p_aux`; layers are made here.
    pub cache_dir: PathBuf,
    /// The sealed file that is decoded.
    pub sealed_file: PathBuf,
    /// Where the bytes go.
    pub unsealed_output: PathBuf,
    /// Where the range begins, in unpadded bytes.
    pub offset: u64,
    /// Its size, in unpadded bytes.
    pub num_bytes: u64,
}

/// The commitment of a piece's bytes; yields it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PieceCommitment {
    /// The proof type's name.
    pub registered_proof: String,
    /// A file with the piece's unpadded bytes.
    pub piece_file: PathBuf,
    /// Its size, in unpadded bytes.
    pub piece_size: u64,
}

/// Brings files and directories to other places, whole or not at all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// The stores that the routes name.
    pub stores: BTreeMap<String, TransferStoreInfo>,
    /// From where to where.
    pub routes: Vec<TransferRoute>,
}

/// What the sector manager says of a store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransferStoreInfo {
    /// As the sector manager calls it.
    pub name: String,
    /// Free-form facts, for whoever transfers.
    pub meta: Option<BTreeMap<String, String>>,
}

/// One file or directory to transfer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransferRoute {
    /// What is to be transferred.
    pub src: TransferItem,
    /// Where it is to be, once it is whole.
    pub dest: TransferItem,
    /// What the item is, and what will do.
    pub opt: Option<TransferOption>,
}

/// An end of a route.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransferItem {
    /// The store that it is in, if it is in one.
    pub store_name: Option<String>,
    /// Its path on this machine.
    pub uri: PathBuf,
}

/// What the item of a route is, and what will do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct TransferOption {
    /// It is a directory.
    pub is_dir: bool,
    /// A link will do.
    pub allow_link: bool,
}

/// Proves that sectors are still there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WindowPost {
    /// The miner's actor id.
    pub miner_id: u64,
    /// The window-PoSt proof type's name.
    pub proof_type: String,
    /// The sectors of the partition.
    pub replicas: Vec<PostReplica>,
    /// Randomness of the chain that the proofs answer.
    pub seed: [u8; 32],
}

/// A sector to prove.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PostReplica {
    /// The sector's number, unique for its miner.
    pub sector_id: u64,
    /// Of the replica, as the chain knows it.
    pub comm_r: Commitment,
    /// The directory with its trees.
    pub cache_dir: PathBuf,
    /// The sealed file, of the sector's size.
    pub sealed_file: PathBuf,
}

/// Proves to the chain that the miner may make a block: a damocles-manager with `--ext-prover` asks
/// for it, no plan does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WinningPost {
    /// The miner's actor id.
    pub miner_id: u64,
    /// The winning-PoSt proof type's name.
    pub proof_type: String,
    /// The sectors that the chain has chosen.
    pub replicas: Vec<PostReplica>,
    /// Randomness of the chain that the proof answers.
    pub seed: [u8; 32],
}

/// The proofs of a winning PoSt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WinningPostOutput {
    /// Their bytes.
    pub proofs: Vec<Base64Bytes>,
}

/// Proofs, and the sectors that have none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowPostOutput {
    /// One for each partition.
    pub proofs: Vec<Base64Bytes>,
    /// Numbers of the sectors that cannot be proven.
    pub faults: Vec<u64>,
}

/// A miner's address as the proofs library wants it: the payload of the ID address (unsigned LEB128
/// of the actor id), filled up with zeros (Filecoin spec, Address, protocol 0).
pub fn prover_id(miner: u64) -> [u8; 32] {
    let mut id = [0; 32];
    let mut rest = miner;
    for byte in &mut id {
        *byte = (rest & 0x7F) as u8;
        rest >>= 7;
        if rest == 0 {
            break;
        }
        *byte |= 0x80;
    }
    id
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
