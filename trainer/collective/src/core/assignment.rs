//! Who computes which leaves and who owns which floats: pure functions of a view, so that all its members agree.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::part::{Part, Shape};
use crate::tree::{Node, Tree};

/// How a view's members share the leaves of its rounds. The same function of the same values at all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shares {
    /// By rank: nanoseconds that a leaf takes, at least 1. Only their ratios count.
    paces: Vec<u64>,
    /// Whether the paces that members measure change them.
    adapts: bool,
}

/// Less time than this share of the current split's must a round take for the leaves to be shared anew: those that move were
/// read ahead in vain, and measured times vary by themselves. What is left unshared is lost in every round.
const WORTHWHILE: (u128, u128) = (19, 20);
/// Longer by at most this part may a round take whose ranges are made of fewer subtrees: each is a vector to be sent.
const COARSER: u128 = 32;

impl Shares {
    /// The same for each, for as long as the view lasts.
    pub(super) fn even(members: usize) -> Self {
        Self { paces: vec![1; members], adapts: false }
    }

    /// By what is known of each member when a view begins; 0: nothing. `leaves`: of its first round.
    pub(super) fn by_paces(leaves: u32, paces: &[u64]) -> Self {
        let known: Vec<u128> = paces.iter().filter(|pace| **pace > 0).map(|pace| u128::from(*pace)).collect();
        // A newcomer is taken to be like the others.
        let mean = known.iter().sum::<u128>() / (known.len() as u128).max(1);
        let mean = u64::try_from(mean).unwrap_or(u64::MAX).max(1);
        let paces: Vec<u64> = paces.iter().map(|pace| if *pace == 0 { mean } else { *pace }).collect();
        let mut shares = Self { adapts: true, ..Self::even(paces.len()) };
        shares.revise(leaves, &paces);
        shares
    }

    /// What a commit says: paces by rank, none where the shares never change.
    pub(super) fn announced(&self) -> Vec<u64> {
        if self.adapts { self.paces.clone() } else { Vec::new() }
    }

    /// What a commit said; `None` where that makes no sense for so many members.
    pub(super) fn from_announced(announced: Vec<u64>, members: usize) -> Option<Self> {
        if announced.is_empty() {
            return Some(Self::even(members));
        }
        let makes_sense = announced.len() == members && announced.iter().all(|pace| *pace > 0);
        makes_sense.then_some(Self { paces: announced, adapts: true })
    }

    /// Shares the leaves anew where that makes a round of so many shorter by enough, with members as fast as they say (by
    /// rank; 0: unknown).
    pub(super) fn revise(&mut self, leaves: u32, measured: &[u64]) {
        if !self.adapts || measured.len() != self.paces.len() || measured.contains(&0) {
            return;
        }
        let now = longest(&leaf_ranges(leaves, &self.paces), measured);
        let then = longest(&leaf_ranges(leaves, measured), measured);
        if then * WORTHWHILE.1 < now * WORTHWHILE.0 {
            self.paces = measured.to_vec();
        }
    }

    /// The maximal subtrees of every rank's leaves, by rank.
    pub(super) fn nodes(&self, leaves: u32) -> Vec<Vec<Node>> {
        let subtrees = |range| Tree::new(leaves).maximal_subtrees(range);
        leaf_ranges(leaves, &self.paces).into_iter().map(subtrees).collect()
    }
}

/// Contiguous ranges of leaves, one a rank, so that all are done as early as possible: at least one leaf for each if there are
/// enough.
fn leaf_ranges(leaves: u32, paces: &[u64]) -> Vec<Range<u32>> {
    let counts = fastest_counts(leaves, paces);
    let time = longest(&ranges(&counts), paces);
    let is_close = |ranges: &Vec<Range<u32>>| longest(ranges, paces) * COARSER <= time * (COARSER + 1);
    let mut steps = (1..leaves.checked_ilog2().unwrap_or(0)).rev();
    let coarse = steps.find_map(|step| coarser(&counts, 1 << step).filter(is_close));
    coarse.unwrap_or_else(|| ranges(&counts))
}

/// Leaves of each rank that end a round earliest: one after the other goes where it ends first (ties: lowest rank), which is
/// the best that can be done with equal leaves.
fn fastest_counts(leaves: u32, paces: &[u64]) -> Vec<u32> {
    let set_aside = u32::from(leaves as usize >= paces.len());
    let mut counts = vec![set_aside; paces.len()];
    let ends = |count: u32, rank: usize| u128::from(count + 1) * u128::from(paces[rank]);
    let mut next: BinaryHeap<_> =
        counts.iter().enumerate().map(|(rank, count)| Reverse((ends(*count, rank), rank))).collect();
    for _ in 0..leaves - set_aside * paces.len() as u32 {
        let Some(Reverse((_, rank))) = next.pop() else { break };
        counts[rank] += 1;
        next.push(Reverse((ends(counts[rank], rank), rank)));
    }
    counts
}

/// The same ranges with bounds at multiples of `step`; `None` where that leaves a rank without its leaves.
fn coarser(counts: &[u32], step: u32) -> Option<Vec<Range<u32>>> {
    let whole = ranges(counts);
    let round = |bound: u32| (bound + step / 2) / step * step;
    let last = whole.last()?.end;
    let bound = |bound: u32| if bound == last { last } else { round(bound).min(last) };
    let coarse: Vec<Range<u32>> = whole.iter().map(|range| bound(range.start)..bound(range.end)).collect();
    let none_is_lost = coarse.iter().zip(counts).all(|(range, count)| *count == 0 || !range.is_empty());
    none_is_lost.then_some(coarse)
}

fn ranges(counts: &[u32]) -> Vec<Range<u32>> {
    let mut start = 0;
    let range = |count: &u32| {
        let range = start..start + count;
        start = range.end;
        range
    };
    counts.iter().map(range).collect()
}

/// How long a round takes whose ranks have these ranges and paces.
fn longest(ranges: &[Range<u32>], paces: &[u64]) -> u128 {
    let times = ranges.iter().zip(paces).map(|(range, pace)| range.len() as u128 * u128::from(*pace));
    times.max().unwrap_or(0)
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

    fn counts(leaves: u32, paces: &[u64]) -> Vec<usize> {
        leaf_ranges(leaves, paces).into_iter().map(|range| range.len()).collect()
    }

    #[test]
    fn equal_paces_share_leaves_evenly() {
        assert_eq!(counts(8, &[1, 1]), [4, 4]);
        assert_eq!(counts(7, &[5, 5, 5]), [3, 2, 2]);
        assert_eq!(counts(1, &[1, 1, 1]), [1, 0, 0]);
        assert_eq!(counts(64, &[7, 7, 7, 7]), [16; 4]);
    }

    #[test]
    fn half_the_speed_gets_half_the_leaves() {
        assert_eq!(counts(6, &[10, 20]), [4, 2]);
        assert_eq!(counts(8, &[10, 10, 10, 20]), [3, 2, 2, 1]);
        assert_eq!(counts(4, &[1, 1_000_000]), [3, 1]);
    }

    /// 43 of 64 leaves are four subtrees and the rest three; 44 are three and the rest two, and take 2 % longer.
    #[test]
    fn ranges_are_made_of_few_subtrees_where_that_costs_little() {
        assert_eq!(counts(64, &[10, 20]), [44, 20]);
        let subtrees: Vec<usize> =
            Shares { paces: vec![10, 20], adapts: true }.nodes(64).iter().map(Vec::len).collect();
        assert_eq!(subtrees, [3, 2]);
    }

    #[test]
    fn only_a_worthwhile_difference_moves_leaves() {
        let mut shares = Shares::by_paces(64, &[100, 105]);
        let even = shares.nodes(64);
        assert_eq!(even, Shares::even(2).nodes(64));
        shares.revise(64, &[100, 109]);
        shares.revise(64, &[100, 0]);
        shares.revise(64, &[100]);
        assert_eq!(shares.nodes(64), even);
        shares.revise(64, &[100, 200]);
        assert_ne!(shares.nodes(64), even);
        shares.revise(64, &[100, 104]);
        assert_eq!(shares.nodes(64), even);
    }

    #[test]
    fn shares_that_are_to_stay_even_do() {
        let mut shares = Shares::even(2);
        shares.revise(64, &[100, 900]);
        assert_eq!(shares, Shares::even(2));
        assert_eq!(Shares::from_announced(shares.announced(), 2), Some(shares));
        assert_eq!(Shares::from_announced(vec![3, 0], 2), None);
        assert_eq!(Shares::from_announced(vec![3], 2), None);
    }

    #[test]
    fn a_newcomer_is_taken_to_be_like_the_others() {
        assert_eq!(Shares::by_paces(30, &[10, 0, 30]), Shares::by_paces(30, &[10, 20, 30]));
        assert_eq!(Shares::by_paces(30, &[0, 0]).nodes(30), Shares::even(2).nodes(30));
    }

    /// The least time in which any shares end a round; tried one by one.
    fn least_time(leaves: u32, paces: &[u64]) -> u128 {
        let Some((pace, others)) = paces.split_last() else { return if leaves == 0 { 0 } else { u128::MAX } };
        let with =
            |count: u32| (u128::from(count) * u128::from(*pace)).max(least_time(leaves - count, others));
        (0..=leaves).map(with).min().unwrap()
    }

    proptest! {
        #[test]
        fn no_shares_are_faster_by_more_than_what_fewer_subtrees_are_worth(
            leaves in 0u32..30, paces in prop::collection::vec(1u64..50, 1..4),
        ) {
            let ranges = leaf_ranges(leaves, &paces);
            let least = least_time(leaves, &paces);
            // Everybody gets a leaf, however slow.
            let slowest = if leaves as usize >= paces.len() { *paces.iter().max().unwrap() } else { 0 };
            let bound = least.max(slowest.into());
            prop_assert!(longest(&ranges, &paces) * COARSER <= bound * (COARSER + 1));
        }

        #[test]
        fn every_leaf_has_one_owner_and_every_member_has_work_if_there_is_enough(
            leaves in 0u32..500, paces in prop::collection::vec(1u64.., 1..20),
        ) {
            let ranges = leaf_ranges(leaves, &paces);
            prop_assert_eq!(ranges.len(), paces.len());
            let mut at = 0;
            for range in ranges {
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end >= at + u32::from(leaves as usize >= paces.len()));
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
