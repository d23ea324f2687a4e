//! Sectors for requests: the same request gets the same sector, whichever mock manager answers it
//! and however often, and no number is given or lost twice.
//!
//! ```text
//!  <P>_SECTOR_REQUESTS    request id -> which miner, which proof     decided once, by whoever creates the key
//!  <P>_SECTORS_<miner>    request id -> the same                     its revision is the sector's number
//! ```
//! `create` gives a key to one of any number of callers, and a refused one uses no revision:
//! numbers run from 1 without a counter and without gaps. The decision has a bucket of its own
//! because managers may offer different miners; a crash between the two steps is made good by the
//! next one who is asked.
//!
//! Decision 018 in `docs/decisions`.

use sha2::{Digest, Sha256};
use shared_msgs::{
    error::ErrorKind,
    id::Id,
    sector_manager::{AllocateSector, AllocateSectorSpec, AllocatedSector, SectorId},
};
use tracing::info;

use super::{
    Mock, Offer,
    record::SectorRecord,
    records::{self, Decision},
};
use crate::bus::kv::{Bucket, Created, Stored};

impl Offer {
    // Which miner gets the sector: of those that will do, the same one for a request in whatever
    // order they are named.
    fn decide(&self, spec: &AllocateSectorSpec, request: Id) -> Option<Decision> {
        let proof_type = self
            .proof_types
            .iter()
            .copied()
            .find(|proof_type| allows(&spec.allowed_proof_types, proof_type))?;
        let weight = |miner: &u64| {
            let hash =
                Sha256::new().chain_update(request.to_string()).chain_update(miner.to_be_bytes());
            <[u8; 32]>::from(hash.finalize())
        };
        let fitting =
            self.miners.iter().copied().filter(|miner| allows(&spec.allowed_miners, miner));
        fitting.max_by_key(weight).map(|miner| Decision { miner, proof_type })
    }
}

/// Whether a list of what is allowed allows this. As in damocles an empty list means what an absent
/// one means.
pub(super) fn allows<T: PartialEq>(allowed: &Option<Vec<T>>, given: &T) -> bool {
    allowed.as_ref().is_none_or(|list| list.is_empty() || list.contains(given))
}

impl Mock {
    /// The sector of a request; `None` when no miner of ours will do and nobody else has given it
    /// one.
    pub(super) async fn allocate(
        &self,
        request: &AllocateSector,
    ) -> Result<Option<AllocatedSector>, ErrorKind> {
        let requests = Bucket::open(&self.client, self.prefix.sector_requests_bucket()).await?;
        let key = request.request_id.to_string();
        let decision = match self.offer.decide(&request.spec, request.request_id) {
            Some(decision) => create_or_read(&requests, &key, decision).await?.1,
            None => match requests.read(&key).await? {
                Some(Stored { value, .. }) => value,
                None => return Ok(None),
            },
        };
        let sectors =
            Bucket::open(&self.client, self.prefix.sectors_bucket(decision.miner)).await?;
        let (number, Decision { miner, proof_type }) =
            create_or_read(&sectors, &key, decision).await?;
        let id = SectorId { miner, number };
        // So that it is listed before anybody speaks of it.
        self.records().await?.create(&records::key(id), &SectorRecord::new(id, proof_type)).await?;
        info!(sector = %id, request = key, "allocated");
        Ok(Some(AllocatedSector { id, proof_type }))
    }
}

// The first one to create the key decides; everybody gets that revision and value.
async fn create_or_read(
    bucket: &Bucket,
    key: &str,
    decision: Decision,
) -> Result<(u64, Decision), ErrorKind> {
    Ok(match bucket.create(key, &decision).await? {
        Created::New(revision) => (revision, decision),
        Created::Exists(Stored { revision, value, .. }) => (revision, value),
    })
}

#[cfg(test)]
mod tests {
    use shared_msgs::sector_manager::{SealProofType, SectorSize};

    use super::*;

    const SIZE: SectorSize = SectorSize::S2KiB;

    fn offer(miners: &[u64]) -> Offer {
        Offer { miners: miners.to_vec(), ..Offer::of_size(SIZE, false) }
    }

    fn miner(miners: &[u64], spec: &AllocateSectorSpec, request: Id) -> Option<u64> {
        offer(miners).decide(spec, request).map(|decision| decision.miner)
    }

    #[test]
    fn the_order_of_the_miners_does_not_matter_and_each_gets_its_share() {
        let any = AllocateSectorSpec::default();
        let mut shares = std::collections::BTreeMap::<u64, usize>::new();
        for _ in 0..300 {
            let request = Id::generate();
            let chosen = miner(&[1, 2, 3], &any, request).unwrap();
            assert_eq!(miner(&[3, 1, 2], &any, request), Some(chosen));
            for other in [1, 2, 3].into_iter().filter(|other| *other != chosen) {
                assert_eq!(
                    miner(&[other, chosen], &any, request),
                    Some(chosen),
                    "one of the others less"
                );
            }
            *shares.entry(chosen).or_default() += 1;
        }
        assert!(shares.len() == 3 && shares.values().all(|share| *share > 50), "{shares:?}");
    }

    #[test]
    fn a_thread_that_takes_none_of_the_miners_or_proofs_gets_nothing() {
        let miners = |allowed: &[u64]| AllocateSectorSpec {
            allowed_miners: Some(allowed.to_vec()),
            ..Default::default()
        };
        let proofs = |allowed: &[i64]| AllocateSectorSpec {
            allowed_proof_types: Some(
                allowed.iter().map(|number| SealProofType::try_from(*number).unwrap()).collect(),
            ),
            ..Default::default()
        };
        let given = |spec| miner(&[10000, 10001], &spec, Id::NIL);
        assert_eq!(given(miners(&[10001, 7])), Some(10001));
        assert_eq!(given(miners(&[7])), None);
        assert_eq!(given(proofs(&[0, 11])), None);
        assert!(
            given(proofs(&[5])).is_some()
                && given(proofs(&[])).is_some()
                && given(miners(&[])).is_some()
        );
    }

    #[test]
    fn the_first_proof_that_a_thread_takes_is_chosen() {
        let chosen = |synthetic, allowed: Option<&[i64]>| {
            let spec = AllocateSectorSpec {
                allowed_proof_types: allowed.map(|allowed| {
                    allowed.iter().map(|number| SealProofType::try_from(*number).unwrap()).collect()
                }),
                ..Default::default()
            };
            let offer = Offer { miners: vec![10000], ..Offer::of_size(SIZE, synthetic) };
            offer.decide(&spec, Id::NIL).map(|decision| decision.proof_type.number())
        };
        assert_eq!(
            (chosen(false, None), chosen(true, None), chosen(false, Some(&[]))),
            (Some(5), Some(10), Some(5))
        );
        assert_eq!(
            (chosen(false, Some(&[10, 5])), chosen(true, Some(&[10, 5]))),
            (Some(5), Some(10))
        );
        assert_eq!(
            (chosen(false, Some(&[10])), chosen(true, Some(&[5])), chosen(true, Some(&[15]))),
            (Some(10), Some(5), Some(15))
        );
        assert_eq!(chosen(false, Some(&[6, 16])), None);
    }
}
