//! Cuts shards into blocks of neighbouring whole records: what is read and kept as one piece.
//!
//! Only speed depends on the cuts, so their size may depend on memory.

use std::ops::Range;

use crate::{Location, manifest::Manifest};

/// Large enough that the store's cost of a request is small beside the bytes.
const LARGEST: u64 = 1 << 20;
/// Even a small cache should hold blocks from many places.
const BLOCKS_PER_CACHE: u64 = 64;

#[derive(Debug)]
pub(super) struct Blocks {
    /// For each shard: number of its first block, and the offsets where its blocks begin, then its size.
    shards: Vec<(usize, Vec<u64>)>,
}

/// A block, numbered through all shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) number: usize,
    pub(super) bytes: Range<u64>,
}

impl Blocks {
    pub(super) fn new(manifest: &Manifest, cache_bytes: u64) -> Self {
        let target = (cache_bytes / BLOCKS_PER_CACHE).min(LARGEST);
        let mut next = 0;
        let shards = manifest.shards.iter().map(|shard| {
            let mut starts = Vec::new();
            let mut end = 0;
            for run in shard.lengths.runs() {
                // As many whole records a block as fit, at least one.
                let step = (target / run.bytes).max(1);
                for first in (0..run.records).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
                    let (start, records) = (run.offset + first * run.bytes, step.min(run.records - first));
                    let bytes = records * run.bytes;
                    // A short run joins the block before it while that has room.
                    match starts.last() {
                        Some(last) if start + bytes - last <= target => {}
                        _ => starts.push(start),
                    }
                    end = start + bytes;
                }
            }
            let first = next;
            next += starts.len();
            starts.push(end);
            (first, starts)
        });
        Self { shards: shards.collect() }
    }

    pub(super) fn around(&self, location: &Location) -> Block {
        let (first, starts) = &self.shards[location.shard];
        let place = starts.partition_point(|start| *start <= location.bytes.start) - 1;
        Block { number: first + place, bytes: starts[place]..starts[place + 1] }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::{Lengths, tests::manifest_of};

    proptest! {
        #[test]
        fn blocks_tile_each_shard_and_cut_no_record(
            shards in prop::collection::vec(prop::collection::vec(16u64..60, 0..50), 1..4),
            cache_bytes in 0u64..20_000,
        ) {
            let lengths = shards.iter().map(|shard| {
                let mut lengths = Lengths::default();
                assert!(shard.iter().all(|bytes| lengths.push(*bytes)));
                lengths
            });
            let blocks = Blocks::new(&manifest_of(lengths.collect()), cache_bytes);
            let (mut number, mut end) = (0, 0);
            for (shard, lengths) in shards.iter().enumerate() {
                let mut offset = 0;
                for bytes in lengths {
                    let block = blocks.around(&Location { shard, bytes: offset..offset + bytes });
                    prop_assert!(block.bytes.start <= offset && offset + bytes <= block.bytes.end);
                    let longest = (cache_bytes / BLOCKS_PER_CACHE).max(*bytes);
                    prop_assert!(block.bytes.end - block.bytes.start <= longest);
                    if offset == block.bytes.start {
                        prop_assert_eq!(block.number, number);
                        prop_assert!(offset == 0 || offset == end);
                        number += 1;
                        end = block.bytes.end;
                    } else {
                        prop_assert_eq!(block.number + 1, number);
                    }
                    offset += bytes;
                }
                prop_assert!(lengths.is_empty() || end == offset);
            }
        }
    }
}
