//! The sectors' records as they are kept: one key a sector, `<miner>.<number>`.
//!
//! A record is made from the allocation when the sector is first spoken of, so a manager that dies
//! between the two loses nothing.
//!
//! Decision 031 in `docs/decisions`.

use serde::{Deserialize, Serialize};
use shared_msgs::{
    error::ErrorKind,
    sector_manager::{SealProofType, SectorId},
};

use super::{Mock, record::SectorRecord};
use crate::bus::kv::{Bucket, Created, MAX_TRIES, Stored, contended};

// What both buckets of allocations keep of a request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Decision {
    pub(super) miner: u64,
    pub(super) proof_type: SealProofType,
}

pub(crate) fn key(sector: SectorId) -> String {
    format!("{}.{}", sector.miner, sector.number)
}

impl Mock {
    pub(super) async fn records(&self) -> Result<Bucket, ErrorKind> {
        Bucket::open(&self.client, self.prefix.sector_records_bucket()).await
    }

    /// Every sector, by miner and number.
    pub(super) async fn all_sectors(
        &self,
        records: &Bucket,
    ) -> Result<Vec<Stored<SectorRecord>>, ErrorKind> {
        let mut all: Vec<Stored<SectorRecord>> = records.scan().await?;
        all.sort_by_key(|stored| stored.value.id);
        Ok(all)
    }

    /// What is known of a sector.
    pub(super) async fn sector(&self, sector: SectorId) -> Result<SectorRecord, ErrorKind> {
        self.change_sector(sector, |_| Ok(Change::Keep(()))).await.map(|(record, ())| record)
    }

    /// Changes what is known of a sector; what refuses the change leaves it as it is.
    pub(super) async fn update_sector<R>(
        &self,
        sector: SectorId,
        mut change: impl FnMut(&mut SectorRecord) -> Result<R, ErrorKind>,
    ) -> Result<(SectorRecord, R), ErrorKind> {
        self.change_sector(sector, |record| change(record).map(Change::Write)).await
    }

    async fn change_sector<R>(
        &self,
        sector: SectorId,
        mut change: impl FnMut(&mut SectorRecord) -> Result<Change<R>, ErrorKind>,
    ) -> Result<(SectorRecord, R), ErrorKind> {
        let (records, key) = (self.records().await?, key(sector));
        for _ in 0..MAX_TRIES {
            let Stored { mut value, revision, .. } =
                match records.read::<SectorRecord>(&key).await? {
                    Some(stored) => stored,
                    None => self.first_record(&records, sector).await?,
                };
            match change(&mut value)? {
                Change::Keep(result) => return Ok((value, result)),
                Change::Write(result) if records.replace(&key, &value, revision).await? => {
                    return Ok((value, result));
                }
                Change::Write(_) => {}
            }
        }
        Err(contended())
    }

    async fn first_record(
        &self,
        records: &Bucket,
        sector: SectorId,
    ) -> Result<Stored<SectorRecord>, ErrorKind> {
        let unknown = || ErrorKind::SectorNotFound { sector: sector.to_string() };
        if !self.offer.miners.contains(&sector.miner) {
            return Err(unknown());
        }
        let allocated =
            Bucket::open(&self.client, self.prefix.sectors_bucket(sector.miner)).await?;
        let decision: Option<Decision> = allocated.written_in(sector.number).await?;
        let value = SectorRecord::new(sector, decision.ok_or_else(unknown)?.proof_type);
        let key = key(sector);
        Ok(match records.create(&key, &value).await? {
            Created::New(revision) => Stored { key, value, revision, written_ms: 0 },
            Created::Exists(stored) => stored,
        })
    }
}

enum Change<R> {
    Write(R),
    Keep(R),
}
