//! The tasks of damocles's stages for its own crate `vc-processors`: their fields as that crate
//! reads and writes them. What one lacks, or calls otherwise, is no task of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vc_processors::core::{
    Processor, Task,
    ext::{BoxedFinalizeHook, BoxedPrepareHook, ProducerBuilder},
};

/// Starts a program as damocles starts a processor, and waits until it says that it is ready.
pub fn start<T: Task>(
    program: PathBuf,
    args: Vec<String>,
) -> anyhow::Result<impl Processor<T> + 'static> {
    let builder = ProducerBuilder::<BoxedPrepareHook<T>, BoxedFinalizeHook<T>>::new(program, args);
    builder.spawn::<T>()
}

type Bytes32 = [u8; 32];

macro_rules! records {
    ($($(#[$attribute:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$attribute])*
        #[derive(Debug, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "they are called as damocles calls them")]
        pub struct $name {
            $(pub $field: $type),*
        }
    )*};
}

macro_rules! tasks {
    ($($name:ident $stage:literal -> $output:ty;)*) => {
        $(impl Task for $name {
            const STAGE: &'static str = $stage;
            type Output = $output;
        })*

        /// The stages that damocles has processors for.
        pub const STAGES: &[&str] = &[$($stage),*];

        /// Does what is said of `T`, one of these tasks.
        #[macro_export]
        macro_rules! for_damocles_task {
            ($of:expr, $does:ident($with:expr)) => {
                match $of {
                    $($stage => $does::<$crate::damocles_tasks::$name>($with),)*
                    other => panic!("damocles has no stage {other}"),
                }
            };
        }
    };
}

records! {
    /// Pieces to write.
    AddPieces { seal_proof_type: String, pieces: Vec<Piece>, staged_filepath: PathBuf }
    /// One of them.
    Piece { piece_file: PieceFile, payload_size: u64, piece_size: u64 }
    /// One as it was written.
    PieceInfo { commitment: Bytes32, size: u64 }
    /// A tree to build.
    TreeD { registered_proof: String, staged_file: PathBuf, cache_dir: PathBuf }
    /// Layers to make.
    Pc1 {
        registered_proof: String, cache_path: PathBuf, in_path: PathBuf, out_path: PathBuf,
        prover_id: Bytes32, sector_id: u64, ticket: Bytes32, piece_infos: Vec<PieceInfo>,
    }
    /// A replica to encode.
    Pc2 { pc1out: Box<RawValue>, cache_dir: PathBuf, sealed_file: PathBuf }
    /// Its commitments.
    Pc2Output { registered_proof: String, comm_r: Bytes32, comm_d: Bytes32 }
    /// A proof to make.
    C2 { c1out: Box<RawValue>, prover_id: Bytes32, sector_id: u64, miner_id: u64 }
    /// It.
    C2Output { proof: Vec<u8> }
    /// A replica to encode anew.
    SnapEncode {
        registered_proof: String, new_replica_path: PathBuf, new_cache_path: PathBuf,
        sector_path: PathBuf, sector_cache_path: PathBuf, staged_data_path: PathBuf,
        piece_infos: Vec<PieceInfo>,
    }
    /// Its commitments.
    SnapEncodeOutput { comm_r_new: Bytes32, comm_r_last_new: Bytes32, comm_d_new: Bytes32 }
    /// An upgrade to prove.
    SnapProve {
        registered_proof: String, vannilla_proofs: Vec<Vec<u8>>, comm_r_old: Bytes32,
        comm_r_new: Bytes32, comm_d_new: Bytes32,
    }
    /// Files to bring somewhere.
    Transfer { stores: serde_json::Map<String, serde_json::Value>, routes: Vec<TransferRoute> }
    /// One of them.
    TransferRoute { src: TransferItem, dest: TransferItem, opt: Option<TransferOption> }
    /// An end of its way.
    TransferItem { store_name: Option<String>, uri: PathBuf }
    /// What it is.
    TransferOption { is_dir: bool, allow_link: bool }
    /// A range to decode.
    Unseal {
        registered_proof: String, prover_id: Bytes32, sector_id: u64, comm_d: Bytes32,
        ticket: Bytes32, cache_dir: PathBuf, sealed_file: PathBuf, unsealed_output: PathBuf,
        offset: u64, num_bytes: u64,
    }
    /// Sectors to prove.
    WindowPost { miner_id: u64, proof_type: String, replicas: Vec<PostReplica>, seed: Bytes32 }
    /// Sectors that the chain has chosen.
    WinningPost { miner_id: u64, proof_type: String, replicas: Vec<PostReplica>, seed: Bytes32 }
    /// One of them.
    PostReplica { sector_id: u64, comm_r: Bytes32, cache_dir: PathBuf, sealed_file: PathBuf }
    /// Proofs, as base64, and sectors that have none.
    WindowPostOutput { proofs: Vec<String>, faults: Vec<u64> }
    /// Proofs, as base64.
    WinningPostOutput { proofs: Vec<String> }
}

/// Where a piece's bytes come from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "they are called as damocles calls them")]
pub enum PieceFile {
    Url(String),
    Local(PathBuf),
    Pledge,
}

tasks! {
    AddPieces "add_pieces" -> Vec<PieceInfo>;
    TreeD "tree_d" -> bool;
    Pc1 "pc1" -> Box<RawValue>;
    Pc2 "pc2" -> Pc2Output;
    C2 "c2" -> C2Output;
    SnapEncode "snap_encode" -> SnapEncodeOutput;
    SnapProve "snap_prove" -> Vec<u8>;
    Transfer "transfer" -> bool;
    Unseal "unseal" -> u64;
    WindowPost "window_post" -> WindowPostOutput;
    WinningPost "winning_post" -> WinningPostOutput;
}
