//! Puts records into as few requests as are worth it: neighbours travel together, with what lies between them.
//!
//! Only speed depends on the cuts, so they may depend on memory.

use std::ops::Range;

use bytes::Bytes;

use crate::Location;

/// Reading through this much that nobody wants costs less than a request of its own.
const LARGEST_GAP: u64 = 128 << 10;

/// A record and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) record: u64,
    pub(super) location: Location,
}

/// One request: the bytes of a shard from the first record's to the last one's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) shard: usize,
    pub(super) bytes: Range<u64>,
    /// In order of their places; never empty.
    pub(super) records: Vec<Placed>,
}

impl Span {
    /// The records' own bytes out of those of the span. Copied, so that none keeps the others in memory.
    pub(super) fn frames(&self, bytes: &Bytes) -> impl Iterator<Item = (u64, Bytes)> {
        self.records.iter().map(|placed| (placed.record, self.cut(bytes, &placed.location)))
    }

    /// A copy of what lies at `location`, within the span.
    pub(super) fn cut(&self, bytes: &Bytes, location: &Location) -> Bytes {
        let place = |offset: u64| (offset - self.bytes.start) as usize;
        Bytes::copy_from_slice(&bytes[place(location.bytes.start)..place(location.bytes.end)])
    }
}

/// Spans of at most `largest` bytes (or one record), together holding each of `records` once, in order of their places.
pub(super) fn spans(mut records: Vec<Placed>, largest: u64) -> Vec<Span> {
    records.sort_by_key(|placed| placed.record);
    records.dedup_by_key(|placed| placed.record);
    let mut spans: Vec<Span> = Vec::new();
    for placed in records {
        let Location { shard, bytes } = placed.location.clone();
        match spans.last_mut() {
            Some(span)
                if span.shard == shard
                    && bytes.start <= span.bytes.end.saturating_add(LARGEST_GAP)
                    && bytes.end - span.bytes.start <= largest =>
            {
                span.bytes.end = bytes.end;
                span.records.push(placed);
            }
            _ => spans.push(Span { shard, bytes, records: vec![placed] }),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Records of `bytes` each, `per_shard` in a shard.
    fn placed(record: u64, bytes: u64, per_shard: u64) -> Placed {
        let start = record % per_shard * bytes;
        Placed {
            record,
            location: Location { shard: (record / per_shard) as usize, bytes: start..start + bytes },
        }
    }

    proptest! {
        #[test]
        fn spans_hold_every_record_once_and_stay_small(
            wanted in prop::collection::vec(0u64..2000, 0..300),
            bytes in 1u64..100_000, per_shard in 1u64..700, largest in 0u64..4_000_000,
        ) {
            let records = wanted.iter().map(|record| placed(*record, bytes, per_shard)).collect();
            let spans = spans(records, largest);
            let mut found = Vec::new();
            for span in &spans {
                prop_assert!(span.bytes.end - span.bytes.start <= largest.max(bytes));
                prop_assert_eq!(span.bytes.start, span.records[0].location.bytes.start);
                for placed in &span.records {
                    prop_assert_eq!(placed.location.shard, span.shard);
                    prop_assert!(placed.location.bytes.start >= span.bytes.start);
                    prop_assert!(placed.location.bytes.end <= span.bytes.end);
                    found.push(placed.record);
                }
                prop_assert_eq!(span.records.last().unwrap().location.bytes.end, span.bytes.end);
            }
            let mut wanted = wanted;
            wanted.sort_unstable();
            wanted.dedup();
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn neighbours_travel_together_and_far_ones_alone() {
        let record =
            |start: u64| Placed { record: start, location: Location { shard: 0, bytes: start..start + 10 } };
        let far = 30 + LARGEST_GAP + 1;
        let spans = spans([far, 0, 20].map(record).into(), 1 << 20);
        let found: Vec<_> = spans.iter().map(|span| (span.bytes.clone(), span.records.len())).collect();
        assert_eq!(found, [(0..30, 2), (far..far + 10, 1)]);
    }
}
