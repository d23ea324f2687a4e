//! The real Filecoin proofs (crate `sealing-proofs`). Blocking and heavy: called on blocking
//! threads only. Errors are the library's own words.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use sealing_proofs::api::{
    PartitionProofBytes, PieceInfo as ProofsPieceInfo, PrivateReplicaInfo, PublicReplicaInfo,
    RegisteredPoStProof, RegisteredSealProof, RegisteredUpdateProof, SectorId, UnpaddedByteIndex,
    UnpaddedBytesAmount, post,
    seal::{self, SealCommitPhase1Output, SealPreCommitPhase1Output, SealPreCommitPhase2Output},
    update,
};
use sealing_proofs::{
    parents,
    replica::{self, Files, Identity},
};
use serde::{Serialize, de::DeserializeOwned};
use shared_msgs::sector_manager::{Base64Bytes, Commitment};

use super::{
    descriptors, piece_reader, piece_server,
    task::{
        AddPieces, C1, C2, C2Output, CommD, Opaque, Pc1, Pc2, Pc2Output, PieceCommitment,
        PieceInfo, PostReplica, Replica, SnapCommitments, SnapDecode, SnapEncode, SnapEncodeOutput,
        SnapFiles, SnapProve, SnapVanilla, SynthProof, TreeD, Unseal, VerifySeal, VerifySnap,
        WindowPost, WindowPostOutput, WinningPost, WinningPostOutput,
    },
};
use crate::{
    failure::{Failure, may_pass},
    store::files::require_space,
};

/// What went wrong, in the library's words with every cause on one line.
#[derive(Debug)]
pub struct Error {
    message: String,
    /// Trying again may help: a disk is full, a server does not answer.
    temporary: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.temporary {
            Failure::temporary(error.message)
        } else {
            Failure::permanent(error.message)
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

type Result<T> = std::result::Result<T, Error>;

/// Writes the pieces into a fresh unsealed file.
pub fn add_pieces(task: AddPieces) -> Result<Vec<PieceInfo>> {
    let proof: RegisteredSealProof = proof_named(&task.seal_proof_type)?;
    let token = task.piece_token.clone().or_else(piece_server::token_of_environment);
    let path = &task.staged_filepath;
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
    let mut staged = opened.map_err(|error| at(path, error))?;
    let mut lengths: Vec<UnpaddedBytesAmount> = Vec::with_capacity(task.pieces.len());
    let mut infos = Vec::with_capacity(task.pieces.len());
    for piece in &task.pieces {
        let size = UnpaddedBytesAmount(piece.piece_size);
        let mut source = piece_reader::open(piece, token.as_ref())
            .map_err(|error| Error { message: error.to_string(), temporary: true })?;
        let added = replica::add_piece(proof, &mut *source, &mut staged, size, &lengths);
        let info = added.map_err(|error| words(error).near(path))?;
        lengths.push(size);
        infos.push(PieceInfo { commitment: info.commitment, size: info.size.0 });
    }
    staged.sync_all().map_err(|error| at(path, error))?;
    check_written(path, &staged, u64::from(proof.sector_size()))?;
    Ok(infos)
}

/// Builds the tree of the unsealed file, which is read as a stream: a sector may be larger than the
/// memory.
pub fn tree_d(task: TreeD) -> Result<Opaque> {
    let path = &task.staged_file;
    let file = File::open(path).map_err(|error| at(path, error))?;
    let size = file.metadata().map_err(|error| at(path, error))?.len();
    let sector_size =
        u64::from(proof_named::<RegisteredSealProof>(&task.registered_proof)?.sector_size());
    if size != sector_size {
        return Err(permanent(format!(
            "{}: {size} bytes, a sector has {sector_size}",
            path.display()
        )));
    }
    replica::build_tree_d(path, &task.cache_dir)
        .map_err(|error| words(error).near(&task.cache_dir))?;
    opaque(&true)
}

/// Encodes new data into a replica.
pub(crate) fn snap_encode(task: SnapEncode) -> Result<SnapEncodeOutput> {
    let old = Files { replica: &task.sector_path, cache: &task.sector_cache_path };
    let new = Files { replica: &task.new_replica_path, cache: &task.new_cache_path };
    let (proof, pieces) = (proof_named(&task.registered_proof)?, piece_infos(&task.piece_infos)?);
    let encoded = replica::encode_update(proof, old, new, &task.staged_data_path, &pieces);
    let [comm_r_new, comm_r_last_new, comm_d_new] =
        encoded.map_err(|error| words(error).near(new.replica))?;
    Ok(SnapEncodeOutput { comm_r_new, comm_r_last_new, comm_d_new })
}

/// Makes the vanilla proofs of an update, and checks them.
pub(crate) fn snap_vanilla(task: SnapVanilla) -> Result<Vec<Vec<u8>>> {
    let proof: RegisteredUpdateProof = proof_named(&task.registered_proof)?;
    let SnapCommitments { comm_r_old, comm_r_new, comm_d_new } = task.commitments;
    let (old, new) = replicas(&task.files);
    let commitments = [comm_r_old, comm_r_new, comm_d_new];
    let proofs = replica::update_vanilla_proofs(proof, commitments, old, new);
    let proofs = proofs.map_err(|error| words(error).near(new.cache))?;
    if !update::verify_partition_proofs(proof, &proofs, comm_r_old, comm_r_new, comm_d_new)
        .map_err(words)?
    {
        return Err(permanent("the vanilla proofs of the update do not verify"));
    }
    Ok(proofs.into_iter().map(|proof| proof.0).collect())
}

pub(crate) fn snap_prove(task: SnapProve) -> Result<Vec<u8>> {
    let proof = proof_named(&task.registered_proof)?;
    let vanilla = task.vannilla_proofs.into_iter().map(PartitionProofBytes).collect();
    let SnapCommitments { comm_r_old, comm_r_new, comm_d_new } = task.commitments;
    let proven = update::generate_empty_sector_update_proof_with_vanilla(
        proof, vanilla, comm_r_old, comm_r_new, comm_d_new,
    );
    Ok(proven.map_err(words)?.0)
}

/// Whether the proof is one of this update.
pub fn verify_snap(task: VerifySnap) -> Result<bool> {
    let SnapCommitments { comm_r_old, comm_r_new, comm_d_new } = task.commitments;
    let proof = proof_named(&task.registered_proof)?;
    update::verify_empty_sector_update_proof(proof, &task.proof, comm_r_old, comm_r_new, comm_d_new)
        .map_err(words)
}

/// Decodes the whole data of an updated replica, and takes a range of it out.
pub(crate) fn snap_decode(task: SnapDecode) -> Result<u64> {
    let (old, new) = replicas(&task.files);
    let (out, proof) = (&task.data_path, proof_named(&task.registered_proof)?);
    let size = std::fs::metadata(old.replica).map_err(|error| at(old.replica, error))?.len();
    File::create(out).and_then(|file| file.set_len(size)).map_err(|error| at(out, error))?;
    replica::decode_update(proof, old, new.replica, task.comm_d, out)
        .map_err(|error| words(error).near(new.replica))?;
    remove_padding(out, &task.unsealed_output, task.offset, task.num_bytes)?;
    Ok(task.num_bytes)
}

fn replicas(files: &SnapFiles) -> (Files<'_>, Files<'_>) {
    (
        Files { replica: &files.sector_path, cache: &files.sector_cache_path },
        Files { replica: &files.new_replica_path, cache: &files.new_cache_path },
    )
}

// Takes the fr32 padding out of a range, given in unpadded bytes.
fn remove_padding(padded: &Path, out: &Path, offset: u64, size: u64) -> Result<()> {
    let mut source = File::open(padded).map_err(|error| at(padded, error))?;
    source.seek(SeekFrom::Start(offset / 127 * 128)).map_err(|error| at(padded, error))?;
    let mut target = std::io::BufWriter::new(File::create(out).map_err(|error| at(out, error))?);
    // A 127-byte unit is 128 bytes long when it is padded.
    let mut unit = [0; 128];
    for _ in 0..size / 127 {
        source.read_exact(&mut unit).map_err(|error| at(padded, error))?;
        replica::unpad_unit(&unit, &mut target).map_err(|error| at(out, error))?;
    }
    target
        .into_inner()
        .map_err(|error| at(out, error.into_error()))?
        .sync_all()
        .map_err(|error| at(out, error))
}

/// Decodes a range of a replica.
pub(crate) fn unseal(task: Unseal) -> Result<u64> {
    let files = Files { replica: &task.sealed_file, cache: &task.cache_dir };
    let identity = Identity { prover: task.prover_id, sector: task.sector_id, ticket: task.ticket };
    let (offset, size) = (UnpaddedByteIndex(task.offset), UnpaddedBytesAmount(task.num_bytes));
    ensure_parents(&task.registered_proof)?;
    let proof = proof_named(&task.registered_proof)?;
    let decoded =
        replica::unseal(proof, files, &task.unsealed_output, &identity, task.comm_d, offset, size);
    let decoded = decoded.map_err(|error| words(error).near(&task.sealed_file))?.0;
    let out = &task.unsealed_output;
    let file = File::open(out)
        .and_then(|file| file.sync_all().map(|()| file))
        .map_err(|error| at(out, error))?;
    check_written(out, &file, task.num_bytes)?;
    Ok(decoded)
}

/// The commitment of a piece's bytes.
pub fn piece_commitment(task: PieceCommitment) -> Result<Commitment> {
    let (path, size) = (&task.piece_file, UnpaddedBytesAmount(task.piece_size));
    let mut source = File::open(path).map_err(|error| at(path, error))?;
    replica::piece_commitment(proof_named(&task.registered_proof)?, &mut source, size)
        .map_err(|error| words(error).near(path))
}

/// Proves that sectors are still there, and checks the proof.
pub(crate) fn window_post(task: WindowPost) -> Result<WindowPostOutput> {
    let proof_type: RegisteredPoStProof = proof_named(&task.proof_type)?;
    let mut private = BTreeMap::new();
    let mut public = vec![];
    let mut faults = vec![];
    for replica in task.replicas {
        let id = SectorId::from(replica.sector_id);
        if !replica.sealed_file.is_file() || !replica.cache_dir.is_dir() {
            faults.push(replica.sector_id);
            continue;
        }
        public.push((replica.sector_id, replica.comm_r));
        private.insert(
            id,
            PrivateReplicaInfo::new(
                proof_type,
                replica.comm_r,
                replica.cache_dir,
                replica.sealed_file,
            ),
        );
    }
    if !faults.is_empty() || private.is_empty() {
        return Ok(WindowPostOutput { proofs: vec![], faults });
    }
    let prover = super::task::prover_id(task.miner_id);
    let proofs = post::generate_window_post(&task.seed, &private, prover).map_err(words)?;
    let proofs: Vec<_> = proofs.into_iter().map(|(_, proof)| proof).collect();
    if !verify_window_post(&task.proof_type, &task.seed, task.miner_id, &public, &proofs)? {
        return Err(permanent("the window-PoSt proof does not verify"));
    }
    Ok(WindowPostOutput { proofs: proofs.into_iter().map(Base64Bytes).collect(), faults })
}

/// Proves that the miner may make a block, and checks the proof.
pub(crate) fn winning_post(task: WinningPost) -> Result<WinningPostOutput> {
    let proof_type: RegisteredPoStProof = proof_named(&task.proof_type)?;
    let mut private = BTreeMap::new();
    let mut public = BTreeMap::new();
    for PostReplica { sector_id, comm_r, cache_dir, sealed_file } in task.replicas {
        let id = SectorId::from(sector_id);
        public.insert(id, PublicReplicaInfo::new(proof_type, comm_r));
        private.insert(id, PrivateReplicaInfo::new(proof_type, comm_r, cache_dir, sealed_file));
    }
    let prover = super::task::prover_id(task.miner_id);
    let proofs = post::generate_winning_post(&task.seed, &private, prover).map_err(words)?;
    for (_, proof) in &proofs {
        if !post::verify_winning_post(&task.seed, proof, &public, prover).map_err(words)? {
            return Err(permanent("the winning-PoSt proof does not verify"));
        }
    }
    let proofs = proofs.into_iter().map(|(_, proof)| Base64Bytes(proof)).collect();
    Ok(WinningPostOutput { proofs })
}

/// Whether the proofs are those of these sectors, given by their numbers and commitments.
pub fn verify_window_post(
    proof_type: &str,
    seed: &[u8; 32],
    miner: u64,
    sectors: &[(u64, [u8; 32])],
    proofs: &[Vec<u8>],
) -> Result<bool> {
    let proof_type: RegisteredPoStProof = proof_named(proof_type)?;
    let public = sectors.iter().map(|(number, comm_r)| {
        (SectorId::from(*number), PublicReplicaInfo::new(proof_type, *comm_r))
    });
    let proofs: Vec<_> = proofs.iter().map(|proof| (proof_type, proof.as_slice())).collect();
    post::verify_window_post(seed, &proofs, &public.collect(), super::task::prover_id(miner))
        .map_err(words)
}

/// The data's commitment that follows from the pieces.
pub(crate) fn comm_d(task: CommD) -> Result<Commitment> {
    let pieces = piece_infos(&task.piece_infos)?;
    seal::compute_comm_d(proof_named(&task.registered_proof)?, &pieces).map_err(words)
}

/// Pre-commit phase 1: makes the layers, and first of all the parents cache where it is missing.
pub fn pc1(task: Pc1) -> Result<Opaque> {
    ensure_parents(&task.registered_proof)?;
    File::create(&task.out_path).map_err(|error| at(&task.out_path, error))?;
    let files = Files { replica: &task.out_path, cache: &task.cache_path };
    let identity = Identity { prover: task.prover_id, sector: task.sector_id, ticket: task.ticket };
    let (proof, pieces) = (proof_named(&task.registered_proof)?, piece_infos(&task.piece_infos)?);
    let output = replica::pre_commit_phase1(proof, &task.in_path, files, &identity, &pieces);
    opaque(&output.map_err(words)?)
}

/// Makes the trees and the replica.
pub fn pc2(task: Pc2) -> Result<Pc2Output> {
    let phase1: SealPreCommitPhase1Output = transparent(&task.pc1out)?;
    let files = Files { replica: &task.sealed_file, cache: &task.cache_dir };
    let output = replica::pre_commit_phase2(phase1, files)
        .map_err(|error| words(error).near(&task.sealed_file))?;
    Ok(Pc2Output {
        registered_proof: name_of(output.registered_proof)?,
        comm_r: output.comm_r,
        comm_d: output.comm_d,
    })
}

pub(crate) fn synth_proof(task: SynthProof) -> Result<bool> {
    let (files, identity, pre_commit, pieces) = proofs_view(&task.replica)?;
    replica::synthetic_proofs(files, &identity, pre_commit, &pieces)
        .map_err(|error| words(error).near(files.cache))?;
    Ok(true)
}

/// Commit phase 1: makes the vanilla proofs of the challenges that the seed selects.
pub fn c1(task: C1) -> Result<Opaque> {
    let (files, identity, pre_commit, pieces) = proofs_view(&task.replica)?;
    let output = replica::commit_phase1(files, &identity, task.seed, pre_commit, &pieces);
    opaque(&output.map_err(|error| words(error).near(files.cache))?)
}

/// Commit phase 2: makes the proof from the vanilla ones, with the Groth16 parameters.
pub fn c2(task: C2) -> Result<C2Output> {
    let phase1: SealCommitPhase1Output = transparent(&task.c1out)?;
    let output = seal::seal_commit_phase2(phase1, task.prover_id, SectorId::from(task.sector_id))
        .map_err(words)?;
    Ok(C2Output { proof: output.proof })
}

/// Whether the proof is one of this replica.
pub fn verify_seal(task: VerifySeal) -> Result<bool> {
    let pre_commit = &task.pre_commit;
    let registered = proof_named(&pre_commit.registered_proof)?;
    seal::verify_seal(
        registered,
        pre_commit.comm_r,
        pre_commit.comm_d,
        task.prover_id,
        SectorId::from(task.sector_id),
        task.ticket,
        task.seed,
        &task.proof,
    )
    .map_err(words)
}

type ProofsView<'a> = (Files<'a>, Identity, SealPreCommitPhase2Output, Vec<ProofsPieceInfo>);

fn proofs_view(replica: &Replica) -> Result<ProofsView<'_>> {
    let pre_commit = &replica.pre_commit;
    let registered_proof = proof_named(&pre_commit.registered_proof)?;
    let output = SealPreCommitPhase2Output {
        registered_proof,
        comm_r: pre_commit.comm_r,
        comm_d: pre_commit.comm_d,
    };
    let files = Files { replica: &replica.replica_path, cache: &replica.cache_path };
    let identity =
        Identity { prover: replica.prover_id, sector: replica.sector_id, ticket: replica.ticket };
    Ok((files, identity, output, piece_infos(&replica.piece_infos)?))
}

// Where layers are made, the library reads the parents cache as it is.
fn ensure_parents(proof: &str) -> Result<()> {
    parents::ensure(proof_named(proof)?, &parents::directory(), require_space)
        .map(drop)
        .map_err(words)
}

fn piece_infos(pieces: &[PieceInfo]) -> Result<Vec<ProofsPieceInfo>> {
    pieces
        .iter()
        .map(|piece| {
            ProofsPieceInfo::new(piece.commitment, UnpaddedBytesAmount(piece.size)).map_err(words)
        })
        .collect()
}

fn proof_named<T: DeserializeOwned>(name: &str) -> Result<T> {
    serde_json::from_value(serde_json::Value::from(name))
        .map_err(|error| permanent(format!("proof type {name}: {error}")))
}

fn name_of(proof: RegisteredSealProof) -> Result<String> {
    serde_json::to_value(proof).and_then(serde_json::from_value).map_err(permanent)
}

fn opaque<T: Serialize>(output: &T) -> Result<Opaque> {
    serde_json::value::to_raw_value(output).map_err(permanent)
}

fn transparent<T: DeserializeOwned>(json: &Opaque) -> Result<T> {
    serde_json::from_str(json.get()).map_err(permanent)
}

fn permanent(message: impl ToString) -> Error {
    Error { message: message.to_string(), temporary: false }
}

// The library buffers its output and does not say when the last of it could not be written.
fn check_written(path: &Path, file: &File, expected: u64) -> Result<()> {
    let written = file.metadata().map_err(|error| at(path, error))?.len();
    if written == expected {
        return Ok(());
    }
    let message = format!(
        "{}: {written} bytes were written of {expected}: is the disk full?",
        path.display()
    );
    Err(Error { message, temporary: true })
}

fn at(path: &Path, error: std::io::Error) -> Error {
    words(error).near(path)
}

impl Error {
    // The library seldom says which file it was about.
    fn near(self, path: &Path) -> Error {
        let shown = path.display().to_string();
        if self.message.contains(&shown) {
            self
        } else {
            Error { message: format!("{shown}: {}", self.message), ..self }
        }
    }
}

// The whole chain of causes on one line.
fn words(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let error = error.into();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    // The library may have found a file missing that it could not make for want of open files, and
    // say only that.
    let temporary = may_pass(&text) || descriptors::are_short();
    Error { message: text, temporary }
}
