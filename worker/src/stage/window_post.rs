//! WindowPoSt: proves that the sectors of a partition are still there, and hands the proof in.

use shared_msgs::id::Id;
use shared_msgs::sector_manager::{WdpostFinish, WdpostOutput};

use super::{Shared, on_disk};
use crate::{
    activity::Activity,
    failure::Failure,
    processor::task::{PostReplica, WindowPost},
    sector_manager,
    store::{
        attached::{self, AttachedStore},
        record::Wdpost,
    },
};

// A job holds several partitions, at most as many as one message on chain: the sectors of a 32 GiB
// partition (Filecoin actors, `WindowPoStPartitionSectors`), of which one message has 10.
const MAX_SECTORS: usize = 2349 * 10;

/// A window-PoSt job, and what its stages work with.
pub(crate) struct WdpostRun<'a> {
    /// The job as it was committed last.
    pub(crate) wdpost: &'a Wdpost,
    /// The id for what a stage asks the sector manager to change.
    pub(crate) request_id: Id,
    pub(crate) shared: &'a Shared,
    /// Where the stage says what it is doing.
    pub(crate) activity: &'a Activity,
}

pub(crate) async fn generate(run: &WdpostRun<'_>) -> Result<Wdpost, Failure> {
    let WdpostRun { wdpost, shared, activity, .. } = *run;
    let input = &wdpost.job.input;
    let (count, job) = (input.sectors.len(), &wdpost.job.id);
    if count == 0 || count > MAX_SECTORS {
        return Err(Failure::permanent(format!(
            "job {job} has {count} sectors: one has 1 to {MAX_SECTORS}"
        )));
    }
    let resolve =
        |access: &str| attached::resolve(&shared.attached, access).map_err(Failure::permanent);
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
    let stores: Vec<_> = shared.attached.iter().filter(used).cloned().collect();
    on_disk(move || stores.iter().try_for_each(AttachedStore::check_present)).await?;
    let task = WindowPost {
        miner_id: input.miner_id,
        proof_type: input.proof_type.clone(),
        replicas,
        seed: input.seed,
    };
    let output = shared.processors.run(task, activity).await?;
    let output = WdpostOutput { proofs: output.proofs, faults: output.faults };
    Ok(Wdpost { output: Some(output), ..wdpost.clone() })
}

/// Hands the proofs in; the sectors that have none are named beside them.
pub(crate) async fn submit(run: &WdpostRun<'_>) -> Result<Wdpost, Failure> {
    let WdpostRun { wdpost, request_id, shared, activity } = *run;
    let output =
        wdpost.output.clone().ok_or_else(|| Failure::critical("the job's record has no proofs"))?;
    let worker = Some(shared.worker.clone());
    let request = WdpostFinish {
        request_id,
        job: wdpost.job.id.clone(),
        worker,
        output: Some(output),
        // Faults are a success: the sectors are named, and the proof holds without them.
        error: String::new(),
    };
    sector_manager::ask(&shared.sector_manager, activity, &request).await?;
    Ok(wdpost.clone())
}
