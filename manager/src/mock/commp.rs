//! A piece's commitment, computed from its bytes as they stream by.
//!
//! ```text
//!  127 bytes ──fr32──▶ 4 nodes of 32 bytes ──sha-256 of pairs──▶ … ──▶ the root
//! ```
//! Fr32 puts two zero bits after every 254 bits, so that each node is an element of BLS12-381's
//! scalar field; for the same reason the hash has its two highest bits cleared (Filecoin
//! specification, "Piece Commitment"). What is missing to a power of two is zeros.

use std::io::{self, Read};

use sha2::{Digest, Sha256};
use shared_msgs::sector_manager::{Commitment, SectorPiece, piece_commitment, unpadded};

/// The smallest piece, in padded bytes.
pub(crate) const MIN_PIECE_SIZE: u64 = 128;

const UNPADDED_CHUNK: usize = 127;
// Enough for 2^64 nodes.
const MAX_LEVELS: usize = 64;
const NODE_BITS: usize = 254;

/// The padded size of the piece that holds so many bytes: a power of two. `None` if there is no
/// such piece.
pub(crate) fn piece_size(payload: u64) -> Option<u64> {
    let padded = payload.div_ceil(UNPADDED_CHUNK as u64).checked_mul(MIN_PIECE_SIZE)?;
    padded.max(MIN_PIECE_SIZE).checked_next_power_of_two()
}

/// The commitment of a piece of zeros, of a padded size that is a power of two.
pub(crate) fn zero_commitment(size: u64) -> Commitment {
    (0..levels(size)).fold([0; 32], |node, _| parent(&node, &node))
}

/// The commitment of a piece of a padded size that is a power of two, and how many bytes of data it
/// has: all that `data` yields, which must fit.
pub(crate) fn commitment(mut data: impl Read, size: u64) -> io::Result<(Commitment, u64)> {
    let mut tree = Tree::default();
    let (mut chunk, mut payload) = ([0; UNPADDED_CHUNK], 0);
    loop {
        let filled = fill(&mut data, &mut chunk)?;
        if filled == 0 {
            break;
        }
        payload += filled as u64;
        if payload > unpadded(size) {
            return Err(io::Error::other("it grows while it is read"));
        }
        chunk[filled..].fill(0);
        for node in padded(&chunk) {
            tree.push(node);
        }
    }
    Ok((tree.root(levels(size)), payload))
}

/// The commitment of a sector's data: of pieces that fill it, each at a multiple of its size; of
/// zeros if there are none. `None` if they do not.
pub(crate) fn of_pieces(pieces: &[SectorPiece], sector_size: u64) -> Option<Commitment> {
    if pieces.is_empty() {
        return Some(zero_commitment(sector_size));
    }
    // The subtrees so far that wait for their right half, with their sizes.
    let mut waiting: Vec<(u64, Commitment)> = Vec::new();
    for piece in pieces {
        let mut node = (piece.piece.size, piece_commitment(&piece.piece.piece_cid).ok()?);
        while let Some((_, left)) = waiting.pop_if(|(size, _)| *size == node.0) {
            node = (2 * node.0, parent(&left, &node.1));
        }
        waiting.push(node);
    }
    match waiting[..] {
        [(size, root)] if size == sector_size => Some(root),
        _ => None,
    }
}

fn levels(size: u64) -> usize {
    (size / 32).max(1).ilog2() as usize
}

fn fill(data: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match data.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

// Four times 254 bits, each in the low bits of a node; bits count from the lowest of the first
// byte.
fn padded(chunk: &[u8; UNPADDED_CHUNK]) -> [Commitment; 4] {
    let mut nodes = [[0; 32]; 4];
    for (index, node) in nodes.iter_mut().enumerate() {
        let (start, shift) = (index * NODE_BITS / 8, index * NODE_BITS % 8);
        for (offset, byte) in node.iter_mut().enumerate() {
            let at = |position: usize| u16::from(chunk.get(position).copied().unwrap_or(0));
            let two = at(start + offset) | at(start + offset + 1) << 8;
            *byte = (two >> shift) as u8;
        }
        node[31] &= 0x3f;
    }
    nodes
}

fn parent(left: &Commitment, right: &Commitment) -> Commitment {
    let mut node: Commitment =
        Sha256::new().chain_update(left).chain_update(right).finalize().into();
    node[31] &= 0x3f;
    node
}

// The roots of the complete subtrees so far, one at most for each height.
struct Tree {
    roots: [Option<Commitment>; MAX_LEVELS],
}

impl Default for Tree {
    fn default() -> Self {
        Tree { roots: [None; MAX_LEVELS] }
    }
}

impl Tree {
    fn push(&mut self, mut node: Commitment) {
        for root in &mut self.roots {
            match root.take() {
                Some(left) => node = parent(&left, &node),
                None => {
                    *root = Some(node);
                    return;
                }
            }
        }
    }

    // The root of a tree of so many levels, with zeros for what is missing.
    fn root(self, levels: usize) -> Commitment {
        // What is there of the subtree on the right, its missing part filled with zeros; `zero` is
        // one of its height.
        let (mut zero, mut right): (Commitment, Option<Commitment>) = ([0; 32], None);
        for root in &self.roots[..levels] {
            right = match (root, right) {
                (Some(left), right) => Some(parent(left, &right.unwrap_or(zero))),
                (None, Some(right)) => Some(parent(&right, &zero)),
                (None, None) => None,
            };
            zero = parent(&zero, &zero);
        }
        self.roots[levels].or(right).unwrap_or(zero)
    }
}

#[cfg(test)]
mod tests {
    use shared_msgs::sector_manager::piece_cid;

    use super::*;

    // A tree built the plain way.
    fn plainly(data: &[u8], size: u64) -> Commitment {
        let mut bits: Vec<bool> =
            data.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)).collect();
        bits.resize(unpadded(size) as usize * 8, false);
        let mut nodes: Vec<Commitment> = bits
            .chunks(NODE_BITS)
            .map(|bits| {
                let mut node = [0; 32];
                for (position, _) in bits.iter().enumerate().filter(|(_, bit)| **bit) {
                    node[position / 8] |= 1 << (position % 8);
                }
                node
            })
            .collect();
        while nodes.len() > 1 {
            nodes = nodes.chunks(2).map(|pair| parent(&pair[0], &pair[1])).collect();
        }
        nodes[0]
    }

    #[test]
    fn pieces_of_zeros_have_filecoins_commitments() {
        let expected = "baga6ea4seaqpy7usqklokfx2vxuynmupslkeutzexe2uqurdg5vhtebhxqmpqmy";
        assert_eq!(piece_cid(&zero_commitment(2048)), expected);
        for length in [0, 1, 127, 128, 2032] {
            assert_eq!(
                piece_cid(&commitment(&vec![0; length][..], 2048).unwrap().0),
                expected,
                "{length} bytes"
            );
        }
    }

    #[test]
    fn any_length_gives_the_tree_of_its_padded_bits() {
        let data: Vec<u8> =
            (0..2032u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for length in
            [1, 31, 32, 126, 127, 128, 200, 254, 255, 500, 508, 509, 1015, 1016, 1017, 2031, 2032]
        {
            let size = piece_size(length as u64).unwrap();
            let data = &data[..length];
            assert_eq!(
                commitment(data, size).unwrap(),
                (plainly(data, size), length as u64),
                "{length} bytes"
            );
            assert_eq!(
                commitment(data, 2 * size).unwrap().0,
                plainly(data, 2 * size),
                "{length} bytes in twice the size"
            );
        }
    }

    #[test]
    fn a_sectors_commitment_follows_from_its_pieces() {
        let data: Vec<u8> = (0..2032u32).map(|byte| byte as u8).collect();
        let piece = |from: usize, to: usize| {
            let size = piece_size((to - from) as u64).unwrap();
            let piece_cid = piece_cid(&commitment(&data[from..to], size).unwrap().0);
            SectorPiece {
                piece: shared_msgs::sector_manager::PieceInfo { size, piece_cid },
                deal_info: None,
                url: None,
            }
        };
        let pieces = [
            piece(0, 1016),
            piece(1016, 1143),
            piece(1143, 1270),
            piece(1270, 1524),
            piece(1524, 2032),
        ];
        assert_eq!(of_pieces(&pieces, 2048), Some(plainly(&data, 2048)));
        assert_eq!(of_pieces(&pieces[..4], 2048), None);
        assert_eq!(of_pieces(&[], 2048), Some(zero_commitment(2048)));
    }

    #[test]
    fn a_piece_is_the_smallest_that_holds_its_data() {
        let sizes = [0, 1, 127, 128, 254, 255, 508, 509, 2032, 2033]
            .map(|payload| piece_size(payload).unwrap());
        assert_eq!(sizes, [128, 128, 128, 256, 256, 512, 512, 1024, 2048, 4096]);
        assert_eq!(piece_size(u64::MAX), None);
        assert_eq!(unpadded(2048), 2032);
    }

    #[test]
    fn data_that_does_not_fit_is_an_error() {
        assert!(commitment(&[1; 128][..], 128).is_err());
    }
}
