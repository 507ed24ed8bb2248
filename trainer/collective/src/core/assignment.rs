//! Who computes which leaves and who owns which floats: pure functions of a view, so that all its members agree.

use std::ops::Range;

use crate::part::{Part, Shape};
use crate::tree::{Node, Tree};

/// Contiguous ranges of leaves, one a rank, in proportion to `weights`; empty ones where there are fewer leaves than members.
///
/// Largest remainders in integer arithmetic (ties: lowest rank), with one leaf set aside for each member where they suffice.
pub(super) fn leaf_ranges(leaves: u32, weights: &[u32]) -> Vec<Range<u32>> {
    let members = weights.len() as u64;
    let set_aside = u64::from(u64::from(leaves) >= members);
    let rest = u128::from(u64::from(leaves) - set_aside * members);
    let weight = |rank: usize| u128::from(weights[rank].max(1));
    let sum: u128 = (0..weights.len()).map(weight).sum::<u128>().max(1);
    let mut shares: Vec<u32> =
        (0..weights.len()).map(|rank| (rest * weight(rank) / sum + u128::from(set_aside)) as u32).collect();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|rank| std::cmp::Reverse(rest * weight(*rank) % sum));
    let left = leaves - shares.iter().sum::<u32>();
    for rank in by_remainder.into_iter().take(left as usize) {
        shares[rank] += 1;
    }
    let mut start = 0;
    let range = |share| {
        let range = start..start + share;
        start = range.end;
        range
    };
    shares.into_iter().map(range).collect()
}

/// The maximal subtrees of every rank's leaves, by rank.
pub(super) fn nodes(leaves: u32, weights: &[u32]) -> Vec<Vec<Node>> {
    leaf_ranges(leaves, weights).into_iter().map(|range| Tree::new(leaves).maximal_subtrees(range)).collect()
}

/// A piece of the vector: the unit that is sent, folded and gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Part of the vector that it lies in.
    pub part: Part,
    /// Rank that sums it up.
    pub owner: usize,
    /// First float.
    pub start: usize,
    /// Floats.
    pub len: usize,
}

/// All pieces of a vector, the upper part's first, ascending within a part: an equal slice of each part a rank, cut into
/// chunks. Every rank owns at least one piece of each part, if an empty one: nobody can finish a round that somebody has not
/// begun. No two pieces of a rank start at the same float.
pub(super) fn pieces(shape: Shape, members: usize, chunk: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for part in shape.parts() {
        let range = shape.range(*part);
        let bound =
            |rank: usize| range.start + (range.len() as u128 * rank as u128 / members as u128) as usize;
        for owner in 0..members {
            let (mut start, end) = (bound(owner), bound(owner + 1));
            loop {
                let piece = Piece { part: *part, owner, start, len: (end - start).min(chunk) };
                pieces.push(piece);
                start += piece.len;
                if start >= end {
                    break;
                }
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_weights_share_leaves_evenly() {
        assert_eq!(leaf_ranges(8, &[1, 1]), vec![0..4, 4..8]);
        assert_eq!(leaf_ranges(7, &[1, 1, 1]), vec![0..3, 3..5, 5..7]);
        assert_eq!(leaf_ranges(1, &[1, 1, 1]), vec![0..1, 1..1, 1..1]);
        assert_eq!(leaf_ranges(16, &[3, 1]), vec![0..12, 12..16]);
    }

    proptest! {
        #[test]
        fn every_leaf_has_one_owner_and_every_member_has_work_if_there_is_enough(
            leaves in 0u32..500, weights in prop::collection::vec(any::<u32>(), 1..20),
        ) {
            let ranges = leaf_ranges(leaves, &weights);
            prop_assert_eq!(ranges.len(), weights.len());
            let mut at = 0;
            for range in ranges {
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end >= at + u32::from(leaves as usize >= weights.len()));
                at = range.end;
            }
            prop_assert_eq!(at, leaves);
        }

        #[test]
        fn every_float_has_one_owner_and_every_member_owns_a_piece_of_each_part(
            len in 0usize..5000, cut in 0usize..5000, members in 1usize..12, chunk in 1usize..600,
        ) {
            let shape = Shape { len, cut: cut.min(len), counts: 0 };
            let pieces = pieces(shape, members, chunk);
            for part in Part::ALL {
                let exists = shape.parts().contains(&part);
                let range = shape.range(part);
                let mut at = range.start;
                for piece in pieces.iter().filter(|piece| piece.part == part) {
                    prop_assert!(exists);
                    prop_assert_eq!(piece.start, at);
                    prop_assert!(piece.len <= chunk);
                    at += piece.len;
                }
                prop_assert_eq!(at, range.end);
                for rank in 0..members {
                    prop_assert_eq!(pieces.iter().any(|piece| (piece.owner, piece.part) == (rank, part)), exists);
                }
            }
            prop_assert_eq!(pieces[0].part, Part::Upper);
            let mut names: Vec<_> = pieces.iter().map(|piece| (piece.owner, piece.start)).collect();
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(names.len(), pieces.len(), "the owner and the first float name a piece");
        }
    }
}
