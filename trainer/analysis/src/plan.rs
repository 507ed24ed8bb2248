//! The work of an analysis, cut into pieces: a function of the data alone, so that any number of parts does the same work.

use std::ops::Range;

use lockstep_records::manifest::Lengths;

use crate::split::{Shard, Split};

/// Small enough that parts are even, large enough that a request's cost is small beside it.
const PIECE_BYTES: u64 = 16 << 20;

/// Records that are analysed in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Place in the list of splits.
    pub(crate) split: usize,
    /// Place in the split's list of shards.
    pub(crate) shard: usize,
    /// Of the records in the shard's index; `None` is the whole shard.
    pub(crate) positions: Option<Range<u64>>,
}

impl Piece {
    /// Bytes that are read for it.
    pub(crate) fn bytes(&self, splits: &[Split]) -> u64 {
        let shard = &splits[self.split].shards[self.shard];
        match (&self.positions, &shard.index) {
            (Some(positions), Some(lengths)) => {
                let at = |position| lengths.locate(position).map_or(lengths.bytes(), |(offset, _)| offset);
                at(positions.end) - at(positions.start)
            }
            _ => shard.bytes.unwrap_or(0),
        }
    }
}

/// One of the processes that share an analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 0.
    pub number: u32,
    /// Number of parts; more than `number`.
    pub parts: u32,
}

impl Part {
    /// The only one.
    pub const WHOLE: Self = Self { number: 0, parts: 1 };

    /// This part's share of all pieces: every `parts`-th.
    pub(crate) fn share(self, pieces: Vec<Piece>) -> Vec<Piece> {
        pieces.into_iter().skip(self.number as usize).step_by(self.parts as usize).collect()
    }
}

/// All pieces, in order of their places.
pub(crate) fn pieces(splits: &[Split]) -> Vec<Piece> {
    let shards = splits.iter().enumerate().flat_map(|(split, opened)| {
        opened.shards.iter().enumerate().map(move |(shard, file)| (split, shard, file))
    });
    shards
        .flat_map(|(split, shard, file)| {
            cuts(file).into_iter().map(move |positions| Piece { split, shard, positions })
        })
        .collect()
}

/// A shard that is not as its index says, or is compressed, is scanned as a whole, so that what is wrong with it is told once.
fn cuts(shard: &Shard) -> Vec<Option<Range<u64>>> {
    match &shard.index {
        Some(lengths) if shard.compression.is_none() && shard.bytes == Some(lengths.bytes()) => {
            ranges(lengths, PIECE_BYTES).into_iter().map(Some).collect()
        }
        _ => vec![None],
    }
}

/// Neighbouring records of about `bytes`, together all of them.
fn ranges(lengths: &Lengths, bytes: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while let Some((offset, _)) = lengths.locate(start) {
        let end = first_from(lengths, start + 1, offset.saturating_add(bytes));
        ranges.push(start..end);
        start = end;
    }
    ranges
}

/// The first record after `start` that begins at `offset` or behind it; the number of records where there is none.
fn first_from(lengths: &Lengths, start: u64, offset: u64) -> u64 {
    let (mut low, mut high) = (start, lengths.records());
    while low < high {
        let middle = low + (high - low) / 2;
        if lengths.locate(middle).is_some_and(|(at, _)| at < offset) {
            low = middle + 1
        } else {
            high = middle
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_hold_every_record_once_and_are_as_long_as_asked(
            sizes in prop::collection::vec(16u64..100, 0..200), bytes in 1u64..2000,
        ) {
            let mut lengths = Lengths::default();
            sizes.iter().for_each(|size| assert!(lengths.push(*size)));
            let mut next = 0;
            for range in ranges(&lengths, bytes) {
                prop_assert_eq!(range.start, next);
                let held: u64 = range.clone().map(|at| sizes[at as usize]).sum();
                prop_assert!(held >= bytes || range.end == lengths.records());
                prop_assert!(held - sizes[range.end as usize - 1] < bytes);
                next = range.end;
            }
            prop_assert_eq!(next, lengths.records());
        }

        #[test]
        fn parts_share_all_pieces(count in 0usize..50, parts in 1u32..9) {
            let all: Vec<_> = (0..count).map(|shard| Piece { split: 0, shard, positions: None }).collect();
            let mut shared: Vec<_> =
                (0..parts).flat_map(|number| Part { number, parts }.share(all.clone())).collect();
            shared.sort_by_key(|piece| piece.shard);
            prop_assert_eq!(shared, all);
        }
    }
}
