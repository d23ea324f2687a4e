//! Upgrades (FIP-0019): PrepareForSnapup, SnapEncode, SnapProve and SubmitSnapupProof.
//!
//! Decision 030 in `docs/decisions`.

use std::fs;

use shared_msgs::{
    plan::{Plan, PlanEvent},
    sector_manager::{Base64Bytes, Commitment, SubmitResult, SubmitSnapupProof},
};

use super::{Done, StageRun, add_pieces, field, on_disk, submission::accepted};
use crate::{
    failure::Failure,
    processor::task::{SnapCommitments, SnapEncode, SnapFiles, SnapProve, SnapVanilla, VerifySnap},
    store::{
        attached::{Kind, ReplicaFiles},
        durable::{sync_dir_and_files, sync_file},
        files::{at, fresh_dir, remove_path},
    },
};

/// Adds the new pieces to a sector that is sealed again, if it had got any.
pub(super) async fn prepare(run: &StageRun<'_>) -> Result<Done, Failure> {
    match run.sector.upgrade {
        None => run.done(PlanEvent::SkipSnap, |_| {}),
        Some(_) => add_pieces::run(run).await,
    }
}

/// Makes the new replica from the old one and the new data.
pub(super) async fn encode(run: &StageRun<'_>) -> Result<Done, Failure> {
    let (old, new) = (run.old_replica().await?, run.local(Kind::Update));
    // The new replica, the data's tree and tree-r-last.
    run.require_sectors(4).await?;
    let size = run.sector_size();
    on_disk({
        let new = new.clone();
        move || {
            fresh_dir(&new.cache)?;
            remove_path(&new.replica)?;
            fs::File::create(&new.replica)
                .and_then(|file| file.set_len(size))
                .map_err(|error| at(&new.replica, error))
        }
    })
    .await?;
    let task = SnapEncode {
        registered_proof: run.update_proof_name(),
        new_replica_path: new.replica,
        new_cache_path: new.cache,
        sector_path: old.replica,
        sector_cache_path: old.cache,
        staged_data_path: run.files.update_unsealed.clone(),
        piece_infos: run.piece_infos()?,
    };
    let encoded = run.compute(task).await?;
    let new = run.local(Kind::Update);
    on_disk(move || sync_file(&new.replica).and_then(|()| sync_dir_and_files(&new.cache))).await?;
    let upgrade = run.upgrade()?;
    if encoded.comm_d_new != *field(&upgrade.comm_d, "commD of the upgrade")? {
        return Err(Failure::permanent("the encoded data's commD is not that of tree-d"));
    }
    if let Some(known) = upgrade.known_comm_r.filter(|known| *known != encoded.comm_r_new) {
        let (known, found) = (hex(&known), hex(&encoded.comm_r_new));
        return Err(Failure::permanent(format!(
            "the upgraded replica has commR {found}, the chain knows {known}"
        )));
    }
    run.done(PlanEvent::SnapEncode, |sector| {
        if let Some(upgrade) = &mut sector.upgrade {
            upgrade.comm_r = Some(encoded.comm_r_new);
        }
    })
}

/// Proves the upgrade. A rebuild only checks that it could: the chain has the proof.
pub(super) async fn prove(run: &StageRun<'_>) -> Result<Done, Failure> {
    let (registered_proof, commitments) = (run.update_proof_name(), run.update_commitments()?);
    let (old, new) = (run.old_replica().await?, run.local(Kind::Update));
    let task = SnapVanilla {
        registered_proof: registered_proof.clone(),
        commitments,
        files: snap_files(old, new),
    };
    let vannilla_proofs = run.compute(task).await?;
    if run.plan == Plan::Rebuild {
        return run.done(PlanEvent::SnapProve, |_| {});
    }
    let task =
        SnapProve { registered_proof: registered_proof.clone(), vannilla_proofs, commitments };
    let proof = run.compute(task).await?;
    let task = VerifySnap { registered_proof, commitments, proof: proof.clone() };
    run.verify("the proof of the upgrade", task).await?;
    run.done(PlanEvent::SnapProve, |sector| {
        if let Some(upgrade) = &mut sector.upgrade {
            upgrade.proof = Some(Base64Bytes(proof));
        }
    })
}

pub(super) async fn submit(run: &StageRun<'_>) -> Result<Done, Failure> {
    let upgrade = run.upgrade()?;
    let SnapCommitments { comm_r_new, comm_d_new, .. } = run.update_commitments()?;
    let deals = run.sector.deals.iter().flatten();
    let request = SubmitSnapupProof {
        request_id: run.request_id,
        sector: run.id(),
        comm_r: comm_r_new,
        comm_d: comm_d_new,
        access_instance: field(&run.sector.persisted, "store")?.clone(),
        pieces: deals
            .filter(|piece| piece.deal_info.is_some())
            .map(|piece| piece.piece.piece_cid.clone())
            .collect(),
        proof: field(&upgrade.proof, "proof of the upgrade")?.clone(),
    };
    let reply = run.ask(&request).await?;
    if reply.res == SubmitResult::FilesMissed {
        tracing::warn!(sector = %run.id(), reason = reply.desc, "the sector manager misses files: they are persisted again");
        run.poll_later("the files to be persisted again").await;
        return run.done(PlanEvent::RePersist, |_| {});
    }
    accepted("proof of the upgrade", reply)?;
    run.done(PlanEvent::Finish, |_| {})
}

impl StageRun<'_> {
    fn update_commitments(&self) -> Result<SnapCommitments, Failure> {
        let upgrade = self.upgrade()?;
        Ok(SnapCommitments {
            comm_r_old: *field(&self.sector.comm_r, "commR")?,
            comm_r_new: *field(&upgrade.comm_r, "commR of the upgrade")?,
            comm_d_new: *field(&upgrade.comm_d, "commD of the upgrade")?,
        })
    }

    // In its store, or just sealed again.
    async fn old_replica(&self) -> Result<ReplicaFiles, Failure> {
        match &self.upgrade()?.source {
            Some(name) => Ok(self.store_named(name).await?.files(self.id(), Kind::Sealed)),
            None => Ok(self.local(Kind::Sealed)),
        }
    }
}

pub(super) fn snap_files(old: ReplicaFiles, new: ReplicaFiles) -> SnapFiles {
    SnapFiles {
        sector_path: old.replica,
        sector_cache_path: old.cache,
        new_replica_path: new.replica,
        new_cache_path: new.cache,
    }
}

fn hex(commitment: &Commitment) -> String {
    commitment.iter().map(|byte| format!("{byte:02x}")).collect()
}
