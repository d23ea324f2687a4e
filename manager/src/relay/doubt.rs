//! A new sector whose number is lost: the sector manager was asked, and nobody heard its answer. It
//! lists the sector as open, without a state, for nobody works on it.
//!
//! ```text
//!  first look     open, without a state, given to nobody  ──▶ candidates, written down
//!  a while later  one of them still is                    ──▶ it is the answer
//!                 none is, or there was none              ──▶ asked again
//! ```
//! Another program that works for the sector manager may have been given a candidate: it reports a
//! state within minutes, and what has one is no candidate any more.

use std::time::Duration;

use damocles_wire::sector_manager::{self as venus, SectorKind};
use shared_msgs::{name::WorkerName, sector_manager::*};
use tracing::{info, warn};

use super::{
    Found, ONLINE, Performed, Shared, Trouble, mapping,
    memory::{Call, Given, State},
    unheard,
};
use crate::bus::kv::Stored;

impl Performed for AllocateSector {
    async fn look_for_answer(
        &self,
        shared: &Shared,
        worker: &WorkerName,
        before: &Stored<Call>,
    ) -> Result<Found<Option<AllocatedSector>>, Trouble> {
        let given = shared.memory.given().await.map_err(unheard)?;
        let ours = Given { worker: worker.to_string(), request_id: self.request_id };
        let open = shared.open_without_state().await?;
        // It was given to this request, and only the answer was not written down.
        let already = given.iter().find(|(_, given)| *given == ours).map(|(sector, _)| *sector);
        if let Some(sector) = already
            && let Some(sector) = open.iter().find(|open| open.id == sector)
        {
            return Ok(Found::Reply(Some(*sector)));
        }
        let free = |sector: &&AllocatedSector| {
            fits(&self.spec, sector) && !given.iter().any(|(given, _)| *given == sector.id)
        };
        let free: Vec<AllocatedSector> = open.iter().filter(free).copied().collect();
        let State::Doubtful { candidates } = &before.value.state else {
            return Ok(Found::Candidates(free.iter().map(|sector| sector.id).collect()));
        };
        let now_ms = shared.memory.server_time_ms().await.map_err(unheard)?;
        let age = Duration::from_millis(now_ms.abs_diff(before.written_ms));
        if age < shared.to.adopt_after {
            return Err(Trouble::InDoubt("the answer to an earlier question is looked for".into()));
        }
        for sector in free.iter().filter(|sector| candidates.contains(&sector.id)) {
            if shared.memory.give(sector.id, &ours).await.map_err(unheard)? {
                info!(sector = %sector.id, %worker, "given: it was allocated before, and nobody had heard of it");
                return Ok(Found::Reply(Some(*sector)));
            }
        }
        warn!(%worker, "no sector was found for a request whose answer was lost: it is asked again");
        Ok(Found::Nothing)
    }
}

// As the sector manager itself would have chosen.
fn fits(spec: &AllocateSectorSpec, sector: &AllocatedSector) -> bool {
    fn allows<T: PartialEq>(allowed: &Option<Vec<T>>, given: &T) -> bool {
        allowed.as_ref().is_none_or(|allowed| allowed.is_empty() || allowed.contains(given))
    }
    allows(&spec.allowed_miners, &sector.id.miner)
        && allows(&spec.allowed_proof_types, &sector.proof_type)
}

impl Shared {
    async fn open_without_state(&self) -> Result<Vec<AllocatedSector>, Trouble> {
        let params = (ONLINE.to_owned(), SectorKind::Sealing as i64);
        let open = self.venus::<venus::ListSectors>(&params).await.map_err(super::trouble)?;
        let without = open
            .into_iter()
            .flatten()
            .filter(|sector| sector.latest_state.is_none() && !sector.finalized);
        let known = without.filter_map(|sector| {
            let given = venus::Allocated { id: sector.id, proof_type: sector.sector_type };
            mapping::allocated(given).ok()
        });
        Ok(known.collect())
    }
}
