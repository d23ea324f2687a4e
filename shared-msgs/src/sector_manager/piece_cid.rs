//! Commitments as CIDs: of data `baga…` (multicodec `fil-commitment-unsealed`, multihash
//! `sha2-256-trunc254-padded`), of replicas `bagboea4b5abc…` (`fil-commitment-sealed`,
//! `poseidon-bls12_381-a2-fc1`).

use cid::{Cid, multihash::Multihash};

use super::Commitment;

const FIL_COMMITMENT_UNSEALED: u64 = 0xf101;
const SHA2_256_TRUNC254_PADDED: u64 = 0x1012;
const FIL_COMMITMENT_SEALED: u64 = 0xf102;
const POSEIDON_BLS12_381_A2_FC1: u64 = 0xb401;

/// The CID of a piece's commitment.
pub fn piece_cid(commitment: &Commitment) -> String {
    // 32 bytes fit: the multihash has room for 64.
    let hash = Multihash::wrap(SHA2_256_TRUNC254_PADDED, commitment).unwrap_or_default();
    Cid::new_v1(FIL_COMMITMENT_UNSEALED, hash).to_string()
}

/// The CID of a replica's commitment.
pub fn replica_cid(commitment: &Commitment) -> String {
    let hash = Multihash::wrap(POSEIDON_BLS12_381_A2_FC1, commitment).unwrap_or_default();
    Cid::new_v1(FIL_COMMITMENT_SEALED, hash).to_string()
}

/// A text that is no CID of a piece.
#[derive(Debug, thiserror::Error)]
#[error("piece CID {text:?}: {why}")]
pub struct PieceCidError {
    /// The text as it was given.
    pub text: String,
    /// What is wrong with it.
    pub why: NoPieceCid,
}

/// What is wrong with a text that should be a piece's CID.
#[derive(Debug, thiserror::Error)]
pub enum NoPieceCid {
    /// It is no CID at all.
    #[error("{0}")]
    Unreadable(cid::Error),
    /// It is one of something else.
    #[error("it is no CID of a piece: it should begin with baga")]
    OfSomethingElse,
    /// It has not 32 bytes.
    #[error("it has not 32 bytes")]
    Length,
    /// It has a multibase or a version that nobody else writes.
    #[error("it is not in its usual spelling")]
    Spelling,
}

/// The commitment that a piece's CID stands for.
pub fn piece_commitment(text: &str) -> Result<Commitment, PieceCidError> {
    let wrong = |why| PieceCidError { text: text.to_owned(), why };
    let cid = Cid::try_from(text).map_err(|error| wrong(NoPieceCid::Unreadable(error)))?;
    if cid.codec() != FIL_COMMITMENT_UNSEALED || cid.hash().code() != SHA2_256_TRUNC254_PADDED {
        return Err(wrong(NoPieceCid::OfSomethingElse));
    }
    let commitment = cid.hash().digest().try_into().map_err(|_| wrong(NoPieceCid::Length))?;
    // One spelling each: a CID is also a file's name.
    if piece_cid(&commitment) == text { Ok(commitment) } else { Err(wrong(NoPieceCid::Spelling)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The zero piece of 2 KiB (Filecoin, `zerocomm`).
    const ZERO_2KIB: &str = "baga6ea4seaqpy7usqklokfx2vxuynmupslkeutzexe2uqurdg5vhtebhxqmpqmy";

    #[test]
    fn a_cid_stands_for_one_commitment() {
        let commitment = piece_commitment(ZERO_2KIB).unwrap();
        assert_eq!(commitment[..4], [0xfc, 0x7e, 0x92, 0x82]);
        assert_eq!(piece_cid(&commitment), ZERO_2KIB);
    }

    #[test]
    fn a_replicas_cid_is_no_pieces() {
        let cid = replica_cid(&[7; 32]);
        assert!(cid.starts_with("bagboea4b5abc") && piece_commitment(&cid).is_err(), "{cid}");
        assert_ne!(cid, replica_cid(&[8; 32]));
    }

    #[test]
    fn what_is_no_piece_is_refused() {
        for wrong in [
            "",
            "baga",
            "../../etc/passwd",
            "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
            &ZERO_2KIB.to_uppercase(),
        ] {
            assert!(piece_commitment(wrong).is_err(), "{wrong} was accepted");
        }
    }
}
