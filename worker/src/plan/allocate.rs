//! Asking the sector manager for a job, as each plan does.

use shared_msgs::{
    plan::{Plan, PlanEvent, State},
    sector_manager::{
        AllocateRebuildSector, AllocateSector, AllocateSnapupSector, AllocateUnsealSector,
        AllocateWdpostJob, AllocatedSector, PrivateReplica, PublicReplica, SealVersion,
        piece_commitment, unpadded,
    },
};

use super::step::{Moved, Work, next};
use crate::{
    failure::Failure,
    store::record::{Sector, UnsealPiece, Upgrade, Wdpost},
};

impl Work<'_> {
    /// Asks for a job; `None` when there is none.
    pub(super) async fn allocate(&self) -> Result<Option<Moved>, Failure> {
        let plan = self.step.record.plan;
        // Its plan may have come from its own file, after the start.
        if plan.persists() && self.shared.attached.iter().all(|store| store.readonly) {
            return Err(Failure::permanent(format!(
                "plan {plan} takes no sector: no attached store can be written to; add an [[attached]] without readonly"
            )));
        }
        let allocated = match plan {
            Plan::Sealer | Plan::Niporep => {
                self.allocate_sector().await?.map(|sector| (PlanEvent::Allocate, sector))
            }
            Plan::Snapup => self
                .allocate_snapup()
                .await?
                .map(|sector| (PlanEvent::AllocatedSnapUpSector, sector)),
            Plan::Rebuild => self
                .allocate_rebuild()
                .await?
                .map(|sector| (PlanEvent::AllocatedRebuildSector, sector)),
            Plan::Unseal => self
                .allocate_unseal()
                .await?
                .map(|sector| (PlanEvent::AllocatedUnsealSector, sector)),
            Plan::Wdpost => return self.allocate_wdpost().await,
        };
        let Some((event, sector)) = allocated else { return Ok(None) };
        let state = next(plan, State::Empty, event)?;
        Ok(Some(Moved { state, event: Some(event), job: Some(sector.into()), outputs: vec![] }))
    }

    async fn allocate_sector(&self) -> Result<Option<Sector>, Failure> {
        let request = AllocateSector {
            request_id: self.step.record.request_id,
            spec: self.step.sealing.allocation(self.step.record.plan),
        };
        let Some(allocated) = self.ask(&request).await? else { return Ok(None) };
        if self.step.record.plan == Plan::Niporep
            && allocated.proof_type.version != SealVersion::NonInteractive
        {
            return Err(Failure::temporary(format!(
                "the sector manager allocated seal proof type {}, plan niporep seals with a non-interactive one",
                allocated.proof_type.number()
            )));
        }
        Ok(Some(Sector::new(allocated)))
    }

    async fn allocate_snapup(&self) -> Result<Option<Sector>, Failure> {
        let request = AllocateSnapupSector {
            request_id: self.step.record.request_id,
            sector: self.step.sealing.allocation(self.step.record.plan),
            deals: self.step.sealing.deals(),
        };
        let Some(found) = self.ask(&request).await? else { return Ok(None) };
        let PrivateReplica { access_instance } = found.private;
        Ok(Some(Sector {
            deals: Some(found.pieces),
            comm_r: Some(found.public.comm_r),
            upgrade: Some(Upgrade { source: Some(access_instance), ..Upgrade::default() }),
            ..Sector::new(found.sector)
        }))
    }

    async fn allocate_rebuild(&self) -> Result<Option<Sector>, Failure> {
        let request = AllocateRebuildSector {
            request_id: self.step.record.request_id,
            spec: self.step.sealing.allocation(self.step.record.plan),
        };
        let Some(found) = self.ask(&request).await? else { return Ok(None) };
        let known_comm_r = found.upgrade_public.map(|PublicReplica { comm_r }| comm_r);
        Ok(Some(Sector {
            deals: Some(found.pieces_v2.or(found.pieces).unwrap_or_default()),
            ticket: Some(found.ticket),
            upgrade: found.is_snap_up.then(|| Upgrade { known_comm_r, ..Upgrade::default() }),
            ..Sector::new(found.sector)
        }))
    }

    async fn allocate_unseal(&self) -> Result<Option<Sector>, Failure> {
        let request = AllocateUnsealSector {
            request_id: self.step.record.request_id,
            spec: self.step.sealing.allocation(self.step.record.plan),
        };
        let Some(found) = self.ask(&request).await? else { return Ok(None) };
        check_range(found.sector, found.offset, found.size)?;
        // It becomes the name of a file.
        piece_commitment(&found.piece_cid).map_err(|error| {
            Failure::temporary(format!("sector manager, allocate_unseal_sector: {error}"))
        })?;
        let piece = UnsealPiece {
            piece_cid: found.piece_cid,
            comm_d: found.comm_d,
            offset: found.offset,
            size: found.size,
            store: found.private_info.access_instance,
            done: false,
        };
        Ok(Some(Sector {
            ticket: Some(found.ticket),
            unseal: Some(piece),
            ..Sector::new(found.sector)
        }))
    }

    async fn allocate_wdpost(&self) -> Result<Option<Moved>, Failure> {
        let request = AllocateWdpostJob {
            request_id: self.step.record.request_id,
            allowed_miners: self.step.sealing.allowed_miners.clone(),
            allowed_proof_types: self.step.sealing.window_post_types(),
            count: 1,
            worker: self.shared.worker.clone(),
        };
        let Some(job) = self.ask(&request).await?.into_iter().next() else { return Ok(None) };
        let state = next(Plan::Wdpost, State::Empty, PlanEvent::Allocated)?;
        let wdpost = Wdpost { job, output: None, abort_reason: None };
        Ok(Some(Moved {
            state,
            event: Some(PlanEvent::Allocated),
            job: Some(wdpost.into()),
            outputs: vec![],
        }))
    }
}

// Whole 127-byte units of the sector: what fr32 padding and the proofs library work in.
fn check_range(sector: AllocatedSector, offset: u64, size: u64) -> Result<(), Failure> {
    let sector_bytes = unpadded(sector.proof_type.size.bytes());
    let inside = size > 0 && offset.checked_add(size).is_some_and(|end| end <= sector_bytes);
    if inside && offset.is_multiple_of(127) && size.is_multiple_of(127) {
        return Ok(());
    }
    let refused = format!(
        "sector manager, allocate_unseal_sector: no piece of {} has {size} bytes at {offset}",
        sector.id
    );
    Err(Failure::temporary(refused))
}

#[cfg(test)]
mod tests {
    use shared_msgs::sector_manager::{SectorId, SectorSize};

    use super::*;

    #[test]
    fn a_piece_lies_in_its_sector() {
        let sector = AllocatedSector {
            id: SectorId { miner: 10000, number: 2 },
            proof_type: SealVersion::V1_1.of(SectorSize::S2KiB),
        };
        assert!(check_range(sector, 0, 2032).is_ok() && check_range(sector, 1016, 1016).is_ok());
        for (offset, size) in
            [(0, 0), (0, 2159), (1016, 1143), (1, 127), (0, 128), (u64::MAX - 126, 127)]
        {
            assert!(check_range(sector, offset, size).is_err(), "{offset} {size}");
        }
    }
}
