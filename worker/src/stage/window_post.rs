//! WindowPoSt: proves that the sectors of a partition are still there, and hands the proof in.

use shared_msgs::sector_manager::{Base64Bytes, WdpostFinish, WdpostOutput};

use super::on_disk;
use crate::{
    failure::Failure,
    plan::driver::Step,
    processor::task::{PostReplica, WindowPost},
    store::{
        attached::{self, AttachedStore},
        record::Wdpost,
    },
};

// Sectors of a 32 GiB partition (Filecoin actors, `WindowPoStPartitionSectors`), the largest there
// is.
const MAX_SECTORS: usize = 2349;

/// Makes the proofs.
pub(crate) async fn generate(step: &Step<'_>, wdpost: &Wdpost) -> Result<Wdpost, Failure> {
    let input = &wdpost.job.input;
    let (count, job) = (input.sectors.len(), &wdpost.job.id);
    if count == 0 || count > MAX_SECTORS {
        return Err(Failure::permanent(format!(
            "job {job} has {count} sectors: a partition has 1 to {MAX_SECTORS}"
        )));
    }
    let resolve =
        |access: &str| attached::resolve(&step.shared.attached, access).map_err(Failure::permanent);
    let replicas = input.sectors.iter().map(|sector| {
        let (cache_dir, sealed_file) =
            (resolve(&sector.accesses.cache_dir)?, resolve(&sector.accesses.sealed_file)?);
        Ok(PostReplica {
            sector_id: sector.sector_id,
            comm_r: sector.comm_r,
            cache_dir,
            sealed_file,
        })
    });
    let replicas = replicas.collect::<Result<Vec<PostReplica>, Failure>>()?;
    // A store that is not mounted must not make faults of all its sectors.
    let used = |store: &&AttachedStore| {
        replicas.iter().any(|replica| replica.sealed_file.starts_with(&store.path))
    };
    let stores: Vec<_> = step.shared.attached.iter().filter(used).cloned().collect();
    on_disk(move || stores.iter().try_for_each(AttachedStore::check_present)).await?;
    let task = WindowPost {
        miner_id: input.miner_id,
        proof_type: input.proof_type.clone(),
        replicas,
        seed: input.seed,
    };
    let output = step.shared.processors.run(task, step.activity).await?;
    let output = WdpostOutput {
        proofs: output.proofs.into_iter().map(Base64Bytes).collect(),
        faults: output.faults,
    };
    Ok(Wdpost { output: Some(output), ..wdpost.clone() })
}

/// Hands them in.
pub(crate) async fn submit(step: &Step<'_>, wdpost: &Wdpost) -> Result<Wdpost, Failure> {
    let output =
        wdpost.output.clone().ok_or_else(|| Failure::critical("the job's record has no proofs"))?;
    let error = match output.faults.as_slice() {
        [] => String::new(),
        faults => format!("sectors whose files are missing: {faults:?}"),
    };
    let worker = Some(step.shared.worker.clone());
    let request = WdpostFinish {
        request_id: step.record.request_id,
        job: wdpost.job.id.clone(),
        worker,
        output: Some(output),
        error,
    };
    step.ask(&request).await?;
    Ok(wdpost.clone())
}
