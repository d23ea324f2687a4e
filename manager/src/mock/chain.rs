//! What the mock's chain says of a sector: made from the sector alone, so that every mock manager
//! says the same, always.

use sha2::{Digest, Sha256};
use shared_msgs::sector_manager::{Randomness, SectorId, Seed, Ticket};

// A height that such a chain could have, and how many epochs a pre-commit waits for its seed
// (Filecoin actors, `PreCommitChallengeDelay`).
const BASE_EPOCH: i64 = 3_000_000;
const CHALLENGE_DELAY: i64 = 150;

/// The ticket that the sector's replica is made with.
pub(crate) fn ticket(sector: SectorId) -> Ticket {
    Ticket { ticket: randomness("ticket", sector), epoch: ticket_epoch(sector) }
}

/// The seed that the challenges of the sector's proof come from.
pub(crate) fn seed(sector: SectorId) -> Seed {
    Seed { seed: randomness("seed", sector), epoch: ticket_epoch(sector) + CHALLENGE_DELAY }
}

fn ticket_epoch(sector: SectorId) -> i64 {
    BASE_EPOCH + (sector.number % 1_000_000) as i64
}

fn randomness(tag: &str, sector: SectorId) -> Randomness {
    let mut hash = Sha256::new();
    hash.update(tag);
    hash.update(sector.miner.to_be_bytes());
    hash.update(sector.number.to_be_bytes());
    let mut bytes: [u8; 32] = hash.finalize().into();
    // An element of BLS12-381's scalar field, little-endian, has at most 254 bits of any value.
    bytes[31] &= 0x3f;
    Randomness(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sector_has_its_own_randomness_for_ever() {
        let sector = SectorId { miner: 10000, number: 2 };
        assert_eq!((ticket(sector), seed(sector)), (ticket(sector), seed(sector)));
        let text = String::from(ticket(sector).ticket);
        assert_eq!(text, "A73cBO9UJWXpfenRAgkB9bUGYf+djMbhkVEZQDh8HSc=");
        let others = [SectorId { number: 3, ..sector }, SectorId { miner: 10001, ..sector }];
        for other in others {
            assert_ne!(ticket(other).ticket, ticket(sector).ticket);
        }
        assert_ne!(ticket(sector).ticket, seed(sector).seed);
    }

    #[test]
    fn randomness_is_a_field_element_and_epochs_stay_plausible() {
        for number in (0..1_000).chain([u64::MAX]) {
            let sector = SectorId { miner: 10000, number };
            assert!(ticket(sector).ticket.0[31] < 0x40 && seed(sector).seed.0[31] < 0x40);
            assert!(
                ticket(sector).epoch >= BASE_EPOCH && seed(sector).epoch > ticket(sector).epoch
            );
            assert!(seed(sector).epoch < 2 * BASE_EPOCH);
        }
    }
}
